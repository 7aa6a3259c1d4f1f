// Why a TAP cannot be opened, each with its remedy: what a program prints before it gives up. message() is
// the whole sentence.
//
//     auto opened = co_await tapir::open_tap(config);
//     if (!opened) log::error(config.name + ": " + opened.error().message());
#pragma once

#include <system_error>

namespace tapir {

enum class tap_errc {
    no_tun = 1,   ///< the kernel has no TAP driver here
    no_access,    ///< /dev/net/tun may not be opened
    no_right,     ///< the kernel refuses to make or attach the device
    busy,         ///< another process holds it
    bad_name,     ///< not the name of a network device
    not_a_tap,    ///< a device of another kind has that name
    no_multishot, ///< READ_MULTISHOT was asked for, and this kernel cannot do it on a TAP
};

const std::error_category& tap_category() noexcept;

inline std::error_code make_error_code(tap_errc e) noexcept {
    return {static_cast<int>(e), tap_category()};
}

} // namespace tapir

template <>
struct std::is_error_code_enum<tapir::tap_errc> : std::true_type {};
