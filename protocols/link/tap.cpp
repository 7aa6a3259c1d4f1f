#include <tapir/framework/log.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/system_call.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/link/offload.hpp>
#include <tapir/protocols/link/tap.hpp>
#include <tapir/protocols/link/tap_paths.hpp>
#include <tapir/protocols/link/tap_steering.hpp>

#include <cassert>
#include <cerrno>
#include <new>
#include <poll.h>
#include <unistd.h>

namespace tapir {

namespace {

std::size_t size_of_buffers(std::size_t max_frame, bool offloads) {
    constexpr std::size_t vlan_tag = 4;
    const std::size_t plain = max_frame + vlan_tag + 1;
    return offloads ? std::max(plain + vnet_header::size, tap::offload_buffer) : plain;
}

} // namespace

tap::watch::watch(tap& t)
    : io_operation(kind::poll,
                   [](io_operation& op, const completion& c) {
                       static_cast<watch&>(op).owner.output_possible(c.result);
                   }),
      owner(t) {
    fd = t.fd();
    flags = POLLOUT;
}

tap::poll_in::poll_in(tap& t)
    : io_operation(kind::poll,
                   [](io_operation& op, const completion& c) {
                       if (c.result != -ECANCELED) static_cast<poll_in&>(op).owner.readable();
                   }),
      owner(t) {
    fd = t.fd();
    flags = POLLIN;
}

tap::tap(reactor& on, tap_device device, const tap_config& config)
    : reactor_(on), device_(std::move(device)), frames_per_turn_(config.frames_per_turn),
      mtu_(device_.mtu().value_or(1500)),
      buffer_size_(size_of_buffers(tap::capabilities().max_frame(), offloads())),
      next_(pool_.allocate(buffer_size())), watch_(*this) {
    up_ = device_.up().value_or(true);
    if (!up_) watch_output();
}

tap::~tap() {
    reactor_.io().retire(watch_);
}

bool tap::prepare(frame& f) {
    assert((offloads() || finished(f.meta)) && "a plain TAP completes neither checksums nor segments");
    if (failed()) {
        ++counters_.dropped_no_carrier;
    } else if (!offloads() && !finished(f.meta)) {
        ++counters_.errors; // it would be wrong on the wire
    } else if (largest_packet(f) > mtu_ ||
               f.size() > std::max(max_large_frame, mtu_ + link_capabilities::ethernet_header)) {
        ++counters_.dropped_too_big;
    } else {
        if (offloads()) put_header(f);
        return true;
    }
    return false;
}

// Into the room that is kept for it, unless the frame came from a link that keeps none, or others look at it.
void tap::put_header(frame& f) {
    if (f.meta.gso_type != segmentation::none) {
        ++counters_.large_out;
        counters_.segments_out += segments_in(f);
    }
    if (f.headroom() < vnet_header::size || !f.unique()) {
        frame own(pool_.allocate(vnet_header::size + f.data().size()), vnet_header::size);
        copy_bytes(own.push_back(f.data().size()), f.data());
        for (const chunk& part : f.tail()) own.share_back(part);
        own.meta = f.meta;
        f = std::move(own);
    }
    vnet_header::emit(f.push_front(vnet_header::size), f.meta);
}

tap::frame_parts tap::parts_of(const frame& f) {
    const auto part = [](bytes b) { return iovec{const_cast<std::byte*>(b.data()), b.size()}; };
    frame_parts parts{part(f.data())};
    std::size_t n = 1;
    for (const chunk& c : f.tail()) parts[n++] = part(c.data());
    return parts;
}

std::int64_t tap::write_now(const frame& f) const {
    const frame_parts parts = parts_of(f);
    ssize_t written = 0;
    do
        written = f.tail().empty() ? system_write(fd(), parts[0].iov_base, parts[0].iov_len)
                                   : ::writev(fd(), parts.data(), static_cast<int>(1 + f.tail().size()));
    while (written < 0 && errno == EINTR);
    return written < 0 ? -errno : written;
}

void tap::wrote(std::int64_t outcome, std::size_t size, std::size_t frames) {
    if (outcome == static_cast<std::int64_t>(size)) {
        counters_.frames_out += frames;
        counters_.joined_out += frames - 1;
        counters_.bytes_out += size - (offloads() ? frames * vnet_header::size : 0);
        if (!up_) carrier(true);
        return;
    }
    switch (-outcome) {
    case EAGAIN:
        counters_.dropped_full += frames;
        blocked_ = true;
        watch_output();
        break;
    case EIO: // the kernel's side is down; reads that wait stay
        counters_.dropped_no_carrier += frames;
        if (up_) carrier(false);
        watch_output();
        break;
    case EBADFD: fail(EBADFD); break;
    default: counters_.errors += frames;
    }
}

bool tap::read_failed(int error) {
    // An error that repeats would keep the loop busy for nothing: give up after a few.
    constexpr unsigned patience = 16;
    const bool gone = error == EBADFD || error == EFAULT || error == ENODEV; // EFAULT: deleted under the read
    ++counters_.errors;
    if (!gone && ++failures_in_a_row_ < patience) return true;
    fail(error);
    return false;
}

frame tap::copied(bytes read) {
    constexpr std::size_t room = 16; // for a virtio-net header, when it is forwarded to a device with offload
    frame f(pool_.allocate(room + read.size()), room);
    copy_bytes(f.push_back(read.size()), read);
    return f;
}

bool tap::take_header(frame& f) {
    const auto meta = vnet_header::parse(f.data());
    if (!meta) {
        ++counters_.bad_offload;
        return false;
    }
    f.drop_front(vnet_header::size);
    f.meta = *meta;
    if (meta->gso_type != segmentation::none) {
        ++counters_.large_in;
        counters_.segments_in += segments_in(f);
    }
    return true;
}

void tap::deliver(frame&& f) {
    failures_in_a_row_ = 0;
    const bool cut_off = f.size() >= buffer_size(); // it may have been longer still
    if (offloads() && !take_header(f)) return;
    ++counters_.frames_in;
    counters_.bytes_in += f.size();
    if (cut_off) {
        ++counters_.dropped_too_big;
        return;
    }
    if (!up_) carrier(true);
    f.arrived = reactor_.now();
    if (receiver_ != nullptr) receiver_->receive(std::move(f));
}

void tap::read_batch() {
    constexpr std::uint64_t bytes_per_turn = 512 * 1024;
    constexpr std::uint64_t flood = 64 * 1024;
    const std::uint64_t before = counters_.bytes_in;
    const auto came = [&] { return counters_.bytes_in - before; };
    for (std::size_t n = 0; n < frames_per_turn_ && came() < bytes_per_turn && read_one(); ++n) {
    }
    if (came() >= flood) reactor_.more_input_waits();
}

bool tap::read_one() {
    const ssize_t got = system_read(fd(), next_.data(), buffer_size());
    if (got < 0) {
        if (errno == EINTR) return true;
        if (errno != EAGAIN) (void)read_failed(errno);
        return false;
    }
    if (got == 0) return read_failed(EIO);
    frame f = taken(static_cast<std::size_t>(got));
    if (f.size() != 0) deliver(std::move(f));
    return true;
}

/// What was read into next_; empty without memory.
frame tap::taken(std::size_t size) {
    try {
        if (small(size)) return copied(bytes(next_.span()).first(size));
        buffer fresh = pool_.allocate(buffer_size()); // first: without one, this frame is the one to go
        return frame(std::exchange(next_, std::move(fresh)), 0, size);
    } catch (const std::bad_alloc&) {
        no_memory();
        return {};
    }
}

void tap::writable_again() {
    if (receiver_ != nullptr) receiver_->writable();
}

void tap::watch_output() {
    if (!watch_.in_flight && !failed()) reactor_.io().submit(watch_);
}

// The driver says POLLOUT only while the device is up, and wakes those who wait when it comes up.
void tap::output_possible(std::int32_t events) {
    if (events < 0 || (events & POLLOUT) == 0 || failed()) return; // deleted: the reader finds out
    if (!up_) carrier(true);
    if (std::exchange(blocked_, false)) writable_again();
}

void tap::carrier(bool now_up) {
    up_ = now_up;
    if (!now_up) {
        log::warn(name() + " was set down: frames are lost until `ip link set " + name() + " up`");
    } else if (reported_down_) {
        log::info(name() + " is up again");
    }
    reported_down_ = !now_up;
    if (receiver_ != nullptr) receiver_->carrier(now_up);
}

void tap::fail(int error) {
    if (failed()) return;
    failure_ = errno_code(error);
    ++counters_.errors;
    up_ = false;
    log::error(name() + " is gone (" + failure_.message() +
               "): nothing is sent or received there any more; open it again");
    if (receiver_ != nullptr) receiver_->carrier(false);
}

namespace {

/// A multishot tap that reads; otherwise null, and `device` is as before.
task<std::unique_ptr<tap>> try_multishot(reactor* on, tap_device* device, const tap_config* config) {
    if (!on->io().uring()->supports(io_operation::kind::read_multishot)) co_return nullptr;
    auto tried = std::make_unique<multishot_tap>(*on, std::move(*device), *config);
    bool works = tried->start().has_value();
    if (works) {
        // A refusal comes with the system call that submits the read, that is before the next turn.
        (void)co_await sleep_for(1ms);
        works = !tried->refused();
    }
    if (!works) {
        *device = tried->take_device();
        co_return nullptr;
    }
    tried->trust();
    co_return tried;
}

} // namespace

task<result<std::unique_ptr<tap>>> open_tap(tap_config config) {
    promise_base& self = co_await this_coroutine;
    reactor& on = self.reactor();
    if (on.io().uring() == nullptr) co_return errc::not_supported;

    const instant give_up = on.now() + config.busy_for;
    const bool offload = config.offload == tap_offload::automatic;
    result<tap_device> device = tap_device::open(config.name, offload, config.queue);
    while (!device && device.error() == tap_errc::busy && on.now() < give_up) {
        const result<> slept = co_await sleep_for(10ms);
        if (!slept) co_return slept.error();
        device = tap_device::open(config.name, offload, config.queue);
    }
    if (!device) co_return device.error();
    if (config.queue == tap_queue::only && config.steering_program) spare_steering(device->fd());
    // Asked, not required: whoever uses a device that root made may not change it.
    if (config.mtu != 0) (void)device->set_mtu(config.mtu);
    if (config.txqueuelen != 0) (void)device->set_txqueuelen(config.txqueuelen);
    if (device->offloads()) (void)device->set_gso_max_size(tap::gso_max_size);

    if (config.io != tap_io::poll) {
        std::unique_ptr<tap> made = co_await try_multishot(&on, &*device, &config);
        if (made) co_return made;
        if (config.io == tap_io::multishot) co_return make_error_code(tap_errc::no_multishot);
    }
    co_return std::make_unique<poll_tap>(on, std::move(*device), config);
}

} // namespace tapir
