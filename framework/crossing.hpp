// Bytes that go from one thread to another, record by record: for what one reactor reads and another has to
// deal with. Each pair of threads has a ring of its own with one writer and one reader, without a lock; a
// record is copied in and looked at in place. The reader's reactor is woken once for all that has come since
// it looked last.
//
//     auto between = std::make_shared<tapir::crossing>(2, 1 << 20);
//     between->open(1, reactor_1, [](bytes record) { ... });          // on thread 1
//     if (!between->put(0, 1, parts)) ++full;                         // on thread 0
//
// Members may also share a thread, and virtual time: then a record arrives in a later turn.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/reactor.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace tapir {

/// One way between two threads.
class record_ring {
  public:
    /// Rounded up to a power of two, at least 64.
    explicit record_ring(std::size_t size);

    // --- the writer's
    /// A record of `parts`, one behind the other. False, and nothing is written, when there is no room.
    bool put(std::span<const bytes> parts);

    // --- the reader's
    /// Up to where it is written; records put later stand behind.
    std::uint64_t written() const { return tail_.load(std::memory_order_acquire); }
    /// The oldest record before `end`; it stays until pop().
    std::optional<bytes> front(std::uint64_t end);
    void pop();

  private:
    std::size_t size_;
    std::unique_ptr<std::byte[]> memory_;
    // Each side writes to a cache line of its own.
    alignas(64) std::atomic<std::uint64_t> head_ = 0; ///< read up to here; both count bytes and never wrap
    alignas(64) std::atomic<std::uint64_t> tail_ = 0;
};

class crossing : public std::enable_shared_from_this<crossing> {
  public:
    /// `ring_size` is in bytes, for each way between two of them. Memory that nothing has come through is
    /// not touched.
    crossing(std::size_t members, std::size_t ring_size);

    std::size_t members() const { return members_.size(); }

    /// From now on records for `member` go to `receive`, on the thread of `on`, which must live as long as
    /// anybody puts. Called there; what has come before is received in a later turn.
    void open(std::size_t member, reactor& on, std::move_only_function<void(bytes)> receive);
    /// No more is received. Called on the same thread, and not by `receive`.
    void close(std::size_t member);

    /// Called on the thread of `from`. False when there is no room; the record is lost.
    bool put(std::size_t from, std::size_t to, std::span<const bytes> parts);

  private:
    struct member {
        std::vector<std::unique_ptr<record_ring>> from;
        std::move_only_function<void(bytes)> receive; ///< its own thread's
        std::atomic<reactor*> on = nullptr;
        std::atomic<bool> woken = false; ///< it will look at its rings
    };
    void look(member& of);
    void wake(std::size_t to);

    std::vector<std::unique_ptr<member>> members_;
};

} // namespace tapir
