// What an operation comes to. Outcomes of I/O are values: `result<T>` holds a T or a std::error_code;
// exceptions are for bugs and constructors. All of tapir's outcomes stand in one enum, so that end of stream
// (not an error: read() returns 0), reset, refused, unreachable, timed out and cancelled are never mistaken
// for one another.
//
//     auto n = co_await c.read(buffer);
//     if (!n && n.error() == tapir::errc::reset) ...            // exactly this
//     if (!n && n.error() == std::errc::connection_reset) ...   // portable spelling of the same
#pragma once

#include <expected>
#include <string_view>
#include <system_error>

namespace tapir {

enum class errc {
    cancelled = 1,       ///< the stop token of the waiting coroutine was triggered
    deadline_exceeded,   ///< a deadline that the caller set has passed
    timed_out,           ///< the peer did not answer for as long as the protocol allows
    refused,             ///< the peer answered a SYN with RST, or ICMP says port unreachable
    reset,               ///< the peer sent RST
    aborted,             ///< this side aborted the connection (abort(), linger, a half dropped)
    host_unreachable,    ///< ARP got no answer, or ICMP says host unreachable
    network_unreachable, ///< no route, or ICMP says network unreachable
    host_stopped,        ///< the host that owned the connection or listener has stopped
    unreachable_state,   ///< until(state): the connection can no longer enter that state
    busy,                ///< another coroutine already waits for the same thing
    finished,            ///< write after finish() or close()
    closed,              ///< the object is closed, or a moved-from handle
    address_in_use,      ///< listen: the port is taken; connect: the 4-tuple is
    address_unavailable, ///< the address is not one of this host's, or the port or flow another shard's
    no_ports,            ///< every ephemeral port to that destination is in use
    no_memory,           ///< a bounded table or buffer budget is full
    invalid_argument,    ///< an empty span, a port of 0, an option out of range
    not_supported,       ///< this back end cannot do it
    malformed,           ///< the peer broke the protocol above TCP
    too_large,           ///< a limit of the configuration was passed
};

const std::error_category& tapir_category() noexcept;

inline std::error_code make_error_code(errc e) noexcept {
    return {static_cast<int>(e), tapir_category()};
}

/// An errno value as an error_code (system category).
inline std::error_code errno_code(int value) noexcept {
    return {value, std::system_category()};
}

template <class T = void>
class [[nodiscard]] result : public std::expected<T, std::error_code> {
  public:
    using std::expected<T, std::error_code>::expected;
    result(errc e) : std::expected<T, std::error_code>(std::unexpect, make_error_code(e)) {}
    result(std::error_code e) : std::expected<T, std::error_code>(std::unexpect, e) {}
};

} // namespace tapir

template <>
struct std::is_error_code_enum<tapir::errc> : std::true_type {};
