#include <tapir/protocols/link/tap_paths.hpp>

#include <cerrno>
#include <new>
#include <poll.h>
#include <unistd.h>
#include <utility>

namespace tapir {

poll_tap::poll_in::poll_in(poll_tap& t)
    : io_operation(kind::poll,
                   [](io_operation& op, const completion& c) {
                       if (c.result != -ECANCELED) static_cast<poll_in&>(op).owner.readable();
                   }),
      owner(t) {
    fd = t.fd();
    flags = POLLIN;
}

poll_tap::poll_tap(reactor& on, tap_device device, const tap_config& config)
    : tap(on, std::move(device)), frames_per_turn_(config.frames_per_turn),
      next_(pool().allocate(buffer_size())), poll_(*this) {
    arm();
}

poll_tap::~poll_tap() {
    on().io().retire(poll_);
}

// One poll for each batch: it looks at the device when it is armed, so what a batch left over, or what came
// meanwhile, completes it at once.
void poll_tap::arm() {
    on().io().submit(poll_);
}

void poll_tap::readable() {
    for (std::size_t n = 0; n < frames_per_turn_; ++n)
        if (!read_one()) break;
    if (!failed()) arm();
}

/// False when there is nothing more to read now.
bool poll_tap::read_one() {
    const ssize_t got = ::read(fd(), next_.data(), buffer_size());
    if (got < 0) {
        if (errno == EINTR) return true;
        if (errno != EAGAIN) (void)read_failed(errno);
        return false;
    }
    const auto size = static_cast<std::size_t>(got);
    frame f;
    try {
        if (small(size)) {
            f = copied(bytes(next_.span()).first(size));
        } else {
            buffer fresh = pool().allocate(buffer_size()); // first: without one, this frame is the one to go
            f = frame(std::exchange(next_, std::move(fresh)), 0, size);
        }
    } catch (const std::bad_alloc&) {
        no_memory();
        return true;
    }
    deliver(std::move(f));
    return true;
}

void poll_tap::send(frame&& f) {
    if (!prepare(f)) return;
    const ssize_t written = write_now(f);
    wrote(written, f.size());
}

} // namespace tapir
