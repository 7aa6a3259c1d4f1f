#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/link/tap_paths.hpp>
#include <tapir/protocols/link/vnet_header.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <memory>
#include <new>
#include <system_error>
#include <unistd.h>

namespace tapir {
namespace {

// As few as keep the loop busy: they are filled in turn while as many again wait for their readers, and all
// of them have to stay in a core's cache. Waiting for one costs no frame.
std::uint32_t ring_entries(const tap_device& device, const tap_config& config) {
    constexpr std::size_t large = 16, packets = 128; // of 64 KiB each, and of the MTU
    const std::size_t few = device.offloads() ? large : packets;
    const std::size_t wanted = config.buffers != 0 ? config.buffers : few;
    return static_cast<std::uint32_t>(std::bit_ceil(std::clamp<std::size_t>(wanted, 2, 8192)));
}

/// Frames that may be sent before they are flushed: two batches of large segments (tap::read_batch()),
/// forwarded to a link for which they are cut.
constexpr std::size_t write_slots = 1024;

} // namespace

multishot_tap::read::read(multishot_tap& t)
    : io_operation(kind::read_multishot,
                   [](io_operation& op, const completion& c) { static_cast<read&>(op).owner.on_read(c); }),
      owner(t) {
    fd = t.fd();
}

multishot_tap::write::write(multishot_tap& t)
    : io_operation(kind::write,
                   [](io_operation& op, const completion& c) {
                       auto& self = static_cast<write&>(op);
                       self.owner.on_write(self, c);
                   }),
      owner(t) {
    fd = t.fd();
}

multishot_tap::multishot_tap(reactor& on, tap_device device, const tap_config& config)
    : tap(on, std::move(device), config), entries_(ring_entries(this->device(), config)), read_(*this),
      poll_(*this), turn_ends_(*this,
                               [](turn_hook& h, instant) {
                                   multishot_tap& self = static_cast<point&>(h).owner;
                                   self.on().at_input_end(self.input_ends_);
                               }),
      input_ends_(*this, [](turn_hook& h, instant) { static_cast<point&>(h).owner.read_answer(); }),
      most_joined_(config.most_joined), reclaim_(on.io(), config.frames_per_reclaim, write_slots) {
    for (std::size_t i = 0; i < write_slots; ++i) {
        writes_.push_back(std::make_unique<write>(*this));
        idle_writes_.push_back(*writes_.back());
    }
    if (offloads() && most_joined_ > 1 && tap_device::takes_big(name())) big_.emplace(name());
}

result<> multishot_tap::start() {
    try {
        ring_.emplace(*on().io().uring(), pool(), entries_, buffer_size());
    } catch (const std::system_error& e) {
        return e.code();
    }
    read_.buffer_group = ring_->group();
    registered_ = on().io().uring()->register_file(fd());
    if (registered_) {
        const auto use = [this](io_operation& op) {
            op.fd = *registered_;
            op.registered = true;
        };
        use(read_);
        use(poll_);
        for (const auto& w : writes_) use(*w);
    }
    arm();
    return {};
}

multishot_tap::~multishot_tap() {
    on().io().retire(read_);
    on().io().retire(poll_);
    for (const auto& w : writes_) on().io().retire(*w);
    if (registered_) on().io().uring()->unregister_file(*registered_);
}

void multishot_tap::arm() {
    reading_ = reading::ring;
    on().io().submit(read_);
}

template <class F>
void multishot_tap::go_on_after(F take) {
    try {
        take();
    } catch (...) {
        if (!failed() && !read_.in_flight && !poll_.in_flight) on().io().submit(poll_);
        throw;
    }
}

void multishot_tap::on_read(const io_operation::completion& c) {
    if (c.has_buffer && c.result > 0) {
        go_on_after([&] { received(c.buffer_id, static_cast<std::size_t>(c.result)); });
    } else if (c.result != -ECANCELED && // by has_gone()
               c.result != -ENOBUFS) {   // the kernel was faster than we; frames wait in its queue
        if (on_trial_) refused_ = true;
        if (refused_ || !read_failed(c.result < 0 ? -c.result : EIO)) return;
    }
    if (c.more || failed()) return;
    if (reading_ == reading::answers) {
        asked_ = true; // something may have come meanwhile
        on().at_input_end(input_ends_);
    } else if (c.result == -ENOBUFS && offloads()) {
        reading_ = reading::batches;
        readable();
    } else {
        arm();
    }
}

// The kernel fills the buffers of the ring in turn, whether they have grown cold or not: a flood of large
// segments takes less time by a system call for each, into memory whose last content has just been consumed.
// No read of the ring is under way here that could overtake.
void multishot_tap::readable() {
    go_on_after([this] {
        if (reading_ == reading::answers) return look_on(read_next());
        (void)large_came();
        read_batch();
        if (failed()) return;
        if (large_came())
            on().io().submit(poll_);
        else
            arm();
    });
}

bool multishot_tap::large_came() {
    return std::exchange(large_before_, counters().large_in) != counters().large_in;
}

void multishot_tap::has_gone(bool alone) {
    asked_ = asked_ || alone;
    if (reading_ != reading::ring || !read_.in_flight || on_trial_) return;
    guess_.answered(alone && on().io().uring()->has_news() && !large_came());
    if (!guess_.at_once()) return;
    reading_ = reading::answers;
    on().io().cancel(read_); // should the kernel refuse, frames come by the ring until read_ ends by itself
}

void multishot_tap::read_answer() {
    if (failed()) return;
    go_on_after([this] {
        const bool came = std::exchange(asked_, false) && read_next();
        guess_.answered(came);
        look_on(came);
    });
}

// Where more comes than answers, reading until there is nothing left serves better.
bool multishot_tap::read_next() {
    (void)large_came();
    const bool came = read_one();
    if (came && (large_came() || (guess_.to_be_doubted() && read_one()))) reading_ = reading::batches;
    return came;
}

void multishot_tap::look_on(bool came) {
    if (failed()) return;
    if (reading_ == reading::batches) {
        guess_.was_wrong();
        readable();
    } else if (came) {
        on().at_turn_end(turn_ends_); // when what coroutines make of it has been written
    } else if (guess_.at_once()) {
        on().io().submit(poll_);
    } else {
        arm();
    }
}

void multishot_tap::received(std::uint16_t buffer_id, std::size_t size) {
    frame f;
    try {
        f = small(size) ? copied(bytes(ring_->peek(buffer_id).span()).first(size))
                        : frame(ring_->take(buffer_id), 0, size);
    } catch (const std::bad_alloc&) {
        no_memory();
    }
    // take() has put another buffer in its place; in all other cases the same one serves again.
    if (small(size) || f.size() == 0) ring_->recycle(buffer_id);
    ring_->publish();
    if (f.size() != 0) deliver(std::move(f));
}

void multishot_tap::send(frame&& f) {
    if (idle_writes_.empty()) {
        was_full_ = true;
        no_room();
        return;
    }
    if (!prepare(f)) return;
    write& w = idle_writes_.pop_front();
    w.content = std::move(f);
    queued_.push_back(w);
    was_full_ = idle_writes_.empty();
}

// One frame alone is cheaper by a system call of its own than through the ring. It must not overtake those
// that are on their way.
void multishot_tap::flush(instant now) {
    if (queued_.empty()) return;
    if (writes_in_flight_ == 0 && &queued_.front() == &queued_.back()) {
        write& w = queued_.pop_front();
        io_operation::completion c;
        c.result = static_cast<std::int32_t>(write_now(w.content));
        ++writes_in_flight_;
        on_write(w, c);
        return has_gone(true);
    }
    const bool may_join = big_ && now >= join_from_;
    while (!queued_.empty()) submit(queued_.pop_front(), may_join, now);
    has_gone(false);
}

void multishot_tap::submit(write& w, bool may_join, instant now) {
    if (w.content.tail().empty()) {
        const bytes all = w.content.data();
        w.what = io_operation::kind::write;
        w.address = const_cast<std::byte*>(all.data());
        w.length = static_cast<std::uint32_t>(all.size());
    } else {
        w.parts.emplace(w.content);
        if (may_join && !queued_.empty() && big_->kernel_is(w.content.data(), now)) join(w);
        w.what = io_operation::kind::writev;
        w.address = const_cast<iovec*>(w.parts->parts().data());
        w.length = static_cast<std::uint32_t>(w.parts->parts().size());
    }
    ++writes_in_flight_;
    on().io().submit(w);
    // Each that has joined counts: buffers of 8 MB that wait to come back are cold when they do.
    reclaim_.submitted(w.content.size());
    for (const write& with : w.joined) reclaim_.submitted(with.content.size());
}

void multishot_tap::join(write& w) {
    for (std::uint32_t n = 1;
         n < most_joined_ && !queued_.empty() && w.parts->append(queued_.front().content); ++n)
        w.joined.push_back(queued_.pop_front());
}

void multishot_tap::on_write(write& w, const io_operation::completion& c) {
    --writes_in_flight_;
    if (!w.joined.empty() && refused(c.result)) return submit_apart(w);
    std::size_t frames = 0, size = 0;
    const std::size_t all = w.parts ? w.parts->size() : w.content.size();
    const auto give_back = [&](write& one) {
        ++frames;
        size += one.content.size();
        one.content = frame();
        one.parts.reset();
        idle_writes_.push_front(one); // the next one to serve: it is in the caches
    };
    while (!w.joined.empty()) give_back(w.joined.pop_front());
    give_back(w);
    wrote(c.result == static_cast<std::int64_t>(all) ? static_cast<std::int64_t>(size) : c.result, size,
          frames);
    if (std::exchange(was_full_, false) && ready()) writable_again();
}

// Not what happens to any frame. Memory for so much at once may be short for a while; before Linux 6.6 a TAP
// never had it.
bool multishot_tap::refused(std::int64_t outcome) {
    switch (-outcome) {
    case ENOBUFS:
    case ENOMEM: join_from_ = on().now() + 1s; return true;
    case EMSGSIZE:
    case EINVAL: big_.reset(); return true;
    default: return false;
    }
}

void multishot_tap::submit_apart(write& w) {
    w.parts->undo();
    intrusive_list<write> others;
    while (!w.joined.empty()) others.push_back(w.joined.pop_front());
    submit(w, false, on().now());
    while (!others.empty()) submit(others.pop_front(), false, on().now());
}

} // namespace tapir
