#include <tapir/protocols/http/characters.hpp>
#include <tapir/protocols/http/fields.hpp>

#include <algorithm>
#include <stdexcept>

namespace tapir::http {
namespace {

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

constexpr character_set token_characters([](char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
});

} // namespace

bool detail::equal_without_case(const char* a, const char* b, std::size_t size) {
    return std::equal(a, a + size, b, [](char x, char y) { return lower(x) == lower(y); });
}

bool is_token(std::string_view text) {
    return !text.empty() && token_characters.has_all(text);
}

std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

void fields::add(std::string_view name, std::string_view value) {
    if (!is_token(name)) throw std::invalid_argument("the name of an HTTP field must be a token");
    if (has_controls(value))
        throw std::invalid_argument("the value of an HTTP field must not hold control characters");
    add_checked(name, value);
}

void fields::add_checked(std::string_view name, std::string_view value) {
    if (text_.size() + name.size() + value.size() > UINT32_MAX)
        throw std::length_error("HTTP fields larger than 4 GiB");
    if (entries_.capacity() == 0) { // at once what most messages need
        constexpr std::size_t usual_text = 63, usual_count = 4;
        text_.reserve(usual_text);
        entries_.reserve(usual_count);
    }
    entry e{};
    e.begin = static_cast<std::uint32_t>(text_.size());
    e.name_size = static_cast<std::uint32_t>(name.size());
    e.value_size = static_cast<std::uint32_t>(value.size());
    text_.append(name).append(value);
    entries_.push_back(e);
}

void fields::set(std::string_view name, std::string_view value) {
    const std::string owned(value); // may be a view of this object's own text
    remove(name);
    add(name, owned);
}

std::size_t fields::remove(std::string_view name) {
    return std::erase_if(entries_, [&](const entry& e) { return equal_without_case(at(e).name, name); });
}

void fields::clear() {
    text_.clear();
    entries_.clear();
}

std::optional<std::string_view> fields::find(std::string_view name) const {
    for (const field each : *this)
        if (equal_without_case(each.name, name)) return each.value;
    return std::nullopt;
}

std::size_t fields::count(std::string_view name) const {
    return static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(), [&](const entry& e) {
        return equal_without_case(at(e).name, name);
    }));
}

bool fields::has_token(std::string_view name, std::string_view token) const {
    for (const field each : *this) {
        if (!equal_without_case(each.name, name)) continue;
        std::string_view rest = each.value;
        while (!rest.empty()) {
            const std::size_t comma = std::min(rest.find(','), rest.size());
            if (equal_without_case(trimmed(rest.substr(0, comma)), token)) return true;
            rest.remove_prefix(std::min(comma + 1, rest.size()));
        }
    }
    return false;
}

} // namespace tapir::http
