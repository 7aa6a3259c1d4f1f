// Fragments wait here until their datagram is whole (RFC 791 3.2, RFC 1122 3.3.2). Anybody can send the first
// half of a datagram and forget the rest, so what waits is bounded: in bytes and datagrams, for all and for
// each source, in fragments of one datagram, and in time. What has waited longest goes first when a bound is
// met: first of the source that met its own, then of all.
//
//     ipv4::reassembly parts(pool, ipv4::reassembly_config());
//     if (auto whole = parts.accept(fragment, now)) ...     // a datagram as if it had come in one piece
//     while (auto old = parts.expire(now)) ...              // at next_deadline(); old->first_fragment
//
// Overlaps: a fragment that repeats one exactly - its place, its bytes, and whether more follow - is ignored.
// Any other overlap, be it in extent or in content, gives up the datagram with all that still comes of it. No
// sender has reason to make one, and whichever part one would believe, some filter before us believed the
// other [RFC 1858, RFC 3128, RFC 5722 3]; it is what Linux and FreeBSD do, too.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/count_by.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/ipv4/header.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

namespace tapir::ipv4 {

struct reassembly_config {
    /// From the first fragment that comes to the last; more of them do not prolong it. RFC 1122 3.3.2 names
    /// 60 to 120 s for the paths of its time; 30 s, as in Linux and FreeBSD, halves what a flood can hold.
    duration timeout = 30s;
    /// Memory of all that waits, buffers by their true size: 40 datagrams of the largest size.
    std::size_t max_bytes = 4 * 1024 * 1024;
    /// The same for one source address: ten of the largest. At least 256 KiB, so that one always fits.
    std::size_t max_bytes_per_source = 1024 * 1024;
    /// Datagrams that wait, those given up and remembered included.
    std::size_t max_datagrams = 1024;
    /// Of one source address. A sender that loses one in ten of 100 a second leaves 300 in 30 s; the oldest
    /// give way.
    std::size_t max_datagrams_per_source = 256;
    /// Of one datagram: the largest over an MTU of 576 has 119.
    std::size_t max_fragments = 128;
    /// Bytes, header included, of a first fragment. Links carry 68 [RFC 791 3.2], so nobody has to cut
    /// smaller; only who wants to hide a transport header does [RFC 1858 3]. Later ones may be tiny: a router
    /// that cuts a fragment again, for a link a few bytes narrower, leaves such a rest.
    std::size_t min_first_fragment = 64;
};

/// Why a fragment was dropped by itself.
enum class fragment_drop : std::uint8_t {
    empty,        ///< without payload
    misaligned,   ///< not the last, and no multiple of 8 bytes long
    too_small,    ///< the first, and below min_first_fragment
    too_long,     ///< ends past the largest datagram: the "ping of death"
    of_abandoned, ///< its datagram was given up
};
std::string_view to_string(fragment_drop reason);

/// Why a datagram was given up before it was whole.
enum class abandoned : std::uint8_t {
    overlap,            ///< two fragments for the same bytes
    inconsistent_end,   ///< two last fragments, or one that promises more where the last ends, or ends behind
                        ///< it
    too_many_fragments, ///< max_fragments
    too_long,           ///< whole, but with the first fragment's header too large for a datagram
    bad_ecn,            ///< fragments marked "congestion" and "not ECN-capable" [RFC 3168 5.3]
    source_full,        ///< the oldest of a source that met its bounds
    full,               ///< the oldest when the bounds for all were met
    timed_out,
};
std::string_view to_string(abandoned reason);

class reassembly {
  public:
    reassembly(buffer_pool& pool, const reassembly_config& config);
    reassembly(const reassembly&) = delete;
    reassembly& operator=(const reassembly&) = delete;

    /// A whole datagram, with the first fragment's header.
    struct whole {
        buffer storage;
        std::size_t size; ///< from the front of `storage`
    };
    /// `fragment.is_fragment()`, and input has accepted it. It is copied.
    std::optional<whole> accept(const view& fragment, instant now);

    struct expired {
        /// As it came, header included; empty if it never did: nobody is told then [RFC 792].
        chunk first_fragment;
    };
    /// Gives up one datagram whose time is over; nothing when there is none.
    std::optional<expired> expire(instant now);
    /// When expire() has something to do; `never` if nothing waits.
    instant next_deadline() { return oldest_first_.empty() ? never : oldest_first_.front().deadline; }

    std::size_t datagrams() const { return table_.size(); }
    std::size_t sources() const { return sources_.size(); }
    std::size_t bytes_held() const { return bytes_; }

    struct counters {
        std::uint64_t fragments = 0; ///< all, dropped ones too
        std::uint64_t reassembled = 0;
        std::uint64_t duplicates = 0; ///< fragments ignored because they had come already
        count_by<fragment_drop, fragment_drop::of_abandoned> dropped;
        count_by<abandoned, abandoned::timed_out> abandoned_datagrams;

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("fragments", c.fragments);
            f("reassembled", c.reassembled);
            f("duplicates", c.duplicates);
            f("dropped", c.dropped);
            f("abandoned_datagrams", c.abandoned_datagrams);
        }
    };
    const counters& count() const { return count_; }

    /// What is charged for a datagram and a fragment beside the buffers: at least what the tables take.
    static constexpr std::size_t datagram_overhead = 256;
    static constexpr std::size_t fragment_overhead = 64;

  private:
    struct by_age;
    struct by_source;
    /// [RFC 791 3.2]: these four name a datagram.
    struct key {
        std::uint32_t source;
        std::uint32_t destination;
        std::uint8_t protocol;
        std::uint16_t identification;
        auto operator<=>(const key&) const = default;
    };
    struct piece {
        std::size_t offset;
        chunk content;
        std::size_t end() const { return offset + content.size(); }
    };
    struct partial : list_hook<by_age>, list_hook<by_source> {
        key name{};
        instant deadline{};
        std::size_t bytes = 0;            ///< charged
        std::vector<piece> pieces;        ///< by offset, without overlaps
        std::size_t received = 0;         ///< payload bytes in `pieces`
        std::optional<std::size_t> total; ///< payload bytes, once the last fragment has come
        chunk first;                      ///< the first fragment with its header; shares a piece's buffer
        unsigned ecn_seen = 0;            ///< a bit for each codepoint
        bool given_up = false;            ///< kept without pieces, so that the rest is known and dropped
    };
    struct source {
        std::size_t bytes = 0;
        std::size_t datagrams = 0;
        intrusive_list<partial, by_source> oldest_first;
    };
    std::nullopt_t drop(fragment_drop reason);
    /// The datagram of that name, made if need be.
    partial& find_or_create(const key& name, instant now);
    /// False when the oldest, which had to go, was `p` itself.
    bool make_room(const partial& p, std::size_t cost);
    /// Why `p` is to be given up, if it is.
    std::optional<abandoned> insert(partial& p, const view& fragment);
    std::optional<abandoned> set_end(partial& p, std::size_t end, bool last) const;
    std::optional<abandoned> mend_ecn(const partial& p, mutable_bytes header) const;
    std::optional<whole> complete(partial& p);
    void charge(partial& p, std::size_t cost);
    /// Frees what has come, and remembers the name until its time is over.
    void give_up(partial& p, abandoned reason);
    void erase(partial& p);

    buffer_pool& pool_;
    reassembly_config config_;
    std::map<key, partial> table_;
    std::map<std::uint32_t, source> sources_;
    intrusive_list<partial, by_age> oldest_first_;
    std::size_t bytes_ = 0;
    counters count_;
};
static_assert(visits_every_counter<reassembly::counters>());

} // namespace tapir::ipv4
