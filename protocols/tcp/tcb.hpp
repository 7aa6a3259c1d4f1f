// The protocol state of one connection, from SYN_SENT (or the ACK that ends a passive handshake) until
// TIME_WAIT or CLOSED. Segments, deadlines and calls go in; what to send is pulled out, when the link takes
// it:
//
//     segment_arrives.cpp   what a segment means            [RFC 9293 3.10.7.3, 3.10.7.4]
//     acknowledgement.cpp   what its ACK field means        [RFC 9293 3.10.7.4] [RFC 6298]
//     loss_recovery.cpp     what that says about losses     [RFC 8985] [RFC 9937] [RFC 6582]
//     ecn.cpp               what routers say by marks       [RFC 3168]
//     output.cpp            what may be sent now            [RFC 9293 3.7.4, 3.8.6]
//     timeouts.cpp          what silence means              [RFC 9293 3.8]
//     fast_open.cpp         data in the SYN                 [RFC 7413 4.2]
//     mtu_discovery.cpp     how large segments may be       [RFC 4821] [RFC 8899]
//     memory_pressure.cpp   what buffers may cost           [RFC 2018 8]
//     buffer_tuning.cpp     how large they grow
//     calls.cpp             what the user wants             [RFC 9293 3.10.1 - 3.10.6]
//
// Fields are named as in RFC 9293 3.3.1; sizes are bytes. snd_nxt never falls back: what is to be sent again
// is in the scoreboard.
#pragma once

#include <tapir/framework/frame_pool.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/tcp/config.hpp>
#include <tapir/protocols/tcp/congestion/control.hpp>
#include <tapir/protocols/tcp/ecn.hpp>
#include <tapir/protocols/tcp/endpoint.hpp>
#include <tapir/protocols/tcp/fast_open.hpp>
#include <tapir/protocols/tcp/half_open.hpp>
#include <tapir/protocols/tcp/memory.hpp>
#include <tapir/protocols/tcp/mtu_search.hpp>
#include <tapir/protocols/tcp/path.hpp>
#include <tapir/protocols/tcp/reassembly.hpp>
#include <tapir/protocols/tcp/recovery.hpp>
#include <tapir/protocols/tcp/rtt.hpp>
#include <tapir/protocols/tcp/scoreboard.hpp>
#include <tapir/protocols/tcp/segment.hpp>
#include <tapir/protocols/tcp/send_buffer.hpp>
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/state.hpp>
#include <tapir/protocols/tcp/timers.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace tapir::tcp {

/// What a segment draws beyond the connection's own output.
enum class verdict : std::uint8_t {
    done,
    reset, ///< answer it as one that fits no connection [RFC 9293 3.10.7.1]
};

/// What came ahead of a hole, among those whose data is shed first: kept while there is something to keep or
/// to tell.
struct held_ahead : reassembly, list_hook<> {
    explicit held_ahead(tcb& owner) : of(&owner) {}
    tcb* of;
};

/// Memory that holds nothing yet. What is constructed there shows the same bytes wherever it is, also those
/// that belong to none of its members.
struct blank_memory {
    blank_memory(void* at, std::size_t size);
};

/// What of a TCB is plain: all but what it holds, and where it hangs. It can be copied away and back, and is
/// compared, byte by byte (dormant.hpp).
class plain_tcb : blank_memory {
  protected:
    /// connection_options, as compactly as a hundred thousand connections want them.
    struct limits {
        using milliseconds = std::chrono::duration<std::uint32_t, std::milli>;
        limits(const connection_options& o, const config& c);
        std::uint32_t receive_buffer;
        milliseconds keepalive_idle;
        milliseconds keepalive_interval;
        milliseconds close_timeout;
        milliseconds give_up_after;
        milliseconds user_timeout;
        milliseconds connect_timeout;
        std::uint8_t keepalive_probes;
        std::uint8_t syn_retries;
    };
    static rtt_estimator::limits rto_limits_of(const config& c) {
        return {c.initial_rto, c.min_rto, c.max_rto, c.rtt_floor};
    }

    static limits::milliseconds compact(duration d);
    plain_tcb(const config& c, const path& p, const connection_options& options);

    // No two connections have these alike, down to the pacer's rate (dormant.cpp).
    seq snd_una_;
    seq snd_nxt_;
    seq snd_wl1_;
    seq snd_wl2_;
    seq rcv_nxt_;
    /// Right edge of the window offered; never moves back [RFC 9293 3.8.6 SHLD-14]. In SYN_SENT rcv_nxt_ is
    /// not known yet: the distance counts.
    seq rcv_adv_;
    seq last_ack_sent_; ///< [RFC 7323 4.3]
    std::uint32_t ts_recent_ = 0;
    std::uint32_t ts_offset_ = 0;
    seq iss_;
    seq irs_;
    seq recover_; ///< one past the highest sent when a recovery began; it ends there [RFC 6582]
    std::uint32_t ts_recent_at_ = 0; ///< second
    std::uint32_t drain_goal_ = 0;   ///< bytes acknowledged, modulo 2^32, that are progress again
    std::uint32_t segments_in_ = 0;
    std::uint32_t segments_out_ = 0;
    instant last_progress_{};
    instant last_receive_{};
    instant last_data_send_{};
    pacer pacer_;

    // Hot: what every segment touches.
    std::uint32_t snd_wnd_ = 0;
    std::uint32_t max_snd_wnd_ = 0;
    tcp::state state_ = state::closed;
    std::uint8_t snd_scale_ = 0;
    std::uint8_t rcv_scale_ = 0;
    std::uint8_t backoff_ = 0; ///< timeouts since the last round-trip sample [RFC 6298 5.5]
    std::uint8_t persist_backoff_ = 0;
    std::uint8_t acks_owed_ = 0; ///< to duplicates, out-of-order and unacceptable segments: one each
    std::uint8_t unanswered_keepalives_ = 0;
    std::uint8_t challenges_ = 0; ///< sent in challenge_second_
    std::uint8_t network_header_ = 20;
    std::uint8_t oldest_lost_ = 0; ///< times that what stands at snd_una was lost, if it is large
    std::uint16_t mtu_ = 1500;
    std::uint16_t link_mtu_ = 1500; ///< as it was when the connection was opened
    std::uint16_t pseudo_header_sum_ = 0;
    std::uint16_t challenge_second_ = 0;
    opening opening_ : 2 = opening::active;
    recovery_phase phase_ : 2 = recovery_phase::none;
    ecn_use ecn_ : 3 = ecn_use::off;
    bool ect_arrived_ : 1 = false;    ///< something that could be marked was acknowledged
    std::uint8_t ect_losses_ : 2 = 0; ///< while nothing did
    mtu_probing probing_ : 2 = mtu_probing::black_hole;
    send_limit limit_ : 3 = send_limit::application;
    bool timestamps_ : 1 = false;
    bool scaling_ : 1 = false;
    bool sack_permitted_ : 1 = false; ///< by both
    bool no_delay_ : 1 = false;
    bool fin_queued_ : 1 = false; ///< the FIN follows the last byte of the buffer
    bool fin_sent_ : 1 = false;
    bool close_pending_ : 1 = false;  ///< finish() in SYN_RECEIVED with data queued [RFC 9293 3.10.4]
    bool peer_fin_known_ : 1 = false; ///< peer_fin_ is valid
    bool nobody_reads_ : 1 = false;   ///< data from now on draws a RST
    bool oldest_due_ : 1 = false;     ///< a timeout has fired: what stands at snd_una goes again
    bool una_timed_out_ : 1 = false;  ///< what stands there was sent again by one
    bool syn_due_ : 1 = false;        ///< our SYN goes out, first or again
    bool probe_ : 1 = false;          ///< a window probe goes out
    bool keepalive_probe_ : 1 = false;
    bool syn_retransmitted_ : 1 = false;
    bool syn_acked_ : 1 = false; ///< a comparison with iss_ would not do: after 4 GiB snd_una is back there
    bool orphan_ : 1 = false;    ///< counted in the stack
    bool paced_ : 1 = true;
    bool tunes_send_ : 1 = false;    ///< the send buffer is as large as the path needs
    bool tunes_receive_ : 1 = false; ///< the receive buffer too
    bool from_cookie_ : 1 = false;   ///< opened by the ACK of a SYN cookie
    bool ecn_echoing_ : 1 = false;   ///< each ACK tells of a mark, until the peer answers with CWR
    bool cwr_due_ : 1 = false;       ///< the next new data says that the window has come down
    bool ecn_reducing_ : 1 = false;  ///< PRR lowers cwnd for an ECN-Echo; no loss recovery has taken it over
    bool ecn_holds_ : 1 = false;     ///< an echo at one segment: new data waits for timer_id::pace
    fast_open_use fast_open_ : 3 = fast_open_use::off;
    // These are written with each segment. As bits each would wait for the one before.
    bool ack_now_ = false;
    bool ack_deferred_ = false; ///< may_acknowledge_later() has said yes, and nothing was acknowledged since
    bool ack_at_once_ = false;  ///< the peer repairs something, or slows down: it waits for the ACK
    bool tail_probe_ = false;   ///< a tail loss probe goes out
    bool has_read_ = false;     ///< the user took something since the window was last offered
    bool news_ = false;         ///< the segment that is arriving has brought something to its user
    bool sent_data_ = false;    ///< since output was last done
    bool cwnd_limited_ = false; ///< when data was last sent the congestion window was full [RFC 7661]
    std::uint16_t peer_mss_ = 0;
    std::uint16_t mss_ = 0;     ///< what these and mtu_ make of it: see size_segments()
    std::uint16_t rcv_mss_ = 0; ///< most text seen in a packet: what counts as a full segment on the way in
    congestion_control congestion_;
    rtt_estimator rtt_;
    timer_table timers_;
    // Receive buffer tuning: rounds of one round trip each
    instant round_began_{};
    std::uint64_t round_began_at_ = 0; ///< bytes that the user had read then
    instant drained_at_{}; ///< when the send queue last was less by what makes it reach drain_goal_

    // Cold
    limits limits_;
    seq peer_fin_;
    std::uint32_t mtu_lowered_at_ = 0; ///< second; 0: never
    std::uint64_t bytes_sent_ = 0;
    std::uint64_t bytes_acked_ = 0;
    std::uint64_t bytes_received_ = 0;
    std::uint64_t bytes_retransmitted_ = 0;
    std::uint32_t retransmits_ = 0;
    std::uint32_t fast_retransmits_ = 0;
    std::uint32_t undone_ = 0; ///< recoveries
    std::uint32_t rto_fired_ = 0;
    std::uint32_t duplicate_acks_ = 0;
    std::uint32_t last_round_ = 0; ///< of receive buffer tuning: bytes read in the one before
};
static_assert(std::is_trivially_copyable_v<plain_tcb>);

class tcb : public plain_tcb,
            public list_hook<stack::dirty_tag>,
            public list_hook<stack::holder_tag>,
            public list_hook<stack::writer_tag>,
            public list_hook<stack::drowsy_tag>,
            public timer {
  public:
    tcb(stack& s, endpoint& user, const path& p, const connection_options& options);
    /// One that lay dormant.
    tcb(stack& s, endpoint& user);

    // calls.cpp
    void open_active(seq iss, std::uint32_t ts_offset, instant now);
    /// Goes on where a half-open entry ended; the endpoint's path has SYN_RECEIVED already.
    void open_passive(const half_open_entry& e, std::uint32_t ts_offset);
    // fast_open.cpp
    /// Goes on from a SYN that has shown a good cookie. [RFC 7413 4.2.2]
    void open_fast(const half_open_entry& e, std::uint32_t ts_offset, const segment& syn, instant now);
    std::size_t room_to_write() const;
    std::size_t write(bytes data, instant now);
    std::size_t write(chunk data, instant now);

    void has_read(instant now) {
        has_read_ = true;
        made_progress(now);
        tune_receive_buffer(now);
    }
    void finish(instant now);
    void stop_reading(instant now);
    void close(instant now, instant deadline);
    void abort(event cause, ending how, std::error_code why, instant now);
    void set_no_delay(bool on) { no_delay_ = on; }
    void set_user_timeout(duration timeout);
    void soft_error(std::error_code why);
    /// `about`: the sequence number of what was too large.
    void lower_path_mtu(std::uint16_t mtu, seq about, instant now);
    /// What whoever routes knows of the path now.
    void follow_path(const tcp::path& p, instant now);
    tcp::info info() const;
    tcp::close_report report() const;

    // segment_arrives.cpp
    verdict on_segment(const segment& s, instant now);
    // timeouts.cpp
    void on_timer(instant now);
    instant next_deadline() const { return timers_.next(); }
    // output.cpp
    bool output_possible() const;
    /// Whether all there is to send is an acknowledgement that the peer does not wait for: for no longer than
    /// text keeps coming (config::text_pause), and config::delayed_ack.
    bool may_acknowledge_later(instant now);
    /// The next segment to send, if there is one; it counts as sent. `parts` must live as long as `out`.
    bool next_segment(instant now, std::size_t max_payload, gather_list& parts, outgoing_segment& out);
    /// The link takes no more, or there is no more: what follows from all that was sent, once for all of it.
    void output_done(instant now);

    // dormant.cpp
    /// Nothing is under way, held, owed or waited for, but perhaps the next keepalive.
    bool at_rest() const;
    /// For how long neither side has said anything.
    duration idle_for(instant now) const { return now - std::max(last_receive_, last_data_send_); }

    tcp::state state() const { return state_; }
    bool is_outstanding(seq s) const { return snd_una_ <= s && s < snd_nxt_; }
    tcp::path way() const {
        tcp::path p(flow().local, flow().remote, pseudo_header_sum_, mtu_, network_header_);
        p.link_mtu = link_mtu_;
        return p;
    }
    endpoint& user() { return *user_; }
    const flow_key& flow() const { return user_->flow_; }

  private:
    friend class stack;
    friend struct tcb_inspection; ///< of whoever tests: reads, and changes nothing

    static void fired(timer& t, instant now);

    // --- dormant.cpp ---
    std::byte* plain();
    bool holds_nothing() const;
    /// At rest, and folded: belongs to nobody, and hangs nowhere.
    void retire();
    /// Is from now on the TCB of one that lay dormant.
    void serve(endpoint& user);

    // --- calls.cpp ---
    void lower_mtu(std::uint16_t mtu, instant now);
    bool may_queue() const;
    /// Nobody waits for this connection any more but the peer: it is one of a bounded number.
    void may_be_orphaned(instant now);

    // --- fast_open.cpp ---
    std::uint32_t add_fast_open(header& syn, std::size_t max_payload, instant now);
    void fast_open_answered(const header& syn_ack, std::uint32_t taken, instant now);
    void fast_open_unanswered(event cause, instant now);
    /// Bytes of data in our SYN, which has gone and is not acknowledged.
    std::uint32_t sent_with_syn() const { return snd_nxt_ - iss_ - 1; }

    // --- the one way to another state ---
    void enter(event cause, instant now);
    void end(event cause, ending how, std::error_code why, instant now);
    void established(instant now);

    // --- segment_arrives.cpp ---
    verdict arrives_in_syn_sent(const segment& s, instant now);
    verdict arrives_synchronized(const segment& s, instant now);
    bool is_predicted(const segment& s) const;
    std::optional<verdict> dealt_with(const segment& s, instant now);
    bool paws_rejects(const segment& s);
    bool acceptable(const segment& s) const;
    bool can_be_true(seq ack) const;
    bool asks_whether_we_live(const segment& s) const;
    void rst_arrives(const segment& s, instant now);
    void tell_user();
    void text_arrives(seq begin, const segment& s, bool fin, instant now);
    bool take_text(seq begin, const segment& s, bool fin, instant now);
    void take_in_order(chunk payload);
    void keep_ahead(seq begin, chunk payload, instant now);
    void came_twice(seq begin, seq end);
    /// Gives the memory of `ahead_` back once it has nothing to keep nor to tell.
    void settle_ahead();
    void conclude(bool our_fin_acked, bool peer_fin, instant now);
    /// In FIN_WAIT_2 with nobody who reads, the wait for the peer's FIN gets an end.
    void bound_fin_wait_2(instant now);
    void accept_syn_options(const options& o, bool syn_ack_or_first);
    void note_urgent(const header& h);
    /// Bytes from the next that the user reads to the end of urgent data.
    std::uint32_t urgent_ahead() const;
    void owe_ack();
    void challenge(const segment& s, instant now);
    void drop(std::uint64_t counters::* reason, std::string_view name, const segment& s, instant now);

    // --- acknowledgement.cpp ---
    /// What one ACK told.
    struct ack_outcome {
        seq una_before;
        std::uint32_t flight_before = 0;
        std::uint32_t data = 0; ///< bytes of the send buffer that it acknowledged
        bool repeated = false;  ///< a duplicate ACK [RFC 5681 2]
        duration rtt{0};        ///< of the newest data that it tells of; zero: no sample
        delivery told;
        std::optional<byte_range> came_twice; ///< by its D-SACK block
    };
    void ack_arrives(const segment& s, instant now);
    instant believable(const segment& s, bool by_echo) const;
    void new_data_acked(const segment& s, instant believe, ack_outcome& a, instant now);
    void sack_arrives(const segment& s, ack_outcome& a);
    /// Returns the round trip of the newest data that arrived, as delay-based algorithms want it; zero: none.
    duration sample_rtt(const delivery& told, const segment& s, bool advances);
    void update_send_window(const segment& s);

    // --- loss_recovery.cpp ---
    /// The pipe. [RFC 6675 4] [RFC 8985 5.1]
    std::uint32_t in_flight() const {
        const std::uint32_t known = board_.in_flight();
        return !recovery_ || recovery_->presumed == 0 ? known : in_flight_less_presumed(known);
    }
    std::uint32_t in_flight_less_presumed(std::uint32_t known) const;
    recovery& with_recovery();
    void recover(ack_outcome& a, const segment& s, instant now);
    void presume_delivered(ack_outcome& a, bool advances);
    bool find_losses(const ack_outcome& a, bool advances, instant arrived, instant now);
    bool judge_sendings(instant now);
    void enter_recovery(const ack_outcome& a, loss_sign why, instant now);
    void leave_recovery(instant now);
    void remember_window();
    void watch_for_undo(bool congested);
    void went_again(std::uint32_t length, instant now);
    bool was_spurious(const ack_outcome& a, const segment& s, bool advances);
    bool f_rto_step(const ack_outcome& a, bool advances);
    void undo(instant now);
    void arm_tail_probe(instant now, bool lone);
    void tail_probe_timeout(instant now);
    bool send_tail_probe(instant now, gather_list& parts, outgoing_segment& out);
    void conclude_tail_probe(const ack_outcome& a, const segment& s, instant now);
    ack_sample sample_of(const ack_outcome& a, instant now) const;
    void trace_rate(instant now);

    // --- ecn.cpp ---
    flags ecn_flags_of_syn(bool first);
    void ecn_answered(flags f);
    void ecn_agreed();
    bool answers_marks() const { return ecn_ == ecn_use::on || ecn_ == ecn_use::echoes; }
    void marks_arrive(const segment& s, instant now);
    void allow_marks(outgoing_segment& out);
    void sent_plain();
    bool echo_arrives(const ack_outcome& a, instant now);
    void window_reduced();
    void end_reduction();
    void suspect_black_hole();

    // --- timeouts.cpp ---
    void retransmission_timeout(instant now);
    void all_timed_out(instant now);
    void reordering_timeout(instant now);
    void persist_timeout(instant now);
    void keepalive_timeout(instant now);

    // --- mtu_discovery.cpp ---
    /// Of one packet: what the link and the peer take.
    std::uint16_t most_mtu() const;
    mtu_search new_mtu_search() const;
    void begin_mtu_search();
    /// Nothing: no probe is due. Else whether one was sent; if not, nothing new goes before it.
    std::optional<bool> send_mtu_probe(instant now, std::size_t link_takes, gather_list& parts,
                                       outgoing_segment& out);
    void forget_mtu_probe();
    bool mtu_probe_is_oldest() const;
    void conclude_mtu_probe(const ack_outcome& a, instant now);
    void mtu_probe_lost(instant now);
    /// Whether all that is lost is a probe, which then is no sign of congestion.
    bool only_mtu_probe_lost(instant now);
    void mtu_probe_sent_again(seq begin, seq end);
    void mtu_refused(std::uint16_t mtu, seq about, instant now);
    /// What a timeout says about sizes.
    void size_timed_out(instant now);
    void oldest_lost(instant now);

    // --- memory_pressure.cpp ---
    static constexpr std::size_t queue_slack = 4096; ///< bytes: the last slab of a queue is not full
    /// A byte never costs more than two, so this is what a full window may cost.
    std::size_t receive_bound() const { return 2 * std::size_t{limits_.receive_buffer} + queue_slack; }
    /// True size of what is received and not yet read.
    std::size_t held() const { return user_->unread_.true_size() + (ahead_ ? ahead_->true_size() : 0); }
    std::uint32_t receive_space() const;
    /// Of either budget, whatever others hold.
    std::size_t memory_floor() const;
    bool may_keep(seq begin, const chunk& payload, instant now);
    bool fits(std::size_t cost) const;
    void shed_ahead();
    /// Data was delivered, read, written or acknowledged: not the one to be shed for being idle.
    void made_progress(instant now);
    /// Brings the account up to what the buffers hold.
    void charge(instant now) {
        charge_received();
        // Who has nothing queued, and had nothing, is most receivers.
        if (send_charge_.bytes() != 0 || queued_memory() != 0) charge_queued(now);
    }
    void charge_received() {
        if (ahead_ || ahead_charge_.bytes() != 0) charge_ahead();
        auto& hook = static_cast<list_hook<stack::holder_tag>&>(*this);
        // To end others would free nothing received.
        const bool holds = ahead_charge_.bytes() != 0 || !user_->unread_.empty();
        if (holds == hook.linked()) return;
        if (holds)
            stack_->holders_.push_back(*this);
        else
            hook.unlink();
    }
    void charge_ahead();
    void charge_queued(instant now);
    void give_back();
    /// What is queued, and what is known of it: a peer that names ten thousand ranges pays for them as for
    /// data.
    std::size_t queued_memory() const { return buffer_.true_size() + board_.size_of_exceptions(); }
    std::uint32_t most_sack_ranges() const;
    std::size_t send_memory_left() const;
    /// Whether write() can take something, others paying for it if need be.
    bool make_room_to_write(instant now);

    // --- buffer_tuning.cpp ---
    std::uint32_t most_receive_buffer() const;
    bool receive_buffer_may_grow() const;
    void tune_receive_buffer(instant now);
    void tune_send_buffer();

    // --- output.cpp ---
    bool send_syn(instant now, std::size_t max_payload, gather_list& parts, outgoing_segment& out);
    bool send_owed_ack(instant now, outgoing_segment& out);
    bool send_lost(instant now, std::size_t max_payload, gather_list& parts, outgoing_segment& out);
    bool send_probe(instant now, gather_list& parts, outgoing_segment& out);
    bool send_data(instant now, std::size_t max_payload, gather_list& parts, outgoing_segment& out);
    void send_range(seq begin, std::uint32_t length, bool with_fin, instant now, gather_list& parts,
                    outgoing_segment& out);
    void send_pure_ack(seq ack, instant now, outgoing_segment& out);
    /// `sack_room`: bytes that SACK blocks may take.
    void make_header(header& h, flags f, seq begin, seq ack, instant now, std::size_t sack_room = 0);
    void add_sack(header& h, std::size_t room);
    void sent(seq begin, std::uint32_t length, instant now);
    std::uint16_t offer_window(seq ack);
    bool window_update_due() const;
    /// Bytes that may leave now; if that holds back what else could go, a timer says when more may.
    std::uint32_t paced_room(std::uint32_t pipe, std::uint32_t wanted, instant now);
    void restart_after_idleness(instant now);
    bool worth_sending(std::uint32_t length, std::uint32_t unsent) const;
    void wait_for_window(instant now);
    /// Something is under way; or the peer does not acknowledge what it said to hold, and will be taken to
    /// have dropped it [RFC 2018 8]. Either way the retransmission timer asks, not the persist timer.
    bool timeout_will_tell() const { return board_.in_flight() != 0 || board_.is_sacked(snd_una_); }
    void limited_by(send_limit limit, instant now);
    header make_rst(instant now) const;

    // --- derived ---
    seq data_begin() const { return syn_acked() ? snd_una_ : iss_ + 1; } ///< of the send buffer
    bool syn_acked() const { return syn_acked_; }
    seq snd_end() const { return data_begin() + buffer_.size(); } ///< where our FIN stands
    bool fin_acked() const { return user_->fin_acked_; }
    /// Queued and not below snd_nxt. The FIN is not counted.
    std::uint32_t unsent() const {
        if (fin_acked()) return 0;
        const seq from = later(snd_nxt_, data_begin());
        const seq end = snd_end();
        return end > from ? end - from : 0;
    }
    bool fin_unsent() const { return fin_queued_ && !fin_acked() && snd_nxt_ <= snd_end(); }
    /// Payload of a full segment.
    std::uint32_t mss() const { return mss_; }
    /// After any change of what mss() depends on.
    void size_segments() { mss_ = static_cast<std::uint16_t>(payload_in(mtu_)); }
    void set_mtu(std::uint16_t mtu) {
        mtu_ = mtu;
        size_segments();
    }
    std::uint32_t payload_in(std::uint16_t mtu) const {
        const unsigned options = timestamps_ ? 12 : 0;
        // [RFC 9293 3.7.1 MUST-16]
        const unsigned most = std::min<unsigned>(peer_mss_, mss_of(mtu, network_header_));
        return std::max(most > options ? most - options : 0, 32u);
    }
    std::uint16_t path_mss() const { return mss_of(mtu_, network_header_); }
    std::uint16_t receive_mss() const { return mss_of(link_mtu_, network_header_); } ///< what we announce
    std::uint32_t ts_clock(instant at) const;
    static std::uint32_t second_of(instant at) {
        return static_cast<std::uint32_t>((at.time_since_epoch() / 1s) & 0xffffffff);
    }
    rtt_estimator::limits rto_limits() const { return rto_limits_of(stack_->config_); }
    /// R2, or what the user said instead.
    duration give_up_after() const {
        return limits_.user_timeout.count() != 0 ? limits_.user_timeout : limits_.give_up_after;
    }
    duration current_rto() const { return rtt_.backed_off(backoff_, rto_limits()); }
    std::uint32_t largest_window() const;
    /// What one ACK may tell of, as config::max_stretch_part and max_deferred_part have it.
    std::uint32_t part_of_window(std::uint32_t part) const {
        return std::min(largest_window() / std::max(part, 1u), stack_->config_.max_part_bytes);
    }

    bool seldom_heard_ = false; ///< it was dormant, and silent for config::dormant_after
    stack* stack_;
    endpoint* user_;
    send_buffer buffer_;
    scoreboard board_;
    std::unique_ptr<recovery> recovery_;       ///< null until something seems lost
    std::unique_ptr<mtu_discovery> discovery_; ///< null unless the path MTU is searched
    std::unique_ptr<held_ahead> ahead_;        ///< null while everything came in order and once

    memory_charge ahead_charge_;
    memory_charge send_charge_;
};

// TCBs that come and go take turns in memory that is still in the caches.
template <class... A>
tcb* stack::make_tcb(A&&... of) {
    static_assert(alignof(tcb) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
    std::unique_ptr<std::byte[]> room;
    if (spare_.empty()) {
        room.reset(new std::byte[sizeof(tcb)]);
    } else {
        room = std::move(spare_.back());
        spare_.pop_back();
    }
    tcb* const c = new (room.get()) tcb(*this, std::forward<A>(of)...);
    room.release();
    return c;
}

inline void stack::drop_tcb(tcb& c) {
    std::destroy_at(&c);
    std::unique_ptr<std::byte[]> room(reinterpret_cast<std::byte*>(&c));
    if (spare_.size() < most_spare) spare_.push_back(std::move(room));
}

} // namespace tapir::tcp
