#include <tapir/protocols/http/conditional.hpp>

#include <algorithm>
#include <charconv>
#include <optional>

namespace tapir::http {
namespace {

/// Whether the list of entity tags has `etag`, or is "*". Tags have no commas in our own; a foreign one that
/// does can not be equal.
bool lists(const fields& f, std::string_view name, std::string_view etag, bool weak_too) {
    for (const field each : f) {
        if (!equal_without_case(each.name, name)) continue;
        std::string_view rest = each.value;
        while (!rest.empty()) {
            const std::size_t comma = std::min(rest.find(','), rest.size());
            std::string_view tag = trimmed(rest.substr(0, comma));
            if (tag == "*") return true;
            if (weak_too && tag.starts_with("W/")) tag.remove_prefix(2); // [RFC 9110 8.8.3.2]
            if (tag == etag) return true;
            rest.remove_prefix(std::min(comma + 1, rest.size()));
        }
    }
    return false;
}

/// A date in a field, as far as it is valid. Two-digit years are placed by the representation's own date.
std::optional<unix_seconds> date_in(const request& r, std::string_view name, const validators& v) {
    const auto value = r.fields.find(name);
    return value ? parse_date(*value, v.modified) : std::nullopt;
}

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
        return std::nullopt;
    return value;
}

} // namespace

// [RFC 9110 13.2.2]
precondition evaluate(const request& r, const validators& v) {
    if (r.fields.find("If-Match")) {
        if (!lists(r.fields, "If-Match", v.etag, false)) return precondition::failed;
    } else if (const auto since = date_in(r, "If-Unmodified-Since", v); since && v.modified > *since) {
        return precondition::failed;
    }
    if (r.fields.find("If-None-Match")) {
        if (lists(r.fields, "If-None-Match", v.etag, true)) return precondition::not_modified;
    } else if (const auto since = date_in(r, "If-Modified-Since", v); since && v.modified <= *since) {
        return precondition::not_modified;
    }
    return precondition::proceed;
}

byte_range requested_range(const request& r, const validators& v, std::uint64_t size) {
    byte_range out;
    out.length = size;
    if (r.method != "GET" || r.fields.count("Range") != 1) return out; // [RFC 9110 14.2]
    if (const auto condition = r.fields.find("If-Range")) {            // [RFC 9110 13.1.5]
        const auto date = parse_date(*condition, v.modified);
        if (date ? *date != v.modified : *condition != v.etag) return out;
    }
    std::string_view text = *r.fields.find("Range");
    constexpr std::string_view unit = "bytes=";
    if (!equal_without_case(text.substr(0, unit.size()), unit)) return out;
    text = trimmed(text.substr(unit.size()));
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos || text.find(',') != std::string_view::npos) return out;
    const std::string_view before = text.substr(0, dash);
    const std::string_view after = text.substr(dash + 1);
    const auto first = number(before);
    const auto last = number(after);
    if ((!before.empty() && !first) || (!after.empty() && !last) || (!first && !last)) return out;
    if (first && last && *last < *first) return out;

    out.what = byte_range::kind::part;
    if (!first) { // the last n bytes
        out.length = std::min(*last, size);
        out.first = size - out.length;
    } else if (*first < size) {
        out.first = *first;
        out.length = (last ? std::min(*last, size - 1) : size - 1) - *first + 1;
    } else {
        out.length = 0;
    }
    if (out.length == 0) out.what = byte_range::kind::unsatisfiable; // [RFC 9110 14.1.2]
    return out;
}

} // namespace tapir::http
