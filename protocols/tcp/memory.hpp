// What buffers cost, over all connections of a stack. Data is charged by its true size: the capacity of the
// buffer that it keeps alive, not its length. (A payload under half of its buffer is copied, so the two never
// differ by more than a factor of two, but for the last piece of a queue.)
//
// Receiving. Until three quarters of the budget are used, windows are what each connection's own buffer
// allows. Beyond, only window that has not been promised yet is withheld: a right edge never moves back. A
// connection whose user reads is still promised `memory_floor` bytes. When data comes for which nothing is
// left, memory is shed in this order, down to the three quarters:
//
//     1. data beyond a hole, of connections without SACK: their peers send it again anyway
//     2. data beyond a hole, of connections with SACK: their peers keep it until it is acknowledged
//     3. connections that hold received data and made no progress for `memory_idle_after`, the longest first:
//     RST,
//        errc::no_memory
//
// and if that is not enough the segment is dropped, as if it had been lost. [RFC 2018 8]
//
// Sending. write() takes no more than the budget has left; a connection with less than `memory_floor` queued
// may always write up to that, so that none waits for others.
//
// Either budget is hence passed by `memory_floor` bytes for each connection at most.
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
    /// Of `receive`, held beyond a hole by connections without SACK, and with.
    std::size_t ahead[2] = {0, 0};
};

} // namespace tapir::tcp
