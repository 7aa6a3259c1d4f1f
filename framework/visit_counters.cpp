#include <tapir/framework/visit_counters.hpp>

namespace tapir::detail {

std::string name_of_reason(std::string_view words) {
    std::string name;
    for (const char c : words) {
        const bool upper = c >= 'A' && c <= 'Z';
        const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (upper) {
            name += static_cast<char>(c - 'A' + 'a');
        } else if (plain) {
            name += c;
        } else if (!name.empty() && name.back() != '_') {
            name += '_';
        }
    }
    return name;
}

} // namespace tapir::detail
