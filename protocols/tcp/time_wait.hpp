// TIME_WAIT: what is left of a connection for 2 MSL, so that its last ACK can be repeated and its old
// duplicates harm no successor. 64 bytes an entry; all wait equally long, so one queue is in order of expiry.
// [RFC 9293 3.6.1, 3.10.7.4] [RFC 1337] [RFC 6191]
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tapir::tcp {

class endpoint;

struct time_wait_entry {
    ip::address remote;
    instant expires{};
    endpoint* user = nullptr; ///< who still looks, or null
    seq snd_nxt;
    seq rcv_nxt;
    std::uint32_t ts_recent = 0;
    std::uint32_t ts_offset = 0;
    std::uint32_t previous = 0; ///< links of the queue, or of the free list
    std::uint32_t next = 0;
    std::uint16_t local_port = 0;
    std::uint16_t remote_port = 0;
    std::uint16_t pseudo_header_sum = 0;
    std::uint16_t local_index : 14 = 0; ///< of the local address, in the stack
    std::uint16_t timestamps : 1 = 0;
    std::uint16_t used : 1 = 0;
};
static_assert(sizeof(time_wait_entry) <= 64);

class time_wait_table {
  public:
    static constexpr std::uint32_t none = 0xffffffff;

    explicit time_wait_table(std::uint32_t bound) : bound_(bound) {}

    std::uint32_t size() const { return size_; }
    bool full() const { return size_ >= bound_; }
    /// Of memory, at its largest so far; at most `bound` entries.
    std::size_t bytes() const { return entries_.capacity() * sizeof(time_wait_entry); }
    time_wait_entry& operator[](std::uint32_t i) { return entries_[i]; }
    const time_wait_entry& operator[](std::uint32_t i) const { return entries_[i]; }

    /// Precondition: not full; `expires` is not before that of any other entry.
    std::uint32_t insert(const time_wait_entry& entry);
    void erase(std::uint32_t i);
    /// Starts the 2 MSL anew.
    void restart(std::uint32_t i, instant expires);
    /// The entry that expires first, or `none`.
    std::uint32_t oldest() const { return first_; }
    instant next_deadline() const { return first_ == none ? never : entries_[first_].expires; }

    /// For whoever looks over several turns: an entry keeps its position, and positions only become more.
    std::uint32_t positions() const { return static_cast<std::uint32_t>(entries_.size()); }

    /// f(index, entry) in order of the table. f may erase the entry it is given.
    template <class F>
    void for_each(F f) {
        for (std::uint32_t i = 0; i < entries_.size(); ++i)
            if (entries_[i].used != 0) f(i, entries_[i]);
    }

  private:
    void link(std::uint32_t i);
    void unlink(std::uint32_t i);

    std::uint32_t bound_;
    std::uint32_t size_ = 0;
    std::uint32_t free_ = none;
    std::uint32_t first_ = none;
    std::uint32_t last_ = none;
    std::vector<time_wait_entry> entries_;
};

} // namespace tapir::tcp
