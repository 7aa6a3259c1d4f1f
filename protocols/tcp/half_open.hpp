// Passive SYN_RECEIVED. Anybody can send a SYN, so a connection that is not yet established costs 64 bytes
// and nothing else: no TCB, no buffers, no endpoint. Entries of equal retransmission count wait equally long,
// so each count has a queue in order of deadlines, and one timer serves all.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tapir::tcp {

struct half_open_entry {
    ip::address remote;
    instant arrived{}; ///< the SYN; LISTEN -> SYN_RECEIVED
    seq iss;
    seq irs;
    std::uint32_t ts_recent = 0;
    std::uint32_t sent_after_us = 0; ///< last SYN|ACK, microseconds after `arrived`
    std::uint32_t previous = 0;      ///< links of its queue, or of the free list
    std::uint32_t next = 0;
    std::uint16_t remote_port = 0;
    std::uint16_t local_index = 0; ///< of the local address, in the stack
    std::uint16_t listener = 0;    ///< index in the stack; has the local port
    std::uint16_t peer_mss = 0;
    std::uint16_t link_mtu = 0; ///< of the path: its MTU is that of the ACK to come
    std::uint16_t pseudo_header_sum = 0;
    std::uint8_t network_header = 0;
    std::uint8_t retransmits = 0;
    std::uint8_t peer_scale = 0;
    bool scaled : 1 = false; ///< the SYN carried a window scale
    bool timestamps : 1 = false;
    bool sack_permitted : 1 = false;
    bool repeated : 1 = false; ///< a repeated SYN drew the SYN|ACK again
    bool used : 1 = false;
    bool wants_fast_open : 1 = false; ///< the SYN|ACK has a cookie for the next time
    bool from_cookie : 1 = false;     ///< never stood in the table; made from the ACK
    bool ecn : 1 = false;             ///< every SYN asked for it, and the listener wants it [RFC 3168 6.1.1]

    instant last_sent() const { return arrived + std::chrono::microseconds(sent_after_us); }
};
static_assert(sizeof(half_open_entry) <= 64);

class half_open_table {
  public:
    static constexpr std::uint32_t none = 0xffffffff;
    static constexpr std::size_t max_retries = 15;

    /// `initial` is the wait after the first SYN|ACK, doubled after each retransmission up to `longest`.
    half_open_table(std::uint32_t bound, duration initial, duration longest);

    std::uint32_t size() const { return size_; }
    bool full() const { return size_ >= bound_; }
    bool more_than_half_full() const { return size_ > bound_ / 2; }
    /// Of memory, at its largest so far; at most `bound` entries.
    std::size_t bytes() const { return entries_.capacity() * sizeof(half_open_entry); }
    half_open_entry& operator[](std::uint32_t i) { return entries_[i]; }
    const half_open_entry& operator[](std::uint32_t i) const { return entries_[i]; }

    /// Precondition: not full. The entry stands at the end of the queue for no retransmissions.
    std::uint32_t insert(const half_open_entry& entry);
    void erase(std::uint32_t i);
    /// Its SYN|ACK was sent again at `now`.
    void retransmitted(std::uint32_t i, instant now);

    /// An entry whose SYN|ACK has waited long enough, or `none`.
    std::uint32_t due(instant now) const;
    /// The entry whose SYN came first among those that were retransmitted most often, or `none`: who answers
    /// at all has answered before that.
    std::uint32_t stalest() const;
    instant next_deadline() const;

    /// For whoever looks over several turns: an entry keeps its position, and positions only become more.
    std::uint32_t positions() const { return static_cast<std::uint32_t>(entries_.size()); }

    /// f(index, entry) in order of the table. f may erase the entry it is given.
    template <class F>
    void for_each(F f) {
        for (std::uint32_t i = 0; i < entries_.size(); ++i)
            if (entries_[i].used) f(i, entries_[i]);
    }

  private:
    struct queue {
        std::uint32_t first = none;
        std::uint32_t last = none;
    };
    duration wait_after(std::size_t retransmits) const;
    void link(std::uint32_t i);
    void unlink(std::uint32_t i);

    std::uint32_t bound_;
    duration initial_;
    duration longest_;
    std::uint32_t size_ = 0;
    std::uint32_t free_ = none;
    std::array<queue, max_retries + 1> queues_{};
    std::vector<half_open_entry> entries_;
};

} // namespace tapir::tcp
