#include <tapir/protocols/ipv4/options.hpp>

#include <cassert>

namespace tapir::ipv4 {

namespace {

constexpr std::uint8_t end_of_options = 0;
constexpr std::uint8_t no_operation = 1;
constexpr std::uint8_t loose_source_route = 131;
constexpr std::uint8_t strict_source_route = 137;
constexpr std::uint8_t copied_flag = 0x80;

/// Bytes of the option at the front; 0 if it does not fit.
std::size_t length_of_first(bytes options) {
    if (load_u8(options, 0) == no_operation) return 1;
    if (options.size() < 2) return 0;
    const std::size_t length = load_u8(options, 1);
    return length < 2 || length > options.size() ? 0 : length;
}

} // namespace

options_are check_options(bytes options) {
    while (!options.empty()) {
        const std::uint8_t kind = load_u8(options, 0);
        if (kind == end_of_options) break;
        const std::size_t length = length_of_first(options);
        if (length == 0) return options_are::malformed;
        if (kind == loose_source_route || kind == strict_source_route) return options_are::source_routed;
        options = options.subspan(length);
    }
    return options_are::fine;
}

std::size_t copied_options(bytes options, mutable_bytes out) {
    assert(options.size() <= max_options && out.size() >= max_options);
    std::size_t written = 0;
    while (!options.empty()) {
        const std::uint8_t kind = load_u8(options, 0);
        const std::size_t length = kind == end_of_options ? 0 : length_of_first(options);
        if (length == 0) break;
        if ((kind & copied_flag) != 0) {
            copy_bytes(out.subspan(written), options.first(length));
            written += length;
        }
        options = options.subspan(length);
    }
    while (written % 4 != 0) store_u8(out, written++, end_of_options);
    return written;
}

} // namespace tapir::ipv4
