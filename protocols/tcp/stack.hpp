// TCP of one host (or one shard of it) as a plain object: segments and `now` go in, segments and notices come
// out. It finds the connection a segment belongs to, keeps listeners, half-open connections and TIME_WAIT,
// and asks connections for output when told that the link takes some. It calls no clock and no system.
//
//     tcp::stack stack(config, secret, random, pool, wheel);
//     auto server = stack.listen({any, 80}, {}, now);
//     stack.receive(path, segment_bytes, tcp::checksum_known::no, arrived, now);   // for each segment
//     stack.flush(now, link);                                         // once after a batch
//
// One turn: receive() for everything that arrived, wheel.advance(now), let users run, flush() once. Data and
// acknowledgements then travel together. `want_flush` tells that there is something to flush, in the next
// turn what was too much for one.
//
// [RFC 9293 3.10] throughout.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/frame_pool.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/siphash.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/tcp/config.hpp>
#include <tapir/protocols/tcp/counters.hpp>
#include <tapir/protocols/tcp/demux.hpp>
#include <tapir/protocols/tcp/endpoint.hpp>
#include <tapir/protocols/tcp/fast_open_cache.hpp>
#include <tapir/protocols/tcp/fast_open_cookies.hpp>
#include <tapir/protocols/tcp/fast_open_pending.hpp>
#include <tapir/protocols/tcp/half_open.hpp>
#include <tapir/protocols/tcp/listening_endpoint.hpp>
#include <tapir/protocols/tcp/memory.hpp>
#include <tapir/protocols/tcp/path.hpp>
#include <tapir/protocols/tcp/reply_limit.hpp>
#include <tapir/protocols/tcp/segment.hpp>
#include <tapir/protocols/tcp/syn_cookie.hpp>
#include <tapir/protocols/tcp/time_wait.hpp>
#include <tapir/protocols/tcp/trace.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace tapir::tcp {

/// Where output goes. `segment` and its payload are valid only during emit().
struct output_sink {
    /// Whether a segment can be taken now; if not, what is pending stays and flush() ends.
    virtual bool ready() = 0;
    /// Most payload bytes of one segment when somebody below cuts it into pieces of an MSS; 0 when nobody
    /// does: then a segment holds one MSS at most.
    virtual std::size_t max_payload() = 0;
    virtual void emit(const path& to, const outgoing_segment& s) = 0;

  protected:
    ~output_sink() = default;
};

struct held_ahead;

enum class checksum_known : std::uint8_t { no, valid };

/// What an ICMP message about one of our segments says.
enum class icmp_kind : std::uint8_t {
    network_unreachable, ///< soft once connected
    host_unreachable,    ///< soft once connected
    port_unreachable,    ///< hard, as is protocol unreachable
    packet_too_big,      ///< with the MTU of the hop
    time_exceeded,       ///< soft, as are parameter problem and administratively prohibited
};

class stack {
  public:
    /// `want_flush` is called when something to send appears while nothing was pending, and by a flush() that
    /// leaves something although the sink is ready: once for each flush() that is wanted.
    using want_flush = void (*)(void* context);

    stack(const tcp::config& c, const siphash_key& secret, tapir::random r, buffer_pool& pool,
          timer_wheel& wheel, trace_sink* trace = nullptr);
    stack(const stack&) = delete;
    stack& operator=(const stack&) = delete;
    /// As stop(). Endpoints and listeners may outlive the stack.
    ~stack();

    void on_want_flush(want_flush f, void* context) {
        want_flush_ = f;
        want_flush_context_ = context;
    }

    // --- from below ------------------------------------------------------------------------------------
    /// A segment (header and payload, nothing behind) whose addresses were those of `p`, seen from here:
    /// p.local is its destination. The payload shares `bytes_of_segment`. `ecn` is that of its packet. What
    /// a link has put together from several packets had `piece` bytes in each.
    void receive(const path& p, const chunk& bytes_of_segment, checksum_known checksum, instant arrived,
                 instant now, ip::ecn ecn = ip::ecn::not_ect, std::uint16_t piece = 0);
    /// The same for a segment that is parsed and known to be intact.
    void receive(const path& p, const segment& s, instant now);

    /// Segments of these flows are what receive() will be given next, in about this order: what they will
    /// look at is fetched now, for all of them side by side, where each would have to wait for one memory
    /// access after the other. Nothing but time depends on it.
    void expect(std::span<const flow_key> flows);
    /// The same before calls for each of `users`, of this stack: who writes to many that may have been silent
    /// (news for all of them, timers that fire together) has them fetched so, in portions.
    void expect(std::span<endpoint* const> users);
    static constexpr std::size_t most_expected = 32; ///< of one call: what they look at stays in an L1 cache
    /// With fewer connections all of it is in the processor's caches anyway.
    bool worth_expecting() const { return connection_count_ > config_.most_awake; }

    /// `header` are at least the first 8 bytes of the TCP header that the ICMP message quotes; `flow_path`
    /// as for output (local is ours). Whether the message is believed: it quotes what is in flight here. [RFC
    /// 9293 3.9.2.2] [RFC 5927]
    bool icmp_error(icmp_kind kind, const ip::address& local, const ip::address& remote, bytes header,
                    std::uint16_t mtu, instant now);

    /// The network below cannot reach `remote`: connection attempts to it end with `why`, established
    /// connections remember it as a soft error.
    void unreachable(const ip::address& remote, errc why, instant now);

    // --- calls -----------------------------------------------------------------------------------------
    /// Sends a SYN with the next flush. `local_port` 0 picks one [RFC 6056 3.3.3]. The endpoint is in
    /// SYN_SENT. Errors: address_in_use, address_unavailable (another shard's flow), no_ports, no_memory,
    /// invalid_argument, host_stopped.
    /// `first` is queued at once, and with connection_options::fast_open part of it may go with the SYN;
    /// no_memory also when the send buffer does not take all of it.
    result<std::unique_ptr<endpoint>> connect(const path& p, std::uint16_t remote_port,
                                              std::uint16_t local_port, const connection_options& options,
                                              instant now, bytes first = {});
    /// Listens at one address, or at any if `local.addr` is unspecified; the more exact listener wins.
    /// Port 0 picks a free one; of one of several shards it is invalid_argument: each would pick another.
    /// Errors: address_in_use, no_ports, no_memory, host_stopped.
    result<std::unique_ptr<listening_endpoint>> listen(const ip::endpoint& local,
                                                       const listen_options& options, instant now);

    /// Sends what is pending, in turns of config::most_in_turn bytes, until config::most_per_flush are sent
    /// or the sink is not ready. True: nothing is left. False: one more flush() is wanted, in the
    /// next turn, which on_want_flush() is told, or when the sink is ready again, which its owner finds out.
    /// `input_waits`: more has come than was taken in yet, or probably has. Acknowledgements that nobody
    /// waits for may then wait for it, and one more flush() is wanted.
    bool flush(instant now, output_sink& out, bool input_waits = false);
    bool output_pending() { return !dirty_.empty() || !deferred_.empty() || !replies_.empty(); }

    /// Ends everything at once with errc::host_stopped. Peers of open connections get a RST each, which one
    /// more flush() may send; listeners close. Later calls answer host_stopped.
    void stop(instant now);
    bool stopped() const { return stopped_; }

    // --- looking ---------------------------------------------------------------------------------------
    const tcp::counters& counted() const { return counters_; }
    const tcp::config& configuration() const { return config_; }
    /// What all buffers cost now.
    const tcp::memory& memory() const { return *memory_; }
    std::size_t connections() const { return connection_count_; }
    /// Of these, idle and folded away (dormant.hpp).
    std::size_t dormant_connections() const { return dormant_count_; }
    /// Of these, closing in the background.
    std::size_t orphans() const { return orphans_; }
    std::size_t half_open() const { return half_open_.size(); }
    std::size_t time_waits() const { return time_wait_.size(); }
    /// Memory of what strangers can fill: the tables of half-open and TIME_WAIT entries, demultiplexing, and
    /// what waits for the link.
    std::size_t table_bytes() const {
        return demux_.bytes() + half_open_.bytes() + time_wait_.bytes() + replies_.bytes();
    }

    /// f(endpoint&) for each open connection, oldest first. f must not open or end connections.
    template <class F>
    void for_each_connection(F f) {
        for (endpoint& e : all_) f(e);
    }
    template <class F>
    void for_each_listener(F f) {
        for (listening_endpoint* l : listeners_)
            if (l != nullptr) f(*l);
    }
    /// f(flow_key, half_open_entry)
    template <class F>
    void for_each_half_open(F f) {
        half_open_.for_each([&](std::uint32_t, const half_open_entry& e) { f(flow_of(e), e); });
    }
    /// f(flow_key, time_wait_entry)
    template <class F>
    void for_each_time_wait(F f) {
        time_wait_.for_each([&](std::uint32_t, const time_wait_entry& e) { f(flow_of(e), e); });
    }

    // The same for whoever cannot look at all of them in one turn. What is there all the time is met exactly
    // once; what comes or goes meanwhile may be met or not.
    /// The table of half-open connections by positions below half_open_positions(): calls f(flow_key,
    /// half_open_entry) unless nothing is there.
    template <class F>
    void half_open_at(std::uint32_t position, F f) const {
        const half_open_entry& e = half_open_[position];
        if (e.used) f(flow_of(e), e);
    }
    std::uint32_t half_open_positions() const { return half_open_.positions(); }
    template <class F>
    void time_wait_at(std::uint32_t position, F f) const {
        const time_wait_entry& e = time_wait_[position];
        if (e.used != 0) f(flow_of(e), e);
    }
    std::uint32_t time_wait_positions() const { return time_wait_.positions(); }
    /// Null where nobody listens.
    const listening_endpoint* listener_at(std::size_t position) const { return listeners_[position]; }
    std::size_t listener_positions() const { return listeners_.size(); }
    /// All open connections, oldest first. Constant time for each, whatever opens or ends meanwhile.
    class walk : public list_hook<> {
      public:
        explicit walk(stack& s);
        /// The next one; null behind the last, and when the stack is gone.
        const endpoint* next();

      private:
        friend class stack;
        stack* stack_;
        endpoint* at_; ///< who comes next
    };

  private:
    friend class endpoint;
    friend class listening_endpoint;
    friend class tcb;

    /// A segment without a connection that waits for the link.
    struct reply {
        path to;
        tcp::header header;
    };
    static_assert(sizeof(reply) <= 136); // config::max_replies
    struct hashed {
        flow_key flow;
        std::uint64_t hash = 0; ///< for demultiplexing
    };
    struct known_flow {
        flow_key flow;
        std::uint64_t hash = 0;    ///< for demultiplexing; 0: nobody has asked for it
        std::uint64_t numbers = 0; ///< the hash of hash_purpose::numbers; the same
        tcb* connection = nullptr; ///< that a segment has come for
    };
    static_assert(sizeof(known_flow) <= 64); // a cache line
    struct table_timer : timer {
        table_timer(stack& s, handler h) : timer(h), owner(&s) {}
        stack* owner;
    };
    struct dirty_tag;
    struct holder_tag;
    struct writer_tag;
    struct drowsy_tag;

    // stack_receive.cpp: from a segment to what answers for it
    void arrives(const path& p, const segment& s, const flow_key& flow, instant now);
    void arrives_at_nobody(const path& p, const segment& s, const flow_key& flow, instant now);
    /// `above`: what the initial sequence number has to exceed, after a TIME_WAIT of the same flow.
    void arrives_at_listener(listening_endpoint& l, const path& p, const segment& s, const flow_key& flow,
                             std::optional<seq> above, instant now);
    void ack_arrives_at_listener(listening_endpoint& l, const path& p, const segment& s, const flow_key& flow,
                                 instant now);
    void refuse_ack(const listening_endpoint& l, const path& p, const segment& s, const flow_key& flow,
                    instant now);
    void arrives_at_half_open(std::uint32_t i, const path& p, const segment& s, const flow_key& flow,
                              instant now);
    void arrives_at_time_wait(std::uint32_t i, const path& p, const segment& s, const flow_key& flow,
                              instant now);
    void arrives_at_connection(tcb& c, const path& p, const segment& s, instant now);
    half_open_entry entry_for(const listening_endpoint& l, const path& p, const segment& s,
                              std::uint16_t local_index, instant now) const;
    void establish(const half_open_entry& e, const path& p, const segment& s, const flow_key& flow,
                   instant now);
    /// A connection in SYN_RECEIVED at the end of the accept queue.
    tcb& open_accepted(listening_endpoint& l, const half_open_entry& e, const path& p, const flow_key& flow);
    // stack_fast_open.cpp
    bool opens_fast(listening_endpoint& l, half_open_entry& e, const path& p, const segment& s,
                    const flow_key& flow, bool certain, instant now);
    void fast_opening_ends(tcb& c);
    void drop(std::uint64_t counters::* reason, std::string_view name, const flow_key& flow, const segment& s,
              instant now);

    // stack_pressure.cpp: cookies, and what a listener tells of its queues
    bool accept_queue_full(const listening_endpoint& l) const;
    bool half_open_full(const listening_endpoint& l) const;
    bool under_pressure(const listening_endpoint& l) const;
    void syn_without_room(listening_endpoint& l, half_open_entry e, const segment& s, const flow_key& flow,
                          instant now);
    /// What a SYN was like whose cookie `s` brings back, if it does.
    std::optional<half_open_entry> cookie_in(listening_endpoint& l, const path& p, const segment& s,
                                             const flow_key& flow, instant now);
    /// One more cookie or drop at a listener.
    void pressed(listening_endpoint& l, pressure what, instant now);
    void accept_overflows(listening_endpoint& l, const segment& s, const flow_key& flow, instant now);
    bool has_eased(const listening_endpoint& l, pressure what, instant now) const;
    void ease_pressure(instant now);

    // replies
    void queue_reply(const path& to, const header& h);
    void reply_rst(const path& to, const segment& s, instant now);
    bool may_reply_ack(const flow_key& flow, instant now);
    header syn_ack_of(const half_open_entry& e, const flow_key& flow, std::uint32_t clock);
    void reply_syn_ack(const half_open_entry& e, instant now);
    void reply_ack(const half_open_entry& e, instant now);
    void reply_ack(const time_wait_entry& e, instant now);

    // demultiplexing
    endpoint* find_connection(const flow_key& flow, std::uint64_t hash) const;
    std::uint32_t find_half_open(const flow_key& flow, std::uint64_t hash) const;
    std::uint32_t find_time_wait(const flow_key& flow, std::uint64_t hash) const;
    bool is_taken(const flow_key& flow) const;
    std::uint64_t hash_of(const flow_key& flow) const { return hash_of(flow, known(flow)); }
    std::uint64_t hash_of(const flow_key& flow, known_flow& k) const {
        if (k.hash == 0) k.hash = next_expected(flow);
        return k.hash;
    }
    /// Of hash_purpose::numbers: whoever opens a connection asks for both halves.
    std::uint64_t numbers_of(const flow_key& flow) const;
    std::uint64_t next_expected(const flow_key& flow) const;
    void fetch_ahead() const;
    /// A call for one of those that were expected.
    void has_come(const endpoint& user) const;
    known_flow& place_of(const flow_key& flow) const {
        constexpr std::uint32_t golden = 0x9e3779b1; // ports come in order: this spreads them
        const std::uint32_t ports = std::uint32_t{flow.local_port} << 16 | flow.remote_port;
        const std::uint32_t key = ports ^ std::rotl(flow.remote.v4_value(), 16);
        return known_[key * golden >> (32 - std::bit_width(most_known - 1))];
    }
    /// As it is until another flow of that place is asked for.
    known_flow& known(const flow_key& flow) const {
        known_flow& k = place_of(flow);
        if (k.flow != flow) k = {flow, 0, 0, nullptr};
        return k;
    }
    void forget_connection(const tcb& c);
    flow_key flow_of(const half_open_entry& e) const;
    flow_key flow_of(const time_wait_entry& e) const;
    path path_of(const half_open_entry& e) const;
    path path_of(const time_wait_entry& e) const;
    listening_endpoint* find_listener(const ip::address& local, std::uint16_t port) const;
    std::optional<std::uint16_t> local_index(const ip::address& a);
    seq initial_sequence(const flow_key& flow, instant now) const;
    /// Milliseconds. [RFC 7323 5.4]
    static std::uint32_t timestamp(instant at);
    std::uint32_t timestamp_offset(const flow_key& flow) const;
    result<std::uint16_t> pick_port(const path& p, std::uint16_t remote_port);
    result<std::uint16_t> pick_listening_port(const ip::address& local);

    // lifetimes
    /// Every state change, of connections, half-open and TIME_WAIT entries and listeners, is checked against
    /// the table and traced here.
    edge change_state(const flow_key& flow, state from, event cause, opening how, instant now);
    void erase_half_open(std::uint32_t i);
    void half_open_ends(std::uint32_t i, event cause, instant now);
    void erase_time_wait(std::uint32_t i, event cause, instant now);
    void enter_time_wait(tcb& c, instant now);
    void forget(tcb& c);
    void close_listener(listening_endpoint& l, errc why, instant now);
    /// After anything that may have changed a connection: ends it, moves it to TIME_WAIT, arms its timer,
    /// lists it for output. The connection may be gone afterwards.
    void settle(tcb& c, instant now);
    /// The same after the user has taken data, which changes less.
    void settle_read(tcb& c);
    void mark_dirty(tcb& c);
    void mark_drowsy(tcb& c);
    void announce_output();
    void timer_fired(tcb& c, instant now);
    void after_output(tcb& c, instant now);
    void arm(tcb& c);
    void look_later(tcb& c);
    // dormant.cpp
    void lie_dormant(tcb& c);
    tcb* wake(endpoint& user);
    tcp::info info_of(endpoint& user);
    bool may_lie_dormant(const tcb& c) const;
    std::size_t awake_count() const { return connection_count_ - dormant_count_; }
    bool crowded() const { return awake_count() > config_.most_awake; }
    /// In a crowd at once, not only after config::dormant_after.
    bool may_lie_dormant_now(const tcb& c) const;
    template <class... A>
    tcb* make_tcb(A&&... of);
    void drop_tcb(tcb& c);
    void retire(tcb& c);
    tcb* tcb_for(endpoint& sleeper);
    /// Whether the limit over all connections lets one more challenge ACK go.
    bool may_challenge(instant now);
    // memory_pressure.cpp
    /// Sheds what others have received until `bytes` more leave the budget at ease, as far as it can.
    void make_room_to_receive(std::size_t bytes, const tcb& asking, instant now);
    /// Sheds send queues of others that stand still, while the budget is tight.
    void make_room_to_send(const tcb& asking, instant now);
    void shed(tcb& c, instant now);
    void half_open_timeout(instant now);
    void time_wait_timeout(instant now);
    void arm_tables();
    endpoint* behind(endpoint& e);

    // What each segment asks comes first, to be on few cache lines.
    buffer_pool& pool_;
    timer_wheel& wheel_;
    trace_sink* trace_;
    want_flush want_flush_ = nullptr;
    void* want_flush_context_ = nullptr;
    instant now_{}; ///< the last `now` handed in, for destructors, which get none
    bool announced_ = false;
    bool stopped_ = false;
    std::size_t connection_count_ = 0;
    std::size_t dormant_count_ = 0;
    intrusive_list<tcb, dirty_tag> dirty_;
    intrusive_list<tcb, dirty_tag> deferred_; ///< those of dirty_ that the last flush() has passed over
    intrusive_list<tcb, drowsy_tag> drowsy_;  ///< who came to rest in a crowd, until the end of the turn
    // Who may have to pay when memory runs short; whoever has made no progress for longest is first.
    intrusive_list<tcb, holder_tag> holders_;     ///< of received data
    intrusive_list<tcb, writer_tag> writers_;     ///< with something queued
    intrusive_list<held_ahead> ahead_holders_[2]; ///< data beyond a hole: without SACK, with
    intrusive_list<endpoint> unaccepted_;         ///< ended so, with unread data
    std::shared_ptr<tcp::memory> memory_;
    ring<reply> replies_;
    tcp::counters counters_;
    tcp::config config_;

    siphash_key secret_;
    tapir::random random_;
    demux demux_;
    /// Flows of late, each at the place that its ports and its peer give: what comes next for one of them
    /// needs no hash, and no search for its connection. Who aims at one place has hashes taken, no more.
    static constexpr std::size_t most_known = 256; ///< a power of two; only those in use are in the caches
    mutable std::array<known_flow, most_known> known_{};
    struct coming {
        const endpoint* user;
        const tcb* awake;
    };
    std::array<hashed, most_expected> expected_; ///< flows of the last expect()
    std::array<coming, most_expected> coming_;   ///< and where what they will look at stands
    std::size_t expected_count_ = 0;
    std::size_t coming_count_ = 0;
    mutable std::size_t come_ = 0;    ///< those before it have come
    mutable std::size_t fetched_ = 0; ///< those before it were fetched
    half_open_table half_open_;
    time_wait_table time_wait_;
    table_timer half_open_timer_;
    table_timer time_wait_timer_;
    table_timer pressure_timer_;
    syn_cookies cookies_;
    fast_open_cookies fast_open_cookies_;
    fast_open_pending fast_open_pending_;
    fast_open_cache fast_open_cache_;
    common_grounds common_; ///< of connections that lie dormant
    /// Of either; none where use after free is looked for.
    static constexpr std::size_t most_spare = pools_memory ? 64 : 0;
    std::vector<tcb*> retired_;                       ///< TCBs of nobody, the last used on top
    std::vector<std::unique_ptr<std::byte[]>> spare_; ///< memory for TCBs, likewise
    reply_limit resets_;
    reply_limit stateless_acks_;
    std::vector<listening_endpoint*> listeners_;
    std::vector<ip::address> locals_;
    gather_list parts_;            ///< of the segment that flush() hands out; empty between two of them
    intrusive_list<endpoint> all_; ///< that are open, oldest first
    intrusive_list<walk> walks_;   ///< those that have not come to the end
    std::size_t orphans_ = 0;
    std::optional<std::uint32_t> challenge_second_; ///< in which the limit was drawn last
    std::uint32_t challenges_left_ = 0;             ///< in that second
    std::uint64_t next_id_ = 1;
    std::uint32_t next_port_ = 0;
};

} // namespace tapir::tcp
