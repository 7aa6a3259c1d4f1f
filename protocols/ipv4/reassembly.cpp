#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/reassembly.hpp>

#include <algorithm>
#include <bit>
#include <cassert>

namespace tapir::ipv4 {

namespace {

constexpr std::size_t smallest_buffer = 256; ///< of a buffer_pool, whose sizes are powers of two

constexpr unsigned bit_of(ip::ecn codepoint) {
    return 1u << static_cast<unsigned>(codepoint);
}

bool same_bytes(bytes a, bytes b) {
    return std::ranges::equal(a, b);
}

} // namespace

std::string_view to_string(fragment_drop reason) {
    switch (reason) {
    case fragment_drop::empty: return "fragment without payload";
    case fragment_drop::misaligned: return "fragment of a length that is no multiple of 8";
    case fragment_drop::too_small: return "fragment too small";
    case fragment_drop::too_long: return "fragment behind the largest datagram";
    case fragment_drop::of_abandoned: return "fragment of a datagram given up";
    }
    return "unknown";
}

std::string_view to_string(abandoned reason) {
    switch (reason) {
    case abandoned::overlap: return "fragments overlap";
    case abandoned::inconsistent_end: return "fragments disagree about the end";
    case abandoned::too_many_fragments: return "too many fragments";
    case abandoned::too_long: return "longer than a datagram can be";
    case abandoned::bad_ecn: return "fragments disagree about ECN";
    case abandoned::source_full: return "the oldest of a source at its bound";
    case abandoned::full: return "the oldest of all at the bound";
    case abandoned::timed_out: return "timed out";
    }
    return "unknown";
}

reassembly::reassembly(buffer_pool& pool, const reassembly_config& config) : pool_(pool), config_(config) {
    assert(config.max_bytes_per_source >= 256 * 1024 && config.max_bytes >= config.max_bytes_per_source);
    assert(config.max_datagrams_per_source >= 1 && config.max_datagrams >= 1 && config.max_fragments >= 2);
}

std::nullopt_t reassembly::drop(fragment_drop reason) {
    ++count_.dropped[reason];
    return std::nullopt;
}

std::optional<reassembly::whole> reassembly::accept(const view& fragment, instant now) {
    assert(fragment.is_fragment());
    ++count_.fragments;
    const std::size_t size = fragment.payload().size();
    if (size == 0) return drop(fragment_drop::empty);
    if (fragment.more_fragments() && size % 8 != 0) return drop(fragment_drop::misaligned);
    if (fragment.fragment_offset() == 0 && fragment.datagram().size() < config_.min_first_fragment)
        return drop(fragment_drop::too_small);
    if (fragment.header_size() + fragment.fragment_offset() + size > header::max_total_length)
        return drop(fragment_drop::too_long);

    partial& p = find_or_create(key{.source = fragment.source().v4_value(),
                                    .destination = fragment.destination().v4_value(),
                                    .protocol = static_cast<std::uint8_t>(fragment.protocol()),
                                    .identification = fragment.identification()},
                                now);
    if (p.given_up) return drop(fragment_drop::of_abandoned);
    const std::size_t fragments_before = p.pieces.size();
    if (const auto bad = insert(p, fragment)) {
        give_up(p, *bad);
        return std::nullopt;
    }
    if (p.pieces.size() == fragments_before) { // a duplicate
        ++count_.duplicates;
        return std::nullopt;
    }
    // What the new piece takes, before it is taken: the pool rounds up to a power of two.
    const bool first = fragment.fragment_offset() == 0;
    const std::size_t stored = first ? fragment.datagram().size() : size;
    const std::size_t cost = std::bit_ceil(std::max(stored, smallest_buffer)) + fragment_overhead;
    if (!make_room(p, cost)) return std::nullopt; // p is gone
    buffer b = pool_.copy_of(first ? fragment.datagram() : fragment.payload());
    assert(b.capacity() + fragment_overhead <= cost);
    charge(p, cost);
    const auto at = std::ranges::find(p.pieces, fragment.fragment_offset(), &piece::offset);
    at->content = chunk(b, stored - size, size);
    if (first) p.first = chunk(b, 0, stored);
    p.received += size;
    p.ecn_seen |= bit_of(fragment.ecn());
    return p.total == p.received ? complete(p) : std::nullopt;
}

reassembly::partial& reassembly::find_or_create(const key& name, instant now) {
    if (const auto found = table_.find(name); found != table_.end()) return found->second;
    if (const auto s = sources_.find(name.source);
        s != sources_.end() && s->second.datagrams >= config_.max_datagrams_per_source) {
        ++count_.abandoned_datagrams[abandoned::source_full];
        erase(s->second.oldest_first.front());
    }
    if (table_.size() >= config_.max_datagrams) {
        ++count_.abandoned_datagrams[abandoned::full];
        erase(oldest_first_.front());
    }
    partial& p = table_[name];
    p.name = name;
    p.deadline = after(now, config_.timeout);
    source& s = sources_[name.source];
    ++s.datagrams;
    s.oldest_first.push_back(p);
    oldest_first_.push_back(p);
    charge(p, datagram_overhead);
    return p;
}

bool reassembly::make_room(const partial& p, std::size_t cost) {
    source& s = sources_.at(p.name.source);
    while (s.bytes + cost > config_.max_bytes_per_source || bytes_ + cost > config_.max_bytes) {
        const bool of_source = s.bytes + cost > config_.max_bytes_per_source;
        partial& oldest = of_source ? s.oldest_first.front() : oldest_first_.front();
        ++count_.abandoned_datagrams[of_source ? abandoned::source_full : abandoned::full];
        const bool itself = &oldest == &p;
        erase(oldest); // not the last of `s` unless it is p
        if (itself) return false;
    }
    return true;
}

// Makes the place of a new piece in order of offsets; a repeated one gets none.
std::optional<abandoned> reassembly::insert(partial& p, const view& fragment) {
    const std::size_t offset = fragment.fragment_offset();
    const std::size_t end = offset + fragment.payload().size();
    if (const auto bad = set_end(p, end, !fragment.more_fragments())) return bad;
    const auto next = std::ranges::lower_bound(p.pieces, offset, {}, &piece::offset);
    if (next != p.pieces.end() && next->offset == offset &&
        same_bytes(next->content.data(), fragment.payload()))
        return std::nullopt;
    if (next != p.pieces.end() && next->offset < end) return abandoned::overlap;
    if (next != p.pieces.begin() && std::prev(next)->end() > offset) return abandoned::overlap;
    if (p.pieces.size() >= config_.max_fragments) return abandoned::too_many_fragments;
    p.pieces.insert(next, piece{.offset = offset, .content = chunk()});
    return std::nullopt;
}

std::optional<abandoned> reassembly::set_end(partial& p, std::size_t end, bool last) const {
    if (last) {
        if (p.total == end) return std::nullopt; // perhaps it repeats the last one
        // A piece that ends where this one does has promised more behind it.
        const bool more_promised = !p.pieces.empty() && p.pieces.back().end() >= end;
        if (more_promised || p.total) return abandoned::inconsistent_end;
        p.total = end;
    } else if (p.total && end >= *p.total) {
        return abandoned::inconsistent_end;
    }
    return std::nullopt;
}

// [RFC 3168 5.3]: what a router has marked on one fragment it has marked on the datagram.
std::optional<abandoned> reassembly::mend_ecn(const partial& p, mutable_bytes header) const {
    if ((p.ecn_seen & bit_of(ip::ecn::ce)) == 0) return std::nullopt;
    if ((p.ecn_seen & bit_of(ip::ecn::not_ect)) != 0) return abandoned::bad_ecn;
    const auto ce = static_cast<std::uint8_t>(ip::ecn::ce);
    store_u8(header, 1, static_cast<std::uint8_t>(load_u8(header, 1) | ce));
    return std::nullopt;
}

std::optional<reassembly::whole> reassembly::complete(partial& p) {
    const std::size_t header_size = std::size_t{4} * (load_u8(p.first.data(), 0) & 0x0fu);
    const std::size_t size = header_size + p.received;
    if (size > header::max_total_length) {
        give_up(p, abandoned::too_long);
        return std::nullopt;
    }
    buffer b = pool_.allocate(size);
    const mutable_bytes out = b.span().first(size);
    const mutable_bytes head = out.first(header_size);
    copy_bytes(head, p.first.data().first(header_size));
    if (const auto bad = mend_ecn(p, head)) {
        give_up(p, *bad);
        return std::nullopt;
    }
    store_be16(head, 2, static_cast<std::uint16_t>(size));
    store_be16(head, 6, 0);
    store_be16(head, 10, 0);
    store_be16(head, 10, static_cast<std::uint16_t>(~ip::ones_complement_sum(head)));
    for (const piece& part : p.pieces)
        copy_bytes(out.subspan(header_size + part.offset), part.content.data());
    ++count_.reassembled;
    erase(p);
    return whole{.storage = std::move(b), .size = size};
}

std::optional<reassembly::expired> reassembly::expire(instant now) {
    if (next_deadline() > now) return std::nullopt;
    partial& p = oldest_first_.front();
    expired e{.first_fragment = p.first};
    if (!p.given_up) ++count_.abandoned_datagrams[abandoned::timed_out];
    erase(p);
    return e;
}

void reassembly::charge(partial& p, std::size_t cost) {
    p.bytes += cost;
    sources_.at(p.name.source).bytes += cost;
    bytes_ += cost;
}

// [RFC 5722 3]: what still comes of the datagram is dropped, too.
void reassembly::give_up(partial& p, abandoned reason) {
    ++count_.abandoned_datagrams[reason];
    const std::size_t freed = p.bytes - datagram_overhead;
    p.bytes -= freed;
    sources_.at(p.name.source).bytes -= freed;
    bytes_ -= freed;
    p.pieces = {};
    p.first = chunk();
    p.given_up = true;
}

void reassembly::erase(partial& p) {
    const auto from = sources_.find(p.name.source);
    from->second.bytes -= p.bytes;
    bytes_ -= p.bytes;
    const bool last = --from->second.datagrams == 0;
    const key name = p.name;
    table_.erase(name); // leaves both lists
    if (last) sources_.erase(from);
}

} // namespace tapir::ipv4
