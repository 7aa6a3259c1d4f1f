#include <tapir/framework/random.hpp>
#include <tapir/framework/sim_backend.hpp>

#include <cerrno>
#include <fcntl.h>
#include <queue>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

namespace tapir {
namespace {

class sim_backend final : public backend {
  public:
    explicit sim_backend(sim_config config) : config_(config), now_(config.start), random_(config.seed) {}
    ~sim_backend() override {
        while (!queue_.empty()) retire(*queue_.top().operation);
    }

    instant now() override { return now_; }
    duration timer_resolution() const override { return 1ns; }
    bool simulated() const override { return true; }
    void wake() override {}

    bool wait(instant deadline) override {
        const instant first = queue_.empty() ? never : queue_.top().at;
        const instant next = std::min(deadline, first);
        if (next == never) return false;
        now_ = std::max(now_, next);
        return true;
    }

    bool look() override { return !queue_.empty() && queue_.top().at <= now_; }

    void dispatch() override {
        while (!queue_.empty() && queue_.top().at <= now_) {
            const entry due = queue_.top();
            queue_.pop();
            io_operation& op = *due.operation;
            op.in_flight = false;
            io_operation::completion c;
            c.result = op.serial == due.serial ? perform(op) : -ECANCELED;
            op.complete(op, c);
        }
    }

    void submit(io_operation& op) override {
        op.serial = ++serial_;
        op.in_flight = true;
        const auto spread = static_cast<std::uint32_t>(config_.max_file_delay.count());
        const duration delay = op.what == io_operation::kind::nop ? 0ns : duration(random_.below(spread + 1));
        queue_.push(entry(now_ + delay, op.serial, op));
    }

    // The operation completes when it would have, with -ECANCELED: its serial no longer matches.
    void cancel(io_operation& op) override { op.serial = 0; }

    // Of what the simulator does, only a close may not be left undone.
    io_operation::completion retire(io_operation& op) override {
        std::priority_queue<entry> kept;
        for (; !queue_.empty(); queue_.pop())
            if (queue_.top().operation != &op) kept.push(queue_.top());
        queue_.swap(kept);
        io_operation::completion c;
        c.result = op.in_flight && op.what == io_operation::kind::close ? perform(op) : -ECANCELED;
        op.in_flight = false;
        return c;
    }

  private:
    struct entry {
        entry(instant when, std::uint64_t number, io_operation& op)
            : at(when), serial(number), operation(&op) {}
        instant at;
        std::uint64_t serial;
        io_operation* operation;
        bool operator<(const entry& other) const { // std::priority_queue keeps the greatest on top
            return at != other.at ? at > other.at : serial > other.serial;
        }
    };

    static std::int32_t outcome(std::int64_t value) {
        return static_cast<std::int32_t>(value < 0 ? -errno : value);
    }

    static std::int32_t perform(io_operation& op) {
        using kind = io_operation::kind;
        auto* memory = const_cast<void*>(op.address);
        const auto* path = static_cast<const char*>(op.address);
        switch (op.what) {
        case kind::nop: return 0;
        case kind::open: return outcome(::openat(op.fd, path, static_cast<int>(op.flags), op.length));
        case kind::read:
            return outcome(op.offset == ~std::uint64_t{0}
                               ? ::read(op.fd, memory, op.length)
                               : ::pread(op.fd, memory, op.length, static_cast<off_t>(op.offset)));
        case kind::write:
            return outcome(op.offset == ~std::uint64_t{0}
                               ? ::write(op.fd, memory, op.length)
                               : ::pwrite(op.fd, memory, op.length, static_cast<off_t>(op.offset)));
        case kind::writev: {
            const auto* parts = static_cast<const iovec*>(op.address);
            const auto count = static_cast<int>(op.length);
            return outcome(op.offset == ~std::uint64_t{0}
                               ? ::writev(op.fd, parts, count)
                               : ::pwritev(op.fd, parts, count, static_cast<off_t>(op.offset)));
        }
        case kind::statx:
            return outcome(
                ::statx(op.fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, static_cast<struct statx*>(memory)));
        case kind::close: return outcome(::close(op.fd));
        default: return -EOPNOTSUPP;
        }
    }

    sim_config config_;
    instant now_;
    random random_;
    std::uint64_t serial_ = 0;
    std::priority_queue<entry> queue_;
};

} // namespace

std::unique_ptr<backend> make_sim_backend(sim_config config) {
    return std::make_unique<sim_backend>(config);
}

} // namespace tapir
