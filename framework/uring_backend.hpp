// The real back end: io_uring and the kernel's monotonic clock. One system call per turn submits what the
// turn produced, waits, and collects what has completed.
//
//     tapir::reactor r(tapir::make_uring_backend());
//
// Made, used and destroyed on one thread: the kernel is told that there is a single issuer. Features are
// probed, never deduced from a kernel version.
#pragma once

#include <tapir/framework/backend.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace tapir {

struct uring_config {
    /// Submission queue entries. A full queue costs one more system call, nothing else.
    std::uint32_t entries = 1024;
    /// Completion queue entries. Past these the kernel keeps completions in a list: slower, none lost. Room
    /// for a burst of multishot completions between two turns.
    std::uint32_t completions = 8192;
    /// How many of the known ways to set up a ring are passed over, the best first: what an older kernel
    /// refuses. For tests.
    std::uint32_t skip_setups = 0;
    /// False: kernel sockets make do without multishot operations and shared buffers. For tests.
    bool multishot_sockets = true;
};

class uring_backend final : public backend {
  public:
    /// Throws std::system_error when the kernel refuses a ring; what() says why in one sentence and names the
    /// remedy.
    explicit uring_backend(uring_config config = {});
    /// Operations in flight are cancelled and waited for; their handlers are not called.
    ~uring_backend() override;

    instant now() override;
    duration timer_resolution() const override;
    /// Always true: another thread may post, a signal may come.
    bool wait(instant deadline) override;
    /// A system call only to submit, or to collect what the kernel says it has.
    bool look() override;
    void dispatch() override;
    void submit(io_operation& operation) override;
    void cancel(io_operation& operation) override;
    io_operation::completion retire(io_operation& operation) override;
    void wake() override;
    bool simulated() const override { return false; }
    uring_backend* uring() override { return this; }

    /// Whether this kernel knows the operation. (Whether a given file does, only a trial tells.)
    bool supports(io_operation::kind what) const;

    /// Registers a ring of `entries` provided buffers (a power of two up to 32768) that lies in page-aligned
    /// `memory`, and returns its buffer group. Throws std::system_error. Used by buffer_ring.
    std::uint16_t register_buffer_ring(void* memory, std::uint32_t entries);
    void unregister_buffer_ring(std::uint16_t group);

    /// For io_operation::registered: operations on a file that stays for long find it without counting its
    /// users up and down, two atomic operations for each. Nothing where the kernel refuses, and while another
    /// file is: there is one. It stays open until unregister_file(), before which its operations have ended.
    std::optional<std::int32_t> register_file(int fd);
    void unregister_file(std::int32_t number);

    /// A hint, without a system call: whether the kernel has said so far that look() will find something.
    bool has_news() const;

    bool multishot_sockets() const;
    /// Of those who share something on this ring (kernel sockets): destroyed when nothing is in flight any
    /// more, and before the ring.
    std::shared_ptr<void>& companion();

    std::size_t in_flight() const;
    /// System calls made so far: what a benchmark counts.
    std::uint64_t enters() const;

  private:
    struct state;
    std::unique_ptr<state> state_;
};

/// A uring_backend as the reactor takes it.
std::unique_ptr<backend> make_uring_backend(uring_config config = {});

namespace detail {
/// Why io_uring_setup() failed with `error`, and what to do. `io_uring_disabled` is the value of that sysctl,
/// -1 where there is none.
std::string uring_refusal(int error, int io_uring_disabled);
} // namespace detail

} // namespace tapir
