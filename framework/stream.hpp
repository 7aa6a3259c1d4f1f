// What a server needs of a connection, as a concept: met by tapir's own TCP connections and by kernel sockets
// driven by the same reactor. http::serve is written against it; handlers see plain requests and responses,
// so that users' code is never a template.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/time.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <utility>

namespace tapir {

/// What a write came to: everything taken, or an error and how many bytes had been taken before it.
class [[nodiscard]] write_result {
  public:
    explicit write_result(std::size_t taken) : taken_(taken) {}
    write_result(std::error_code error, std::size_t taken) : error_(error), taken_(taken) {}

    explicit operator bool() const { return !error_; }
    bool has_value() const { return !error_; }
    const std::error_code& error() const { return error_; }
    std::size_t taken() const { return taken_; }

  private:
    std::error_code error_;
    std::size_t taken_;
};

/// How a connection ended.
enum class ending : std::uint8_t {
    open,             ///< it has not
    orderly,          ///< both FINs sent and acknowledged
    aborted,          ///< abort(), or the handle was destroyed
    unread_data,      ///< reset by us: close() while received bytes were unread [RFC 2525 2.17]
    data_after_close, ///< reset by us: the peer sent data that nobody would read [RFC 9293 3.6.1 SHLD-3]
    close_timeout,    ///< reset by us: the orderly end took too long
    reset,            ///< by the peer
    timed_out,        ///< the peer did not answer
    unreachable,      ///< while connecting
    host_stopped,     ///< the host went away under it
    out_of_memory,    ///< reset by us: idle, and others needed the memory it held
};
std::string_view name(ending e);

/// What became of the last bytes.
struct close_report {
    close_report() = default;
    close_report(std::uint64_t unsent_bytes, std::uint64_t unacked_bytes, std::uint64_t unread_bytes,
                 ending e)
        : unsent(unsent_bytes), unacked(unacked_bytes), unread(unread_bytes), how(e) {}
    std::uint64_t unsent = 0;  ///< queued, never sent
    std::uint64_t unacked = 0; ///< sent, not acknowledged: may or may not have arrived
    std::uint64_t unread = 0;  ///< received, never read
    ending how = ending::open;
};

namespace detail {
template <class A>
decltype(auto) awaiter_of(A&& a) {
    if constexpr (requires { std::forward<A>(a).operator co_await(); }) {
        return std::forward<A>(a).operator co_await();
    } else {
        return std::forward<A>(a);
    }
}
template <class A>
using awaited = decltype(awaiter_of(std::declval<A>()).await_resume());
} // namespace detail

/// A stream may have until_readable() too, whose result<> is there when read() would not wait: servers then
/// hold no buffer for a connection that is idle. And it may have try_read() and try_write(), which move so
/// many bytes as need no wait, and cost no coroutine; its finish() then ends the stream when it is called,
/// and readable(), at_end() and ended() tell what read() and close() would come to. So may its listener have
/// try_accept().
template <class S>
concept stream = std::movable<S> && requires(S& s, mutable_bytes in, bytes out, instant deadline) {
    /// At least one byte; 0 is the peer's end of stream.
    { std::declval<detail::awaited<decltype(s.read(in))>>() } -> std::convertible_to<result<std::size_t>>;
    /// All of it.
    { std::declval<detail::awaited<decltype(s.write(out))>>() } -> std::convertible_to<write_result>;
    /// Half-close: this side sends no more.
    { std::declval<detail::awaited<decltype(s.finish())>>() } -> std::convertible_to<result<>>;
    /// Orderly end of both directions, or an abort at the deadline.
    {
        std::declval<detail::awaited<decltype(s.close(deadline))>>()
    } -> std::convertible_to<result<close_report>>;
    s.abort();
};

template <class L>
concept stream_listener =
    requires(L& l) { requires stream<typename detail::awaited<decltype(l.accept())>::value_type>; };

} // namespace tapir
