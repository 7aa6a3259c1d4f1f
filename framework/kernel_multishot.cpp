#include <tapir/framework/kernel_multishot.hpp>
#include <tapir/framework/uring_backend.hpp>

#include <algorithm>
#include <cerrno>
#include <new>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace tapir::kernel::detail {

void lasting_operation::begin(backend& io, shared_by_sockets& shared) {
    io_ = &io;
    shared_ = &shared;
    io.submit(*this);
}

void lasting_operation::end_early() {
    if (in_flight && !std::exchange(ending_, true)) io_->cancel(*this);
}

void lasting_operation::let_go(std::shared_ptr<void> owner) {
    end_early();
    keep_ = std::move(owner);
    shared_->let_go_.push_back(*this);
}

void lasting_operation::completed(const completion& c) {
    if (c.more || in_flight) return; // in flight: it has begun anew
    ending_ = false;
    unlink();
    const std::shared_ptr<void> last = std::move(keep_);
}

shared_by_sockets* shared_by_sockets::of(backend& io) {
    uring_backend* const ring = io.uring();
    if (ring == nullptr || !ring->multishot_sockets()) return nullptr;
    std::shared_ptr<void>& place = ring->companion();
    if (place == nullptr) place = std::make_shared<shared_by_sockets>(*ring);
    return static_cast<shared_by_sockets*>(place.get());
}

// The ring has nothing in flight any more, and calls nobody.
shared_by_sockets::~shared_by_sockets() {
    while (!let_go_.empty()) {
        const std::shared_ptr<void> last = std::move(let_go_.pop_front().keep_);
    }
}

pooled_buffer_ring* shared_by_sockets::buffers() {
    if (refused_) return nullptr;
    if (!ring_) {
        try {
            ring_.emplace(io_, pool_, receive_buffers, receive_buffer);
        } catch (const std::system_error&) {
            refused_ = true;
            return nullptr;
        }
    }
    return &*ring_;
}

receiver::receiver(int descriptor)
    : lasting_operation(kind::recv_multishot, [](io_operation& op, const completion& c) {
          static_cast<receiver&>(op).on_completion(c);
      }) {
    fd = descriptor;
}

bool receiver::lasts(backend& io) {
    if (in_flight) return true;
    shared_by_sockets* const common = large_ ? nullptr : shared_by_sockets::of(io);
    pooled_buffer_ring* const ring = common == nullptr ? nullptr : common->buffers();
    if (ring == nullptr) return false;
    buffer_group = ring->group();
    begin(io, *common);
    return true;
}

std::size_t receiver::take(mutable_bytes to) {
    std::size_t taken = 0;
    while (first_ < chunks_.size() && taken < to.size()) {
        chunk& c = chunks_[first_];
        const std::size_t n = std::min(c.size(), to.size() - taken);
        copy_bytes(to.subspan(taken), c.data().first(n));
        taken += n;
        c.drop_front(n);
        if (c.empty()) {
            c = chunk();
            ++first_;
        }
    }
    unread_ -= taken;
    if (first_ == chunks_.size()) {
        chunks_.clear();
        first_ = 0;
    }
    return taken;
}

void receiver::on_completion(const completion& c) {
    if (c.has_buffer) {
        received(c.buffer_id, c.result > 0 ? static_cast<std::size_t>(c.result) : 0);
        shared().ring().publish();
    }
    if (!c.more) ended(c.result);
    if (waiting_ != nullptr && (waiting_->got_ != 0 || unread_ != 0 || !in_flight)) {
        std::exchange(waiting_, nullptr)->wake();
    }
    completed(c);
}

void receiver::received(std::uint16_t id, std::size_t size) {
    pooled_buffer_ring& ring = shared().ring();
    std::size_t handed_on = 0;
    if (waiting_ != nullptr && waiting_->got_ == 0 && unread_ == 0) {
        handed_on = std::min(size, waiting_->to_.size());
        copy_bytes(waiting_->to_, bytes(ring.peek(id).span()).first(handed_on));
        waiting_->got_ = handed_on;
    }
    if (handed_on == size || was_let_go()) {
        ring.recycle(id);
    } else {
        try {
            chunks_.erase(chunks_.begin(),
                          chunks_.begin() + static_cast<std::ptrdiff_t>(std::exchange(first_, 0)));
            chunks_.reserve(chunks_.size() + 1);
            chunks_.emplace_back(ring.take(id), handed_on, size - handed_on);
            unread_ += size - handed_on;
        } catch (const std::bad_alloc&) { // a hole in the stream: it is over
            ring.recycle(id);
            fail(ENOMEM);
            end_early();
        }
    }
    large_ = large_ || size == receive_buffer;
    if (large_ || chunks_.size() >= most_unread) end_early();
}

void receiver::ended(int outcome) {
    switch (-outcome) {
    case ECANCELED:
    case ENOBUFS: // all buffers were in use at once; those that came are being given back
        return;
    case EINVAL: // no such operation here
    case EOPNOTSUPP: shared().refuse(); return;
    default: break;
    }
    if (outcome > 0) return; // ended all the same: the next call begins anew
    fail(-outcome);
}

void receiver::fail(int error) {
    over_ = true;
    if (error_ == 0) error_ = error;
}

acceptor::acceptor(int descriptor)
    : lasting_operation(kind::accept_multishot, [](io_operation& op, const completion& c) {
          static_cast<acceptor&>(op).on_completion(c);
      }) {
    fd = descriptor;
    flags = SOCK_CLOEXEC;
}

bool acceptor::lasts(backend& io) {
    if (in_flight || !unaccepted_.empty()) return true;
    shared_by_sockets* const common = shared_by_sockets::of(io);
    if (common == nullptr) return false;
    begin(io, *common);
    return true;
}

bool acceptor::take(result<std::uint32_t>& to) {
    if (unaccepted_.empty()) return false;
    to = static_cast<std::uint32_t>(unaccepted_.front());
    unaccepted_.erase(unaccepted_.begin());
    return true;
}

void acceptor::drop_unaccepted() {
    for (const int one : std::exchange(unaccepted_, {})) refuse(one);
}

// As the kernel does with those in its backlog.
void acceptor::refuse(int one) {
    const linger none{1, 0};
    ::setsockopt(one, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    ::close(one);
}

void acceptor::on_completion(const completion& c) {
    if (c.result >= 0) {
        if (was_let_go()) {
            refuse(c.result);
        } else if (waiting_.empty()) {
            unaccepted_.push_back(c.result);
            if (unaccepted_.size() >= most_unaccepted) end_early();
        } else {
            answer(static_cast<std::uint32_t>(c.result));
        }
    }
    if (!c.more) { // who still waits begins anew, or learns why not
        const bool well = c.result >= 0 || c.result == -ECANCELED;
        while (!waiting_.empty()) answer(errno_code(well ? EINTR : -c.result));
    }
    completed(c);
}

void acceptor::answer(result<std::uint32_t> outcome) {
    auto& first = static_cast<connection&>(waiting_.front());
    first.fd_ = outcome;
    first.wake();
}

acceptor::connection::~connection() {
    if (fd_) refuse(static_cast<int>(*fd_));
}

} // namespace tapir::kernel::detail
