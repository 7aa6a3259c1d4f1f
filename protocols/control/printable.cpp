#include <tapir/protocols/control/printable.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace tapir::control {

namespace {

bool is_printable(char c) {
    return c >= ' ' && c <= '~';
}

} // namespace

std::string printable(std::string_view text) {
    std::string safe(text);
    std::ranges::replace_if(safe, [](char c) { return !is_printable(c); }, '?');
    return safe;
}

std::string printable_json(std::string_view line) {
    if (std::ranges::all_of(line, is_printable)) return std::string(line);
    using nlohmann::ordered_json;
    const ordered_json object = ordered_json::parse(line, nullptr, false);
    if (object.is_discarded()) return printable(line);
    return object.dump(-1, ' ', true, ordered_json::error_handler_t::replace);
}

} // namespace tapir::control
