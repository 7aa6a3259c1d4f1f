// Which station has which IPv4 address on this link (RFC 826), learned when needed and forgotten when old.
// Frames for an address that is being asked for wait in a short queue; what comes of it is pulled out:
// packets to send, frames that may go now, and frames whose next hop does not answer.
//
//     arp::cache cache(arp::cache_config(), own_mac);
//     cache.add_address(own);                                    // ip::prefix, 192.0.2.2/24
//     if (auto mac = cache.resolve(next_hop, now)) send(frame, *mac);
//     else cache.enqueue(next_hop, frame, now);
//     while (auto t = cache.next_transmission()) ...             // after every packet, timer and batch
//     while (auto r = cache.next_release()) send(r->packet, r->destination);
//     while (auto f = cache.next_failure()) ...                  // host unreachable
//     while (auto e = cache.next_event()) ...                    // about our own addresses
//
// An entry is *incomplete* while asked for, then *reachable*; after reachable_time it is *stale*: still used,
// but the next use asks the station itself (unicast) and, when that stays unanswered, everybody.
//
// Strangers can make us ask for addresses where nobody is: by sending to a network behind us, or from sources
// that do not exist. So addresses that have never answered share one rate of requests, in the order in which
// they came, and may fill a part of the table only; those that have answered keep the rest of it, and have a
// rate of their own. An address that was admitted gets its request, and a second for the answer; past
// max_unanswered new ones are not asked for. Who asks for us has answered.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/count_by.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/token_bucket.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/arp/packet.hpp>
#include <tapir/protocols/ethernet/mac_address.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/link/frame.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace tapir::arp {

struct cache_config {
    /// How long an answer is trusted. RFC 1122 2.3.2.1 names "on the order of a minute".
    duration reachable_time = 60s;
    /// An entry that no frame has used for so long is removed.
    duration idle_lifetime = 10min;
    /// Between two requests for one address; RFC 1122 2.3.2.1 recommends at most one a second.
    duration retry_interval = 1s;
    /// Unicast requests to a stale entry's station before everybody is asked: two, after RFC 1122 2.3.2.1.
    unsigned max_unicast_requests = 2;
    /// Broadcast requests before the address counts as unreachable: three, as elsewhere; a failure takes 3 s.
    unsigned max_broadcast_requests = 3;
    /// Entries in all, at least 1. More than a /23 network has stations.
    std::size_t max_entries = 1024;
    /// Of these, addresses asked for that have never answered, at least 1: half, which leaves room for a /23
    /// network's stations. At requests_per_second their first requests are out within 3 s.
    std::size_t max_unanswered = 512;
    /// Frames that wait for one address; past it the oldest is dropped. The largest datagram fits, cut for an
    /// MTU of 1500: 45 fragments, of which none may be missing.
    std::size_t max_queued_frames = 48;
    /// Frames that wait in all entries together: a sweep over silent addresses must not fill the memory. Past
    /// it the longest queue loses its oldest; with max_unanswered and as many again every address has one.
    std::size_t max_queued_total = 1024;
    /// Packets made but not yet pulled: more than a host lets pile up between two pulls.
    std::size_t max_transmissions = 256;
    /// RFC 5227 2.3 ANNOUNCE_NUM and ANNOUNCE_INTERVAL: announcements when an address is taken into use.
    unsigned announcements = 2;
    duration announce_interval = 2s;
    /// RFC 5227 2.4 DEFEND_INTERVAL: between two announcements that defend an address somebody else claims.
    duration defend_interval = 10s;
    /// Broadcast requests per second and at once for addresses that have never answered: a sweep over a
    /// network's addresses, ours or one that we forward, must not become a storm that every station on the
    /// link has to read. A /24 at once passes.
    std::uint32_t requests_per_second = 200;
    std::uint32_t request_burst = 256;
    /// The same for those that have: a station that has moved, or a link's whole /24 after an outage.
    std::uint32_t known_requests_per_second = 100;
    std::uint32_t known_request_burst = 256;
    /// Whether an address is probed for before it is taken into use (RFC 5227 2.1): off, since whoever
    /// configured it knows, and it takes 5 to 8 s. The other values are section 1.1's, by their names there.
    bool probe = false;
    unsigned probe_num = 3;
    duration probe_wait = 1s;
    duration probe_min = 1s;
    duration probe_max = 2s;
    duration announce_wait = 2s;
};

/// What became of an address of ours.
struct address_event {
    enum class kind : std::uint8_t {
        usable,   ///< probed for, and nobody has it: announced, and used from now on
        taken,    ///< probed for, and `other` has it or wants it, too: not used
        conflict, ///< in use here, and claimed by `other`; kept and defended. Told once in defend_interval
    };
    kind what;
    ip::prefix address;
    ethernet::mac_address other{};
    bool operator==(const address_event&) const = default;
};

enum class state : std::uint8_t {
    incomplete, ///< asked for by broadcast; frames wait
    reachable,  ///< answered within reachable_time
    stale,      ///< older, and not used since
    probing,    ///< stale and used: the station is being asked, its address still used
};

class cache {
  public:
    struct transmission {
        ethernet::mac_address destination;
        arp::packet packet;
    };
    struct release {
        release(ethernet::mac_address to, frame f) : destination(to), packet(std::move(f)) {}
        ethernet::mac_address destination;
        frame packet;
    };
    /// Nobody answered for `next_hop`; `packets` (perhaps none) waited for it, oldest first.
    struct failure {
        failure(ip::address hop, std::vector<frame> waiting) : next_hop(hop), packets(std::move(waiting)) {}
        ip::address next_hop;
        std::vector<frame> packets;
    };
    struct entry_info {
        ip::address address;
        ethernet::mac_address mac; ///< all zero while incomplete
        arp::state state;
        std::size_t queued;
    };
    struct counters {
        std::uint64_t requests_received = 0;
        std::uint64_t replies_received = 0;
        std::uint64_t broadcast_requests_sent = 0;
        std::uint64_t unicast_requests_sent = 0;
        std::uint64_t replies_sent = 0;
        std::uint64_t announcements_sent = 0;
        std::uint64_t resolved = 0;      ///< incomplete entries that were answered
        std::uint64_t moved = 0;         ///< an address that changed to another station
        std::uint64_t failed = 0;        ///< addresses given up
        std::uint64_t expired = 0;       ///< removed after idle_lifetime
        std::uint64_t evicted = 0;       ///< removed to make room
        std::uint64_t table_full = 0;    ///< requesters not remembered: no entry that may go
        std::uint64_t not_asked = 0;     ///< questions that nobody was asked: there are max_unanswered
        std::uint64_t queue_dropped = 0; ///< frames lost to the bounds on queues and to eviction
        std::uint64_t transmissions_dropped = 0; ///< packets lost to max_transmissions
        std::uint64_t conflicts = 0;             ///< somebody else claims an address of ours
        std::uint64_t probes_sent = 0;
        std::uint64_t addresses_taken = 0;  ///< probed for, and found with somebody else
        std::uint64_t requests_limited = 0; ///< broadcasts that had to wait for their turn
        std::uint64_t bad_sender = 0;       ///< sender addresses that no station can have
        std::uint64_t own = 0;              ///< our own packets, come back
        std::uint64_t not_ours = 0;         ///< for another station; refreshes known senders only
        std::uint64_t unsolicited = 0;      ///< replies that nothing here waited for
        count_by<malformed, malformed::bad_operation> malformed_packets;

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("requests_received", c.requests_received);
            f("replies_received", c.replies_received);
            f("broadcast_requests_sent", c.broadcast_requests_sent);
            f("unicast_requests_sent", c.unicast_requests_sent);
            f("replies_sent", c.replies_sent);
            f("announcements_sent", c.announcements_sent);
            f("resolved", c.resolved);
            f("moved", c.moved);
            f("failed", c.failed);
            f("expired", c.expired);
            f("evicted", c.evicted);
            f("table_full", c.table_full);
            f("not_asked", c.not_asked);
            f("queue_dropped", c.queue_dropped);
            f("transmissions_dropped", c.transmissions_dropped);
            f("conflicts", c.conflicts);
            f("probes_sent", c.probes_sent);
            f("addresses_taken", c.addresses_taken);
            f("requests_limited", c.requests_limited);
            f("bad_sender", c.bad_sender);
            f("own", c.own);
            f("not_ours", c.not_ours);
            f("unsolicited", c.unsolicited);
            f("malformed_packets", c.malformed_packets);
        }
    };

    cache(const cache_config& config, ethernet::mac_address own);

    /// From now on requests for `own.addr` are answered, and its network's stations remembered.
    void add_address(ip::prefix own);
    /// Asks whether anybody has `own.addr`, and adds and announces it if nobody does; an event tells. [RFC
    /// 5227 2.1] `draws` times the probes.
    void probe(ip::prefix own, random draws, instant now);
    /// Announces all own addresses, now and `announcements - 1` times more.
    void announce(instant now);

    /// Where frames for `next_hop` go; nothing while that is being asked for (starts asking if need be and
    /// possible).
    /// Broadcast and multicast addresses are mapped, never asked for. Not for own addresses: what a host
    /// sends to itself never reaches the link.
    std::optional<ethernet::mac_address> resolve(ip::address next_hop, instant now);
    /// Whether an answer of `next_hop` is waited for, so that enqueue() has a point.
    bool is_asked_for(ip::address next_hop) const;
    /// Keeps `packet` until `next_hop` is resolved or given up; if it is resolved, releases it at once. One
    /// that is not asked for, since too many others are, loses it. The frame shares its buffer: its bytes
    /// must not be rewritten before it is released.
    void enqueue(ip::address next_hop, frame packet, instant now);

    /// The payload of an ARP frame. Malformed ones are counted.
    void on_packet(bytes payload, instant now);
    void on_packet(const packet& p, instant now);

    /// A lower bound of when on_timer() has something to do; `never` if nothing is due.
    instant next_deadline() const { return next_deadline_; }
    void on_timer(instant now);

    bool transmission_pending() const { return !transmissions_.empty(); }
    std::optional<transmission> next_transmission();
    std::optional<release> next_release();
    std::optional<failure> next_failure();
    std::optional<address_event> next_event();

    /// All entries, by ascending address.
    std::vector<entry_info> entries(instant now) const;
    const counters& count() const { return count_; }

  private:
    struct entry {
        arp::state state = state::incomplete; ///< `stale` is never stored: it is reachable past its time
        unsigned requests = 0;                ///< sent in this state
        bool answered = false;                ///< once, while this entry exists
        bool waits = false;                   ///< in its share's line
        ethernet::mac_address mac;
        instant reachable_until{};
        instant last_used{};
        instant first_asked = never; ///< by broadcast
        instant deadline = never;
        std::vector<frame> queue; ///< oldest first
    };
    /// Keyed by the number of the IPv4 address: small, bounded, and walked in the same order in every run.
    using table = std::map<std::uint32_t, entry>;
    enum class creator : std::uint8_t { us, a_packet };

    /// A rate of broadcasts, and who waits for his, in order of coming.
    struct share {
        explicit share(std::uint32_t rate, std::uint32_t burst) : requests(rate, burst) {}
        token_bucket requests;
        std::deque<std::uint32_t> line; ///< exactly the entries with `waits`
    };
    share& share_of(const entry& e) { return e.answered ? known_ : strangers_; }

    bool is_own(ip::address a) const;
    bool is_own_broadcast(ip::address a) const;
    bool is_on_link(ip::address a) const;
    ip::address source_for(ip::address next_hop) const;
    arp::state state_of(const entry& e, instant now) const;

    /// Nothing when there is no room.
    entry* create(ip::address a, creator by, instant now);
    bool make_room(creator by, instant now);
    void evict(table::iterator at);
    void learn(ip::address a, entry& e, ethernet::mac_address mac, instant now);
    void ask(ip::address a, entry& e, instant now);
    void broadcast(ip::address a, entry& e, instant now);
    /// Asks for those whose turn has come.
    void serve(share& s, instant now);
    void leave_line(std::uint32_t a, entry& e);
    /// Makes room in queued_ for one frame for `e`; false when that would take another address's only one.
    bool make_queue_room(entry& e);
    void on_entry_timer(table::iterator at, instant now);
    void give_up(table::iterator at);
    void on_conflict(ip::address own, ethernet::mac_address other, instant now);
    /// Whether the packet ends the probing for an address.
    bool ends_probing(const packet& p);
    void send_probes(instant now);
    void send_announcements(instant now);
    void transmit(ethernet::mac_address destination, const packet& p, std::uint64_t& counter);
    void arm(entry& e, instant at);

    struct own_address {
        ip::prefix prefix;
        std::optional<instant> defended;
    };

    struct probed_address {
        ip::prefix prefix;
        random draws;
        unsigned sent = 0;
        instant next{};
    };

    cache_config config_;
    ethernet::mac_address own_mac_;
    share strangers_;
    share known_;
    std::vector<own_address> own_;
    std::vector<probed_address> probed_;
    table table_;
    std::size_t queued_ = 0; ///< frames in all queues
    unsigned announcements_left_ = 0;
    instant announce_at_ = never;
    instant next_deadline_ = never;
    std::deque<transmission> transmissions_;
    std::deque<release> releases_;
    std::deque<failure> failures_;
    std::deque<address_event> events_; ///< one for each address and interval: no more than addresses
    counters count_;
};
static_assert(visits_every_counter<cache::counters>());

} // namespace tapir::arp
