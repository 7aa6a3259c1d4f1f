#include <tapir/framework/uring_backend.hpp>

#include <liburing.h>

#include <array>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <list>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace tapir {

namespace {

constexpr int op_read_multishot = 49; // IORING_OP_READ_MULTISHOT; younger than liburing 2.3

int opcode_of(io_operation::kind what) {
    using kind = io_operation::kind;
    switch (what) {
    case kind::nop: return IORING_OP_NOP;
    case kind::read: return IORING_OP_READ;
    case kind::write: return IORING_OP_WRITE;
    case kind::writev: return IORING_OP_WRITEV;
    case kind::recv:
    case kind::recv_multishot: return IORING_OP_RECV;
    case kind::send: return IORING_OP_SEND;
    case kind::accept:
    case kind::accept_multishot: return IORING_OP_ACCEPT;
    case kind::connect: return IORING_OP_CONNECT;
    case kind::shutdown: return IORING_OP_SHUTDOWN;
    case kind::poll:
    case kind::poll_multishot: return IORING_OP_POLL_ADD;
    case kind::read_multishot: return op_read_multishot;
    case kind::open: return IORING_OP_OPENAT;
    case kind::statx: return IORING_OP_STATX;
    case kind::close: return IORING_OP_CLOSE;
    }
    return IORING_OP_LAST;
}

void prepare(io_uring_sqe* sqe, io_operation& op) {
    using kind = io_operation::kind;
    auto* memory = const_cast<void*>(op.address);
    const auto* path = static_cast<const char*>(op.address);
    const int flags = static_cast<int>(op.flags);
    switch (op.what) {
    case kind::nop: io_uring_prep_nop(sqe); break;
    case kind::read: io_uring_prep_read(sqe, op.fd, memory, op.length, op.offset); break;
    case kind::write: io_uring_prep_write(sqe, op.fd, memory, op.length, op.offset); break;
    case kind::writev:
        io_uring_prep_writev(sqe, op.fd, static_cast<const iovec*>(op.address), op.length, op.offset);
        break;
    case kind::recv: io_uring_prep_recv(sqe, op.fd, memory, op.length, flags); break;
    case kind::recv_multishot:
        io_uring_prep_recv_multishot(sqe, op.fd, nullptr, 0, flags);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = op.buffer_group;
        break;
    case kind::send: io_uring_prep_send(sqe, op.fd, memory, op.length, flags); break;
    case kind::accept: io_uring_prep_accept(sqe, op.fd, nullptr, nullptr, flags); break;
    case kind::accept_multishot: io_uring_prep_multishot_accept(sqe, op.fd, nullptr, nullptr, flags); break;
    case kind::connect:
        io_uring_prep_connect(sqe, op.fd, static_cast<const sockaddr*>(op.address), op.length);
        break;
    case kind::shutdown: io_uring_prep_shutdown(sqe, op.fd, flags); break;
    case kind::poll: io_uring_prep_poll_add(sqe, op.fd, op.flags); break;
    case kind::poll_multishot: io_uring_prep_poll_multishot(sqe, op.fd, op.flags); break;
    case kind::read_multishot:
        io_uring_prep_rw(op_read_multishot, sqe, op.fd, nullptr, 0, op.offset);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = op.buffer_group;
        break;
    case kind::open: io_uring_prep_openat(sqe, op.fd, path, flags, op.length); break;
    case kind::statx:
        io_uring_prep_statx(sqe, op.fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS,
                            static_cast<struct statx*>(memory));
        break;
    case kind::close: io_uring_prep_close(sqe, op.fd); break;
    }
}

int read_sysctl() {
    std::ifstream in("/proc/sys/kernel/io_uring_disabled");
    int value = -1;
    if (!(in >> value)) return -1;
    return value;
}

bool makes_descriptor(io_operation::kind what) {
    using kind = io_operation::kind;
    return what == kind::accept || what == kind::accept_multishot || what == kind::open;
}

} // namespace

struct uring_backend::state {
    /// A completion that was taken off the ring before its turn to be dispatched.
    struct arrival {
        arrival(io_operation* op, io_operation::completion c) : operation(op), what(c) {}
        io_operation* operation;
        io_operation::completion what;
    };

    // What each turn asks, on one cache line: the library's own structure spreads it over five.
    alignas(64) const unsigned* ring_flags = nullptr;
    const unsigned* completions_taken = nullptr;
    const unsigned* completions_posted = nullptr;
    instant latest{}; ///< what now() said last
    std::list<arrival> stash;
    bool flags_news = false; ///< the kernel raises a flag when it has completions that it will post on entry
    bool queued = false;     ///< there are requests that the kernel has not taken yet

    io_uring ring{};
    std::array<bool, 256> supported{};
    std::size_t in_flight = 0;
    std::uint64_t enters = 0;
    std::uint16_t next_group = 0;
    std::vector<std::uint16_t> free_groups;
    bool has_file_table = false;
    bool file_taken = false; ///< the one place in it
    bool multishot_sockets = true;
    std::shared_ptr<void> companion;

    /// The deadline of a wait stays in the kernel from one to the next: timers are mostly put off, and to set
    /// and cancel one with each wait takes more than to wake up now and then for nothing.
    io_operation alarm{io_operation::kind::nop, nullptr};
    instant alarm_at = never; ///< when it goes off; meaningful while in flight
    __kernel_timespec alarm_time{};

    int wake_fd = -1;
    std::uint64_t wake_count = 0;
    std::atomic<bool> woken = false;
    io_operation wake_read{io_operation::kind::read, nullptr};

    unsigned posted() const { return io_uring_smp_load_acquire(completions_posted) - *completions_taken; }
    bool arrived() const { return !stash.empty() || posted() != 0; }
    bool flagged() const {
        return (io_uring_smp_load_acquire(ring_flags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }

    void entered(int outcome) {
        ++enters;
        queued = io_uring_sq_ready(&ring) != 0;
        if (outcome >= 0) return;
        switch (-outcome) {
        case ETIME:  // the deadline came
        case EINTR:  // a signal
        case EAGAIN: // no memory for a request right now; it stays queued
        case EBUSY:  // completions overflow: they must be taken first
            return;
        default: throw std::system_error(-outcome, std::system_category(), "io_uring_enter");
        }
    }

    io_uring_sqe* next_sqe() {
        for (;;) {
            if (io_uring_sqe* sqe = io_uring_get_sqe(&ring); sqe != nullptr) {
                queued = true;
                return sqe;
            }
            entered(io_uring_submit(&ring));
            if (io_uring_sq_space_left(&ring) == 0) {
                entered(io_uring_submit_and_get_events(&ring));
                stash_all();
            }
        }
    }

    void arm(io_operation& op) {
        io_uring_sqe* sqe = next_sqe();
        prepare(sqe, op);
        if (op.registered) sqe->flags |= IOSQE_FIXED_FILE;
        io_uring_sqe_set_data(sqe, &op);
        op.in_flight = true;
        ++in_flight;
    }

    void set_alarm(instant at) {
        if (alarm.in_flight && alarm_at <= at) return;
        alarm_at = at;
        alarm_time = {at.time_since_epoch() / 1s, (at.time_since_epoch() % 1s).count()};
        io_uring_sqe* sqe = next_sqe();
        if (alarm.in_flight) { // if it has just gone off, its completion ends the wait
            io_uring_prep_timeout_update(sqe, &alarm_time, reinterpret_cast<std::uint64_t>(&alarm),
                                         IORING_TIMEOUT_ABS);
            sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
            io_uring_sqe_set_data(sqe, nullptr);
            return;
        }
        io_uring_prep_timeout(sqe, &alarm_time, 0, IORING_TIMEOUT_ABS);
        io_uring_sqe_set_data(sqe, &alarm);
        alarm.in_flight = true;
        ++in_flight;
    }

    void ask_to_cancel(io_operation& op) {
        io_uring_sqe* sqe = next_sqe();
        io_uring_prep_cancel(sqe, &op, 0);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        io_uring_sqe_set_data(sqe, nullptr); // its own completion says nothing
    }

    /// The next completion off the ring; null when there is none.
    io_operation* take(io_operation::completion& c) {
        io_uring_cqe* cqe = nullptr;
        while (posted() != 0 && io_uring_peek_cqe(&ring, &cqe) == 0) {
            auto* op = static_cast<io_operation*>(io_uring_cqe_get_data(cqe));
            c.result = cqe->res;
            c.more = (cqe->flags & IORING_CQE_F_MORE) != 0;
            c.has_buffer = (cqe->flags & IORING_CQE_F_BUFFER) != 0;
            c.buffer_id = static_cast<std::uint16_t>(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
            io_uring_cqe_seen(&ring, cqe);
            if (op != nullptr) return op;
        }
        return nullptr;
    }

    void stash_all() {
        io_operation::completion c;
        while (io_operation* op = take(c)) stash.emplace_back(op, c);
    }

    void ended(io_operation& op) {
        op.in_flight = false;
        --in_flight;
    }

    void drain() noexcept;
};

// The kernel may still write to memory that operations name, so it must let go of each before its owner does.
void uring_backend::state::drain() noexcept {
    try {
        while (in_flight != 0) {
            if (io_uring_sqe* sqe = next_sqe()) {
                io_uring_prep_rw(IORING_OP_ASYNC_CANCEL, sqe, -1, nullptr, 0, 0);
                sqe->cancel_flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
                io_uring_sqe_set_data(sqe, nullptr);
            }
            io_uring_cqe* cqe = nullptr;
            __kernel_timespec soon{0, 10'000'000};
            entered(io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &soon, nullptr));
            stash_all();
            while (!stash.empty()) {
                const arrival a = stash.front();
                stash.pop_front();
                if (makes_descriptor(a.operation->what) && a.what.result >= 0) ::close(a.what.result);
                if (!a.what.more) ended(*a.operation);
            }
        }
    } catch (const std::system_error&) { // the ring is gone, and with it what was in flight
    }
}

uring_backend::uring_backend(uring_config config) : state_(std::make_unique<state>()) {
    state& s = *state_;
    s.multishot_sockets = config.multishot_sockets;
    // The best first; an older kernel refuses with EINVAL what it does not know.
    constexpr unsigned common = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    constexpr std::array<unsigned, 3> setups{
        common | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
            IORING_SETUP_TASKRUN_FLAG,
        common | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        common,
    };
    int outcome = -EINVAL;
    for (std::size_t i = config.skip_setups; i < setups.size() && outcome == -EINVAL; ++i) {
        io_uring_params params{};
        params.flags = setups[i];
        params.cq_entries = config.completions;
        outcome = io_uring_queue_init_params(config.entries, &s.ring, &params);
    }
    if (outcome < 0)
        throw std::system_error(-outcome, std::system_category(),
                                detail::uring_refusal(-outcome, read_sysctl()));
    constexpr unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL;
    if ((s.ring.features & needed) != needed) {
        io_uring_queue_exit(&s.ring);
        throw std::system_error(ENOSYS, std::system_category(), detail::uring_refusal(ENOSYS, -1));
    }
    io_uring_register_ring_fd(&s.ring); // cheaper enters, where the kernel has it
    s.ring_flags = s.ring.sq.kflags;
    s.completions_taken = s.ring.cq.khead;
    s.completions_posted = s.ring.cq.ktail;
    s.flags_news = (s.ring.flags & IORING_SETUP_TASKRUN_FLAG) != 0;

    if (io_uring_probe* probe = io_uring_get_probe_ring(&s.ring); probe != nullptr) {
        for (unsigned i = 0; i < probe->ops_len; ++i)
            s.supported[probe->ops[i].op] = (probe->ops[i].flags & IO_URING_OP_SUPPORTED) != 0;
        io_uring_free_probe(probe);
    }

    s.wake_fd = ::eventfd(0, EFD_CLOEXEC);
    if (s.wake_fd < 0) {
        const int error = errno;
        io_uring_queue_exit(&s.ring);
        throw std::system_error(error, std::system_category(), "eventfd");
    }
    s.wake_read.fd = s.wake_fd;
    s.wake_read.address = &s.wake_count;
    s.wake_read.length = sizeof s.wake_count;
    s.arm(s.wake_read);
}

uring_backend::~uring_backend() {
    state_->drain();
    state_->companion.reset();
    io_uring_queue_exit(&state_->ring);
    ::close(state_->wake_fd);
}

instant uring_backend::now() {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return state_->latest = instant(std::chrono::seconds(t.tv_sec) + duration(t.tv_nsec));
}

duration uring_backend::timer_resolution() const {
    return duration(1 << 16); // 65.5 us: below what a sleeping CPU needs to wake up
}

bool uring_backend::wait(instant deadline) {
    state& s = *state_;
    if (!s.arrived() && deadline > s.latest) { // one that has passed since ends the wait at once
        if (deadline != never) s.set_alarm(deadline);
        if (s.stash.empty()) { // as long as the alarm has found room
            s.entered(io_uring_submit_and_wait(&s.ring, 1));
            return true;
        }
    }
    look();
    return true;
}

bool uring_backend::look() {
    state& s = *state_;
    // No flag and nothing to submit means nothing to see.
    if (!s.flags_news || s.flagged() || s.queued) s.entered(io_uring_submit_and_get_events(&s.ring));
    return s.arrived();
}

bool uring_backend::has_news() const {
    return state_->arrived() || (state_->flags_news && state_->flagged());
}

void uring_backend::dispatch() {
    state& s = *state_;
    // As many as are here now: a handler that submits may bring more, which wait for the next turn.
    for (std::size_t n = s.stash.size() + s.posted(); n != 0; --n) {
        io_operation* op = nullptr;
        io_operation::completion c;
        if (!s.stash.empty()) {
            op = s.stash.front().operation;
            c = s.stash.front().what;
            s.stash.pop_front();
        } else if (op = s.take(c); op == nullptr) {
            return;
        }
        if (!c.more) s.ended(*op);
        if (op == &s.wake_read) {
            // Pairs with wake(): a post that found `woken` still set is seen by the turn that follows.
            s.woken.exchange(false, std::memory_order_acq_rel);
            s.arm(s.wake_read);
            continue;
        }
        if (op != &s.alarm) op->complete(*op, c);
    }
}

void uring_backend::submit(io_operation& operation) {
    assert(!operation.in_flight);
    state_->arm(operation);
}

void uring_backend::cancel(io_operation& operation) {
    if (operation.in_flight) state_->ask_to_cancel(operation);
}

io_operation::completion uring_backend::retire(io_operation& operation) {
    state& s = *state_;
    io_operation::completion last;
    last.result = -ECANCELED;
    if (operation.in_flight) s.ask_to_cancel(operation);
    while (operation.in_flight) {
        s.stash_all();
        for (auto at = s.stash.begin(); at != s.stash.end();) {
            if (at->operation != &operation) {
                ++at;
                continue;
            }
            last = at->what;
            if (!last.more) s.ended(operation);
            at = s.stash.erase(at);
        }
        if (operation.in_flight) s.entered(io_uring_submit_and_wait(&s.ring, 1));
    }
    return last;
}

void uring_backend::wake() {
    if (state_->woken.exchange(true, std::memory_order_acq_rel)) return;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(state_->wake_fd, &one, sizeof one);
    assert(n == sizeof one);
}

bool uring_backend::supports(io_operation::kind what) const {
    return state_->supported[static_cast<std::size_t>(opcode_of(what))];
}

std::uint16_t uring_backend::register_buffer_ring(void* memory, std::uint32_t entries) {
    state& s = *state_;
    const std::uint16_t group = s.free_groups.empty() ? s.next_group : s.free_groups.back();
    io_uring_buf_reg what{};
    what.ring_addr = reinterpret_cast<std::uint64_t>(memory);
    what.ring_entries = entries;
    what.bgid = group;
    if (const int outcome = io_uring_register_buf_ring(&s.ring, &what, 0); outcome < 0)
        throw std::system_error(-outcome, std::system_category(),
                                "the kernel refuses a ring of provided buffers");
    if (s.free_groups.empty()) {
        ++s.next_group;
    } else {
        s.free_groups.pop_back();
    }
    return group;
}

void uring_backend::unregister_buffer_ring(std::uint16_t group) {
    io_uring_unregister_buf_ring(&state_->ring, group);
    state_->free_groups.push_back(group);
}

// A table of one. Linux before 6.13 or so frees what has left a table in order, and only when no operation on
// any file of that table is older: one that waits for long would keep the others open.
std::optional<std::int32_t> uring_backend::register_file(int fd) {
    state& s = *state_;
    if (fd < 0 || s.file_taken) return std::nullopt; // the kernel takes -1 for "none", and says yes
    if (!s.has_file_table && io_uring_register_files_sparse(&s.ring, 1) < 0) return std::nullopt;
    s.has_file_table = true;
    if (io_uring_register_files_update(&s.ring, 0, &fd, 1) < 0) return std::nullopt;
    s.file_taken = true;
    return 0;
}

void uring_backend::unregister_file([[maybe_unused]] std::int32_t number) {
    assert(number == 0 && state_->file_taken);
    int none = -1;
    if (io_uring_register_files_update(&state_->ring, 0, &none, 1) >= 0) state_->file_taken = false;
}

bool uring_backend::multishot_sockets() const {
    return state_->multishot_sockets;
}

std::shared_ptr<void>& uring_backend::companion() {
    return state_->companion;
}

std::size_t uring_backend::in_flight() const {
    const state& s = *state_;
    return s.in_flight - (s.wake_read.in_flight ? 1 : 0) - (s.alarm.in_flight ? 1 : 0);
}

std::uint64_t uring_backend::enters() const {
    return state_->enters;
}

std::unique_ptr<backend> make_uring_backend(uring_config config) {
    return std::make_unique<uring_backend>(config);
}

std::string detail::uring_refusal(int error, int io_uring_disabled) {
    switch (error) {
    case EPERM:
        if (io_uring_disabled > 0)
            return "io_uring is switched off here (kernel.io_uring_disabled is " +
                   std::to_string(io_uring_disabled) + "): run `sysctl kernel.io_uring_disabled=0` as root";
        return "io_uring is forbidden to this process, probably by a container's seccomp filter: allow "
               "io_uring_setup, io_uring_enter and io_uring_register there, or run outside of it";
    case ENOSYS:
        return "this kernel has no usable io_uring: boot Linux 6.1 or newer, built with CONFIG_IO_URING";
    case ENOMEM:
        return "no memory that may be locked for io_uring's queues: raise RLIMIT_MEMLOCK (`ulimit -l`), or "
               "make the queues smaller";
    case EMFILE:
    case ENFILE: return "no file descriptor is free for io_uring: raise RLIMIT_NOFILE (`ulimit -n`)";
    default: return "io_uring_setup failed";
    }
}

} // namespace tapir
