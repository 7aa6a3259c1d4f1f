// Passive SYN_RECEIVED. Anybody can send a SYN, so a connection that is not yet established costs 62 bytes
// and nothing else: no TCB, no buffers, no endpoint. Entries of equal retransmission count wait equally long,
// so each count has a queue in order of deadlines, and one timer serves all.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/tcp/entry_table.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace tapir::tcp {

struct half_open_entry {
    ip::address remote;
    seq iss;
    seq irs;
    std::uint32_t ts_recent = 0;
    std::uint32_t previous = 0;  ///< links of its queue
    std::uint32_t next = 0;      ///< or of the free list
    brief_instant last_sent;     ///< the SYN|ACK
    std::uint16_t waited_ms = 0; ///< from the SYN until then; 0xffff: or longer
    std::uint16_t remote_port = 0;
    std::uint16_t listener = 0; ///< index in the stack; has the local port
    std::uint16_t peer_mss = 0;
    std::uint16_t link_mtu = 0;               ///< of the path: its MTU is that of the ACK to come
    std::uint16_t local_index : 14 = 0;       ///< of the local address, in the stack
    std::uint16_t network_header_20s : 2 = 1; ///< of the path, in units of 20 bytes
    std::uint8_t retransmits : 4 = 0;
    std::uint8_t peer_scale : 4 = 0;
    bool scaled : 1 = false; ///< the SYN carried a window scale
    bool timestamps : 1 = false;
    bool sack_permitted : 1 = false;
    bool repeated : 1 = false; ///< a repeated SYN drew the SYN|ACK again
    bool used : 1 = false;
    bool wants_fast_open : 1 = false; ///< the SYN|ACK has a cookie for the next time
    bool from_cookie : 1 = false;     ///< never stood in the table; made from the ACK
    bool ecn : 1 = false;             ///< every SYN asked for it, and the listener wants it [RFC 3168 6.1.1]

    /// When the SYN did: LISTEN -> SYN_RECEIVED.
    instant arrived() const { return last_sent.at() - std::chrono::milliseconds(waited_ms); }
    void sent(instant arrived, instant now) {
        const auto waited = (now - arrived) / std::chrono::milliseconds(1);
        waited_ms = static_cast<std::uint16_t>(std::clamp<std::int64_t>(waited, 0, 0xffff));
        last_sent = now;
    }
};
static_assert(sizeof(half_open_entry) <= 56);

class half_open_table : public entry_table<half_open_entry> {
  public:
    static constexpr std::size_t max_retries = 15;

    /// `initial` is the wait after the first SYN|ACK, doubled after each retransmission up to `longest`.
    half_open_table(std::uint32_t bound, duration initial, duration longest, hash_of_entry hash_of);

    bool more_than_half_full() const { return size() > bound() / 2; }

    /// Precondition: not full. The entry stands at the end of the queue for no retransmissions.
    std::uint32_t insert(const half_open_entry& entry, std::uint64_t hash);
    void erase(std::uint32_t i, std::uint64_t hash);
    /// Its SYN|ACK was sent again at `now`.
    void retransmitted(std::uint32_t i, instant now);

    /// An entry whose SYN|ACK has waited long enough, or `none`.
    std::uint32_t due(instant now) const;
    /// The entry whose SYN came first among those that were retransmitted most often, or `none`: who answers
    /// at all has answered before that.
    std::uint32_t stalest() const;
    instant next_deadline() const;

  private:
    struct queue {
        std::uint32_t first = none;
        std::uint32_t last = none;
    };
    duration wait_after(std::size_t retransmits) const;
    void link(std::uint32_t i);
    void unlink(std::uint32_t i);

    duration initial_;
    duration longest_;
    std::array<queue, max_retries + 1> queues_{};
    std::uint32_t waiting_ = 0; ///< a bit for each queue with somebody in it
};

} // namespace tapir::tcp
