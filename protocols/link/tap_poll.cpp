#include <tapir/protocols/link/tap_paths.hpp>

#include <sys/types.h>
#include <utility>

namespace tapir {

poll_tap::poll_tap(reactor& on, tap_device device, const tap_config& config)
    : tap(on, std::move(device), config), poll_(*this) {
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
    try {
        read_batch();
    } catch (...) { // of the receiver: it is not the end of reading
        if (!failed()) arm();
        throw;
    }
    if (!failed()) arm();
}

void poll_tap::send(frame&& f) {
    if (!prepare(f)) return;
    const ssize_t written = write_now(f);
    wrote(written, f.size());
}

} // namespace tapir
