// What buffers cost, over all connections of a stack. Data is charged by its true size: the capacity of the
// buffer that it keeps alive, not its length. (A payload under half of its buffer is copied, so the two never
// differ by more than a factor of two, but for the last piece of a queue.)
//
// Each connection has a *floor* of either budget whatever others hold: `memory_floor` bytes, or two full
// segments if that is more.
//
// Receiving. Until three quarters of the budget are used, windows are what each connection's own buffer
// allows. Beyond, the budget is *tight*:
//
//   - only window that has not been promised yet is withheld: a right edge never moves back. A connection
//     whose user reads is still promised its floor.
//   - data beyond a hole is taken no further than the floor.
//   - data in order makes others pay, until it fits into the three quarters, in this order:
//
//     1. data beyond a hole, of connections without SACK: their peers send it again anyway
//     2. data beyond a hole, of connections with SACK: their peers keep it until it is acknowledged [RFC 2018
//     8]
//     3. unread data of connections that ended before anybody accepted them, the longest ended first
//     4. connections that hold received data and made no progress for `memory_idle_after`, the longest first:
//        RST, errc::no_memory
//
// What then passes both the floor and the whole budget takes the place of what its own connection holds
// beyond a hole, or is dropped as if it had been lost. What an accepted connection has not read when it ends
// is its owner's, and stays.
//
// Sending. write() takes no more than it leaves free for others (but a last buffer of 64 KiB is taken whole),
// or the floor. So one connection alone gets half of the budget, and n whose peers take what is queued, at
// whatever speed, come to hold an (n+1)th each, whoever came first; those that have stopped keep what they
// had. Beside these a writer gets half of the rest, or more while that makes the budget tight: who writes
// then makes others pay, down to the three quarters: connections whose peers have taken, for
// `memory_idle_after`, neither what was queued nor `memory_floor` bytes of it, the longest first: RST,
// errc::no_memory. Answered probes do not count. A reader that is slow but goes on stays, however slow the
// others' writers become by it.
//
// Either budget is hence passed by the floor of each connection at most. Whom to make pay is found without
// looking at others: shedding costs as much time as there is shed.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

namespace tapir::tcp {

class memory_budget {
  public:
    explicit memory_budget(std::size_t bound) : bound_(bound) {}
    memory_budget(const memory_budget&) = delete;
    memory_budget& operator=(const memory_budget&) = delete;

    std::size_t bound() const { return bound_; }
    std::size_t used() const { return used_; }
    std::size_t most_used() const { return most_used_; } ///< ever
    std::size_t room() const { return used_ < bound_ ? bound_ - used_ : 0; }
    /// What shedding comes down to, and where withholding begins.
    std::size_t pressure_mark() const { return bound_ / 4 * 3; }
    bool tight() const { return used_ > pressure_mark(); }
    /// Whether it would be with so many bytes more.
    bool tight_with(std::size_t bytes) const { return used_ + bytes > pressure_mark(); }

  private:
    friend class memory_charge;
    std::size_t bound_;
    std::size_t used_ = 0;
    std::size_t most_used_ = 0;
};

/// What one holder has charged to a budget. It must have been given back before the end.
class memory_charge {
  public:
    memory_charge() = default;
    memory_charge(const memory_charge&) = delete;
    memory_charge& operator=(const memory_charge&) = delete;
    ~memory_charge() { assert(bytes_ == 0 && "memory not given back"); }

    std::uint32_t bytes() const { return bytes_; }
    void set(memory_budget& budget, std::size_t bytes) {
        budget.used_ += bytes - bytes_;
        bytes_ = static_cast<std::uint32_t>(bytes);
        if (budget.used_ > budget.most_used_) budget.most_used_ = budget.used_;
    }

  private:
    std::uint32_t bytes_ = 0;
};

struct memory {
    memory(std::size_t receive_bound, std::size_t send_bound) : receive(receive_bound), send(send_bound) {}
    memory_budget receive;
    memory_budget send;
};

} // namespace tapir::tcp
