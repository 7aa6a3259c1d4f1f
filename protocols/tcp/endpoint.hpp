// One connection as its user sees it: unread bytes, the path of states, how it ended, who opened it. It lives
// as long as a handle does; the protocol state behind it (TCB, then TIME_WAIT entry, then nothing) comes and
// goes, and the endpoint keeps answering. All calls are synchronous and return at once; `observer` is told
// when an answer may have changed.
//
//     if (e.readable() > 0)  n = e.read(span);      // data first,
//     else if (e.at_end())   ...                    // then the peer's FIN,
//     else if (e.error())    ...                    // then how it broke;
//     else                   wait for the observer
//
// Destroying an endpoint whose connection is still open aborts it (RST).
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/prefetch.hpp>
#include <tapir/framework/slabs.hpp>
#include <tapir/framework/stream.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/congestion/control.hpp>
#include <tapir/protocols/tcp/dormant.hpp>
#include <tapir/protocols/tcp/flow.hpp>
#include <tapir/protocols/tcp/memory.hpp>
#include <tapir/protocols/tcp/mtu_search.hpp>
#include <tapir/protocols/tcp/path_of_states.hpp>
#include <tapir/protocols/tcp/receive_queue.hpp>
#include <tapir/protocols/tcp/seq.hpp>
#include <tapir/protocols/tcp/state.hpp>
#include <tapir/protocols/tcp/timers.hpp>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string_view>
#include <system_error>
#include <utility>

namespace tapir::tcp {

class endpoint;
class listening_endpoint;
class stack;
class tcb;

/// Told, from inside the stack, that something a waiter may care about has changed: data, room to send, the
/// state, an error. It may only note that (push to a ready queue); it must not call back into the stack nor
/// destroy anything.
struct observer {
    virtual void changed(endpoint&) = 0;

  protected:
    ~observer() = default;
};

/// Who has this connection: what to print when it is forgotten in CLOSE_WAIT.
struct owner {
    owner() = default;
    owner(std::uint64_t task_id, const std::source_location& at, instant now)
        : task(task_id), opened_at(at), last_call_at(at), opened(now), last_call(now) {}

    std::uint64_t task = 0;              ///< of the last call; 0: none yet, still in the accept queue
    std::source_location opened_at{};    ///< where connect() or accept() was awaited
    std::source_location last_call_at{}; ///< the last read, write, finish, close
    instant opened{};                    ///< connect() called, or the SYN arrived
    instant last_call{};
};

using tapir::close_report;
using tapir::ending;

/// Why no more was sent when a sender stopped last.
enum class send_limit : std::uint8_t {
    application,   ///< there is no more
    window,        ///< the peer's
    cwnd,          ///< the network's
    pacing,        ///< it is not time yet
    small_segment, ///< Nagle's algorithm, or silly window avoidance: more may come to fill it
};
std::string_view to_string(send_limit l);

/// What `ss -ti` would say, and more. Numbers of a connection without TCB are those at its end.
struct info : recycled<info> {
    info() = default;
    tcp::state state = state::closed;
    seq snd_una;                           ///< oldest not acknowledged [RFC 9293 3.3.1]
    seq snd_nxt;                           ///< next to be sent
    seq rcv_nxt;                           ///< next expected
    std::uint32_t send_queue = 0;          ///< bytes not acknowledged
    std::uint32_t unsent = 0;              ///< of these, never sent
    std::uint32_t receive_queue = 0;       ///< bytes unread
    std::uint32_t receive_memory = 0;      ///< true size of the buffers that hold these and those below
    std::uint32_t out_of_order = 0;        ///< bytes received beyond a hole
    std::uint32_t out_of_order_ranges = 0; ///< that they are in
    std::uint32_t send_memory =
        0; ///< true size of the buffers that hold the send queue, and of what is known of losses

    duration srtt{0}; ///< zero: no sample yet
    duration rttvar{0};
    duration min_rtt{0};
    duration rto{0};
    std::uint32_t backoff = 0; ///< consecutive retransmission timeouts

    std::uint32_t cwnd = 0;
    std::uint32_t ssthresh = 0;
    congestion_algorithm congestion = congestion_algorithm::cubic;
    send_limit limited_by = send_limit::application;
    std::uint64_t pacing_rate = 0; ///< bytes a second; zero: not paced, or no round trip measured yet
    std::uint32_t in_flight = 0;   ///< bytes sent, neither acknowledged nor held by the peer nor lost
    std::uint32_t sacked = 0;      ///< bytes that the peer holds beyond a hole
    std::uint32_t lost = 0;        ///< bytes to be sent again
    bool in_recovery = false;      ///< from losses found by what arrived
    bool in_loss = false;          ///< from a retransmission timeout
    bool reordering_seen = false;
    std::uint32_t recoveries_undone = 0; ///< that turned out to be for nothing

    std::uint16_t send_mss = 0;       ///< payload bytes of a full segment, options subtracted
    std::uint16_t receive_mss = 0;    ///< what we announced
    std::uint32_t send_window = 0;    ///< last offered by the peer
    std::uint32_t receive_window = 0; ///< last offered by us
    std::uint8_t send_scale = 0;
    std::uint8_t receive_scale = 0;
    bool timestamps = false;
    bool window_scaling = false;
    bool sack_permitted = false; ///< by both
    bool no_delay = false;
    bool ecn = false;           ///< both are willing, and our new data may be marked
    bool ecn_echoing = false;   ///< our ACKs tell of a mark that the peer has not answered yet
    bool from_cookie = false;   ///< accepted without a half-open entry: the path's SYN_RECEIVED is the ACK's
    bool fast_opened = false;   ///< data of our SYN was taken; or the peer's SYN showed a cookie [RFC 7413]
    bool orphan = false;        ///< closing in the background, one of config::max_orphans
    std::uint16_t path_mtu = 0; ///< bytes of one packet
    mtu_state mtu_search = mtu_state::disabled;
    std::uint16_t mtu_floor = 0;   ///< of that search: what packets may be
    std::uint16_t mtu_ceiling = 0; ///< and what they might turn out to

    std::uint32_t urgent_segments = 0; ///< that came with URG; their data is delivered in line
    std::uint32_t urgent_ahead = 0;    ///< bytes from the next to be read to the end of urgent data

    std::uint64_t bytes_sent = 0; ///< retransmissions included
    std::uint64_t bytes_acked = 0;
    std::uint64_t bytes_received = 0; ///< in order
    std::uint64_t bytes_retransmitted = 0;
    std::uint32_t segments_in = 0;
    std::uint32_t segments_out = 0;
    std::uint32_t retransmits = 0;
    std::uint32_t fast_retransmits = 0;
    std::uint32_t rto_fired = 0;
    std::uint32_t duplicate_acks = 0;
    std::uint32_t ce_received = 0;    ///< segments with data that were marked
    std::uint32_t ecn_reductions = 0; ///< of our window, for marks that the peer told of
    instant last_send{};
    instant last_receive{};
    instant next_timer = never;
    timer_id next_timer_id = timer_id::retransmit; ///< what for; meaningful unless it is `never`
};

/// An errc or nothing, in one byte.
class brief_error {
  public:
    brief_error() = default;
    /// Of tapir's own category.
    brief_error& operator=(std::error_code e) {
        assert(!e || e.category() == tapir_category());
        value_ = static_cast<std::uint8_t>(e.value());
        return *this;
    }
    explicit operator bool() const { return value_ != 0; }
    operator std::error_code() const {
        return value_ == 0 ? std::error_code() : make_error_code(static_cast<errc>(value_));
    }

  private:
    std::uint8_t value_ = 0;
};

/// A close_report as the endpoint keeps it: no queue is longer than 1 GiB.
struct brief_report {
    std::uint32_t unsent = 0;
    std::uint32_t unacked = 0;
    std::uint32_t unread = 0;
    ending how = ending::open;

    brief_report& operator=(const close_report& r) {
        unsent = static_cast<std::uint32_t>(r.unsent);
        unacked = static_cast<std::uint32_t>(r.unacked);
        unread = static_cast<std::uint32_t>(r.unread);
        how = r.how;
        return *this;
    }
    void add_unread(std::size_t bytes) { unread += static_cast<std::uint32_t>(bytes); }
    close_report whole() const { return {unsent, unacked, unread, how}; }
};

class endpoint : public list_hook<>, // stack::all_ while it is open; then perhaps stack::unaccepted_
                 public in_slabs<endpoint, sizeof(list_hook<>)> {
  public:
    endpoint(const endpoint&) = delete;
    endpoint& operator=(const endpoint&) = delete;
    /// Aborts what is still open.
    ~endpoint();

    // --- reading ---------------------------------------------------------------------------------------
    /// Bytes that read() would give now. They stay readable after a RST and after the stack is gone; but see
    /// memory.hpp for those that nobody has accepted.
    std::size_t readable() const { return unread_.size(); }
    /// Copies out what fits; opens the window.
    std::size_t read(mutable_bytes to);
    /// The next chunk without copying, at most `max` bytes; empty if nothing is readable.
    chunk read_chunk(std::size_t max = SIZE_MAX);
    /// The peer's FIN has arrived (all data before it is readable or read).
    bool peer_finished() const { return peer_fin_; }
    /// The peer's FIN has arrived and everything before it was read.
    bool at_end() const { return peer_fin_ && unread_.empty(); }

    // --- writing ---------------------------------------------------------------------------------------
    /// Bytes that write() would take now, and perhaps more if others had to pay for them (memory.hpp); 0 also
    /// when nothing may be written any more (see write_error()).
    std::size_t writable() const;
    /// Queues a prefix of `data` and returns its length. Nothing is sent before the next flush.
    std::size_t write(bytes data);
    /// Queues a chunk (a prefix of it) without copying, unless it is small.
    std::size_t write(chunk data);
    /// Why write() takes nothing, if it never will again: errc::finished, or error().
    std::error_code write_error() const;
    /// Bytes queued and not yet acknowledged by the peer, the FIN not counted.
    std::size_t unacked() const;
    /// Everything written so far is acknowledged.
    bool flushed() const { return unacked() == 0 && !error_; }
    /// The peer has acknowledged our FIN.
    bool fin_acked() const { return fin_acked_; }

    // --- ending ----------------------------------------------------------------------------------------
    /// Half-close: queues the FIN behind all data. Later writes get errc::finished; reading goes on. While
    /// connecting it cancels the attempt. No effect when called again or after the end.
    void finish(instant now);
    /// Nobody will read any more: drops what is unread; data that still comes is answered by RST. FIN_WAIT_2
    /// becomes an abort after connection_options::close_timeout.
    void stop_reading(instant now);
    /// Orderly end of both directions: finish(), and nobody reads. Unread data now, or data that comes
    /// later, makes it a RST [RFC 2525 2.17]. At `deadline` it becomes an abort; `never` leaves it to
    /// connection_options::close_timeout.
    void close(instant now, instant deadline = never);
    /// RST to the peer, everything queued is dropped, error() is `reason`.
    void abort(instant now, errc reason = errc::aborted);
    /// TIME_WAIT or CLOSED has been entered: report() is final, but for what may still be read.
    bool ended() const { return report_.how != ending::open; }
    tcp::close_report report() const;

    // --- looking ---------------------------------------------------------------------------------------
    /// How the connection broke: refused, reset, timed_out, host_unreachable, network_unreachable, aborted,
    /// host_stopped. Empty while it lives and after an orderly end.
    std::error_code error() const { return error_; }
    tcp::state state() const { return path_.current(); }
    edge_list edges() const { return path_.edges(); }
    bool entered(tcp::state s) const { return path_.entered(s); }
    bool can_still_enter(tcp::state s) const { return tcp::can_still_enter(state(), s); }
    tcp::info info() const;
    const flow_key& flow() const { return flow_; }
    ip::endpoint local() const { return flow_.local_endpoint(); }
    ip::endpoint remote() const { return flow_.remote_endpoint(); }
    /// Counts up from 1 in order of opening, within one stack.
    std::uint64_t id() const { return id_; }
    /// The last soft ICMP error: it explains a timeout, it does not end anything. [RFC 9293 3.9.2.2 SHLD-25]
    std::error_code soft_error() const { return soft_error_; }

    void set_no_delay(bool on);
    /// connection_options::user_timeout, from now on; what is unacknowledged already counts from its sending.
    void set_user_timeout(duration timeout);
    void set_observer(tcp::observer* o) { observer_ = o; }
    /// When it was opened is known here: `o.opened` does not count.
    void set_owner(const tcp::owner& o) {
        task_ = o.task;
        opened_at_ = o.opened_at;
        last_call_at_ = o.last_call_at;
        last_call_ = o.last_call;
    }
    tcp::owner owned_by() const {
        tcp::owner o(task_, opened_at_, path_.size() == 0 ? last_call_ : path_[0].when);
        o.last_call_at = last_call_at_;
        o.last_call = last_call_;
        return o;
    }
    void note_call(std::uint64_t task, const std::source_location& where, instant now) {
        task_ = task;
        last_call_at_ = where;
        last_call_ = now;
    }

  private:
    friend class listening_endpoint;
    friend class stack;
    friend class tcb;
    friend struct tcb_inspection;
    endpoint(stack& s, std::shared_ptr<memory> budgets, const flow_key& flow, tcp::state start,
             std::uint64_t id);
    /// There is a TCB, awake or not.
    bool open() const { return tcb_ != nullptr || dormant(); }
    bool dormant() const { return dormant_.asleep; }
    /// The TCB, woken if need be; null in TIME_WAIT and CLOSED. The stack is to settle or arm it then.
    tcb* awake() const;
    void charge();
    void lose_unread();
    void has_read();
    void notify() {
        if (observer_ != nullptr) observer_->changed(*this);
    }

    // Hot: what every segment touches. A line begins here.
    stack* stack_;       ///< gone, perhaps, when there is neither TCB nor TIME_WAIT entry
    tcb* tcb_ = nullptr; ///< null while dormant, in TIME_WAIT and CLOSED
    tcp::observer* observer_ = nullptr;
    receive_queue unread_;
    std::shared_ptr<memory> memory_; ///< outlives the stack as long as unread data does
    flow_key flow_;
    memory_charge unread_charge_;
    seq urgent_end_{};                  ///< one past the last urgent byte, if any came
    std::uint32_t urgent_segments_ = 0; ///< that came
    brief_error error_;
    brief_error soft_error_;
    bool peer_fin_ : 1 = false;
    bool fin_acked_ : 1 = false;
    bool finished_ : 1 = false;
    bool accepted_ : 1;    ///< somebody owns it: false in an accept queue
    tcp::dormant dormant_; ///< what the TCB is to become again

    // Cold
    void prefetch_hot() const { prefetch_up_to(&dormant_); } ///< what is above
    void prefetch_hot_and_folded() const { prefetch_up_to(&dormant_ + 1); }
    void prefetch_up_to(const tcp::dormant* end) const {
        const auto begin = reinterpret_cast<std::uintptr_t>(&stack_);
        prefetch(&stack_, reinterpret_cast<std::uintptr_t>(end) - begin);
    }
    static constexpr std::uint32_t no_time_wait = 0xffffffff;
    std::uint32_t time_wait_ = no_time_wait; ///< index of the TIME_WAIT entry that points here
    std::uint64_t id_;
    path_of_states path_;
    std::unique_ptr<tcp::info> last_info_{}; ///< once there is no TCB to ask
    std::uint64_t task_ = 0;                 ///< as `owner`
    std::source_location opened_at_{};
    std::source_location last_call_at_{};
    instant last_call_{};
    std::uint32_t ce_received_ = 0; ///< marked segments with data
    brief_report report_;
};

} // namespace tapir::tcp
