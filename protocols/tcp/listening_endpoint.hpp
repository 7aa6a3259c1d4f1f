// A passive open. Connections in SYN_RECEIVED stand in the stack's table of half-open entries, counted here;
// established ones wait in the accept queue. Both are bounded and each overflow is counted. A SYN without
// room is answered by a cookie (syn_cookie.hpp); a final ACK that meets a full accept queue is dropped: the
// handshake completes later, by retransmission. When either begins and ends, `events()` has it.
//
// Destroying a listener closes it: half-open entries are forgotten, unaccepted connections are reset.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/tcp/config.hpp>
#include <tapir/protocols/tcp/endpoint.hpp>
#include <tapir/protocols/tcp/listener_events.hpp>
#include <tapir/protocols/tcp/ring.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <system_error>
#include <vector>

namespace tapir::tcp {

class listening_endpoint;

/// As `observer`: may only take note.
struct listener_observer {
    /// A connection can be accepted, there is an event more, or the listener was closed.
    virtual void changed(listening_endpoint&) = 0;

  protected:
    ~listener_observer() = default;
};

/// A connection in passive SYN_RECEIVED.
struct half_open_connection {
    half_open_connection() = default;
    half_open_connection(const ip::endpoint& here, const ip::endpoint& peer, instant syn, unsigned again)
        : local(here), remote(peer), arrived(syn), retransmits(again) {}

    ip::endpoint local;
    ip::endpoint remote;
    instant arrived{};        ///< its SYN
    unsigned retransmits = 0; ///< SYN|ACKs sent again for want of an answer
};

class listening_endpoint {
  public:
    listening_endpoint(const listening_endpoint&) = delete;
    listening_endpoint& operator=(const listening_endpoint&) = delete;
    ~listening_endpoint();

    /// The oldest established connection, or null. It may already be in CLOSE_WAIT, or even have ended;
    /// opened by Fast Open it may still be in SYN_RECEIVED.
    std::unique_ptr<endpoint> accept();
    std::size_t acceptable() const { return accept_queue_.size(); }
    std::size_t half_open() const { return half_open_; }
    /// In the order of the stack's table, which is none in particular.
    std::vector<half_open_connection> half_open_connections() const;
    /// What began and ended here: cookies, and overflows of both queues.
    const listener_events& events() const { return events_; }
    /// Whether it has begun and not ended.
    bool under_pressure(pressure p) const { return events_.active(p); }
    void close(instant now);

    /// LISTEN, or CLOSED after close() or the end of the stack.
    tcp::state state() const { return stack_ == nullptr ? state::closed : state::listen; }
    /// Empty while listening; errc::closed after close(), errc::host_stopped after the stack's end.
    std::error_code error() const { return error_; }
    const ip::endpoint& local() const { return local_; }
    const listen_options& options() const { return options_; }

    struct counters {
        std::uint64_t established = 0;
        std::uint64_t half_open_overflow = 0; ///< SYNs dropped, SYN queue full
        std::uint64_t accept_overflow = 0; ///< dropped, accept queue full: final ACKs; SYNs wanting a cookie
        std::uint64_t half_open_timeouts = 0;
        std::uint64_t half_open_resets = 0;
        std::uint64_t syn_cookies_sent = 0;
        std::uint64_t syn_cookies_accepted = 0;
        std::uint64_t syn_cookies_wrong = 0; ///< ACKs that came while cookies were out, and held none

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("established", c.established);
            f("half_open_overflow", c.half_open_overflow);
            f("accept_overflow", c.accept_overflow);
            f("half_open_timeouts", c.half_open_timeouts);
            f("half_open_resets", c.half_open_resets);
            f("syn_cookies_sent", c.syn_cookies_sent);
            f("syn_cookies_accepted", c.syn_cookies_accepted);
            f("syn_cookies_wrong", c.syn_cookies_wrong);
        }
    };
    const counters& counted() const { return counters_; }

    void set_observer(listener_observer* o) { observer_ = o; }
    void set_owner(const owner& o) { owner_ = o; }
    const owner& owned_by() const { return owner_; }

  private:
    friend class stack;
    listening_endpoint(stack& s, const ip::endpoint& local, const listen_options& options,
                       std::uint16_t index)
        : stack_(&s), local_(local), options_(options), index_(index) {}
    void notify() {
        if (observer_ != nullptr) observer_->changed(*this);
    }

    stack* stack_; ///< null once closed
    ip::endpoint local_;
    listen_options options_;
    std::uint16_t index_; ///< in the stack's table of listeners
    std::uint32_t half_open_ = 0;
    instant cookies_until_ = instant::min(); ///< none sent can be good any more from here on
    ring<std::unique_ptr<endpoint>> accept_queue_;
    listener_events events_;
    std::error_code error_{};
    counters counters_{};
    listener_observer* observer_ = nullptr;
    owner owner_{};
};
static_assert(visits_every_counter<listening_endpoint::counters>());

} // namespace tapir::tcp
