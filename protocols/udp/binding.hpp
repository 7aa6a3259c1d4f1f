// A bound port: the datagrams that wait to be received, whom it sent to lately, and what went wrong. Plain
// and synchronous; socket.hpp is how coroutines see it. Destroying it frees the port.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/udp/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <system_error>

namespace tapir::udp {

class stack;
class binding;

/// Is called while the stack works.
struct binding_observer {
    /// A datagram or an error came, or the binding was closed. It may take them, no more.
    virtual void changed(binding&) = 0;
    /// It had to wait, and may send() now: one datagram.
    virtual void may_send(binding&) = 0;

  protected:
    ~binding_observer() = default;
};

/// What a receive came to.
struct received {
    received() = default;
    received(ip::endpoint sender, ip::address destination, std::size_t n, bool cut, instant when)
        : from(sender), to(destination), size(n), truncated(cut), arrived(when) {}
    ip::endpoint from;
    ip::address to;         ///< which of our addresses was meant, or a broadcast address [RFC 1122 4.1.3.5]
    std::size_t size = 0;   ///< bytes written; 0 is an empty datagram
    bool truncated = false; ///< the datagram was longer than the room for it; the rest is gone
    instant arrived{};      ///< when it was read from the link
};

/// What ICMP, or a neighbour that does not answer, said about a datagram of ours.
struct peer_error {
    peer_error() = default;
    peer_error(ip::endpoint to, std::error_code e) : peer(to), why(e) {}
    ip::endpoint peer;
    std::error_code why;
};

class binding : public list_hook<> {
  public:
    binding(const binding&) = delete;
    binding& operator=(const binding&) = delete;
    ~binding();

    /// From now on receives from `peer` alone, and reports errors about it as those of the next call. What
    /// has come from others is dropped. errc::invalid_argument for port 0 or what is not one host's address.
    result<> connect(ip::endpoint peer);

    std::size_t waiting() const { return queue_.size(); }
    /// The oldest datagram into `to`. There must be one.
    received receive(mutable_bytes to);

    /// True: sent. False: not now, may_send() follows. Errors: invalid_argument (port 0, nobody's address, a
    /// broadcast address without the option; `from` is not ours or not what it is bound to), too_large,
    /// network_unreachable, and how the binding ended. An unspecified `from` takes the one of the route.
    result<bool> send(bytes payload, ip::endpoint to, ip::address from = {});
    /// Nobody waits for may_send() any more.
    void stop_waiting() { unlink(); }

    /// The error that the next call is to fail with; asking clears it.
    std::error_code take_failure();
    bool has_failure() const { return error_ && fails_calls(); }
    /// The last error about something that it sent, whether it fails calls or not; asking clears it.
    std::optional<peer_error> take_error();

    /// Empty while bound; errc::closed or errc::host_stopped afterwards.
    std::error_code ended() const { return ended_; }
    void close();

    const ip::endpoint& local() const { return local_; }
    const std::optional<ip::endpoint>& peer() const { return peer_; }
    const socket_options& options() const { return options_; }
    /// Bytes of memory that waiting datagrams keep.
    std::size_t queued_bytes() const { return queued_bytes_; }

    struct counters {
        std::uint64_t received = 0;
        std::uint64_t sent = 0;
        std::uint64_t dropped = 0; ///< for want of room; the stack's counters tell which
        std::uint64_t errors = 0;  ///< reported about what it sent

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("received", c.received);
            f("sent", c.sent);
            f("dropped", c.dropped);
            f("errors", c.errors);
        }
    };
    const counters& counted() const { return counters_; }

    void set_observer(binding_observer* o) { observer_ = o; }

  private:
    friend class stack;
    binding(stack& s, ip::endpoint local, const socket_options& o) : stack_(&s), local_(local), options_(o) {}

    struct datagram {
        chunk payload;
        ip::endpoint from;
        ip::address to;
        instant arrived{};
    };

    bool fails_calls() const { return peer_.has_value() || options_.report_errors; }
    void remember(const ip::endpoint& to);
    bool sent_to(const ip::endpoint& peer) const;
    void notify() {
        if (observer_ != nullptr) observer_->changed(*this);
    }

    /// Destinations that it remembers to have sent to: an ICMP error about any other is not believed
    /// [RFC 5927 4]. Errors take a round trip at most, and few speak to more peers than this in one.
    static constexpr std::size_t remembered = 16;

    stack* stack_; ///< null once ended
    ip::endpoint local_;
    socket_options options_;
    std::optional<ip::endpoint> peer_;
    std::deque<datagram> queue_;
    std::size_t queued_bytes_ = 0;
    std::array<ip::endpoint, remembered> sent_to_{}; ///< port 0: nobody
    std::size_t oldest_ = 0;                         ///< of sent_to_
    std::optional<peer_error> error_;
    std::error_code ended_;
    counters counters_;
    binding_observer* observer_ = nullptr;
};
static_assert(visits_every_counter<binding::counters>());

} // namespace tapir::udp
