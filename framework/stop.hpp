// Cancellation: a request that travels down the tree of coroutines. A source holds the request; a token looks
// at it; a callback is what a waiting operation hangs on the source to be told. Intrusive and not atomic: all
// of it stays on one reactor's thread.
//
// Every coroutine inherits the token of the one that awaits or spawned it. A stopped operation resumes its
// waiter with errc::cancelled through the ready queue, never from inside request_stop(). A source must
// outlive the tokens made from it; structured concurrency sees to that.
#pragma once

#include <tapir/framework/intrusive_list.hpp>

namespace tapir {

class stop_source;

/// Called once, when the source it hangs on is stopped. Deregisters itself when destroyed.
class stop_callback : public list_hook<stop_callback> {
  public:
    using handler = void (*)(stop_callback&);
    explicit stop_callback(handler on_stop) : on_stop_(on_stop) {}

  private:
    friend class stop_source;
    handler on_stop_;
};

/// A view of a source; the default token is never stopped.
class stop_token {
  public:
    stop_token() = default;
    bool stop_requested() const;
    bool stop_possible() const { return source_ != nullptr; }
    /// The source must not have been stopped yet.
    void add(stop_callback& callback) const;

  private:
    friend class stop_source;
    explicit stop_token(stop_source* source) : source_(source) {}
    stop_source* source_ = nullptr;
};

class stop_source {
  public:
    stop_source() : from_parent_(this) {}
    /// Stops too when `parent` is stopped (at once, if it is already).
    explicit stop_source(stop_token parent) : from_parent_(this) {
        if (parent.stop_requested()) {
            requested_ = true;
        } else {
            parent.add(from_parent_);
        }
    }
    stop_source(stop_source&&) = delete;
    stop_source& operator=(const stop_source&) = delete;

    bool stop_requested() const { return requested_; }
    stop_token token() { return stop_token(this); }

    /// Runs the callbacks in the order of their registration, each once. Idempotent.
    void request_stop() {
        if (requested_) return;
        requested_ = true;
        while (!callbacks_.empty()) {
            stop_callback& c = callbacks_.pop_front();
            c.on_stop_(c);
        }
    }

  private:
    friend class stop_token;
    struct parent_link : stop_callback {
        explicit parent_link(stop_source* source)
            : stop_callback([](stop_callback& c) { static_cast<parent_link&>(c).self->request_stop(); }),
              self(source) {}
        stop_source* self;
    };

    bool requested_ = false;
    parent_link from_parent_;
    intrusive_list<stop_callback, stop_callback> callbacks_;
};

inline bool stop_token::stop_requested() const {
    return source_ != nullptr && source_->requested_;
}

inline void stop_token::add(stop_callback& callback) const {
    if (source_ == nullptr) return;
    assert(!source_->requested_);
    source_->callbacks_.push_back(callback);
}

/// A token that is stopped when either of two others is.
class either_stop : private stop_callback {
  public:
    either_stop(stop_token a, stop_token b)
        : stop_callback([](stop_callback& c) { static_cast<either_stop&>(c).source_.request_stop(); }),
          source_(a) {
        if (b.stop_requested()) {
            source_.request_stop();
        } else {
            b.add(*this);
        }
    }
    stop_token token() { return source_.token(); }

  private:
    stop_source source_;
};

} // namespace tapir
