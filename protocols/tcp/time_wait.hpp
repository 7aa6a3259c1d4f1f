// TIME_WAIT: what is left of a connection for 2 MSL, so that its last ACK can be repeated and its old
// duplicates harm no successor. 62 bytes each; all wait equally long, so one queue is in order of expiry.
// [RFC 9293 3.6.1, 3.10.7.4] [RFC 1337] [RFC 6191]
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/tcp/entry_table.hpp>
#include <tapir/protocols/tcp/seq.hpp>

#include <cstdint>
#include <utility>

namespace tapir::tcp {

class endpoint;

struct time_wait_entry {
    ip::address remote;
    [[gnu::packed]] endpoint* user = nullptr; ///< who still looks, or null
    seq snd_nxt;
    seq rcv_nxt;
    std::uint32_t ts_recent = 0;
    std::uint32_t previous = 0; ///< links of the queue
    std::uint32_t next = 0;     ///< or of the free list
    brief_instant expires;
    std::uint16_t local_port = 0;
    std::uint16_t remote_port = 0;
    std::uint16_t local_index : 14 = 0; ///< of the local address, in the stack
    std::uint16_t timestamps : 1 = 0;
    std::uint16_t used : 1 = 0;
};
static_assert(sizeof(time_wait_entry) <= 56);

class time_wait_table : public entry_table<time_wait_entry> {
  public:
    time_wait_table(std::uint32_t bound, hash_of_entry hash_of) : entry_table(bound, std::move(hash_of)) {}

    /// Precondition: not full; `expires` is not before that of any other entry.
    std::uint32_t insert(const time_wait_entry& entry, std::uint64_t hash);
    void erase(std::uint32_t i, std::uint64_t hash);
    /// Starts the 2 MSL anew.
    void restart(std::uint32_t i, instant expires);
    /// The entry that expires first, or `none`.
    std::uint32_t oldest() const { return first_; }
    instant next_deadline() const { return first_ == none ? never : (*this)[first_].expires.at(); }

  private:
    void link(std::uint32_t i);
    void unlink(std::uint32_t i);

    std::uint32_t first_ = none;
    std::uint32_t last_ = none;
};

} // namespace tapir::tcp
