#include <tapir/framework/fiber.hpp>
#include <tapir/framework/fiber_stack.hpp>
#include <tapir/framework/frame_pool.hpp>

#include <boost/context/detail/fcontext.hpp>

#include <cassert>
#include <cstring>
#include <cxxabi.h>
#include <stdexcept>

#if defined(__SANITIZE_ADDRESS__)
#define TAPIR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TAPIR_ASAN 1
#endif
#endif
#ifdef TAPIR_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

// The bare switch of Boost.Context, not its fiber class: that one switches on creation too and unwinds by an
// exception of its own, in places where neither the sanitizer nor the exception state can be told.

namespace tapir::detail {

namespace {

namespace context = boost::context::detail;

thread_local fiber* running = nullptr;

/// Unwinds a fiber that will never run on. Not a std::exception: nobody shall handle it.
struct fiber_unwind {};

/// Which exceptions are being handled, and how many are under way. The runtime keeps it per thread (the
/// Itanium ABI's __cxa_eh_globals), but it belongs to a stack.
struct exception_state {
    void* caught = nullptr;
    unsigned uncaught = 0;
};

void swap_with_thread(exception_state& mine) {
    auto* global = reinterpret_cast<exception_state*>(abi::__cxa_get_globals());
    std::swap(*global, mine);
}

/// One side of a switch, as AddressSanitizer wants to be told of it.
struct stack_side {
    const void* bottom = nullptr;
    std::size_t size = 0;
    void* fake = nullptr;
};

inline void leave(void** fake, const stack_side& to) {
#ifdef TAPIR_ASAN
    __sanitizer_start_switch_fiber(fake, to.bottom, to.size);
#else
    (void)fake, (void)to;
#endif
}

inline void arrive(void* fake, stack_side* from) {
#ifdef TAPIR_ASAN
    __sanitizer_finish_switch_fiber(fake, from == nullptr ? nullptr : &from->bottom,
                                    from == nullptr ? nullptr : &from->size);
#else
    (void)fake, (void)from;
#endif
}

} // namespace

struct fiber::state {
    state(std::size_t stack_size, entry b, void* a) : stack(stack_size), body(b), argument(a) {
        inside = context::make_fcontext(stack.top(), stack.size(), &begin);
        inner.bottom = stack.bottom();
        inner.size = stack.size();
    }

    // Kept for reuse like the stack, so that a fiber costs no malloc once the program is warm.
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* s, std::size_t size) noexcept { free_frame(s, size); }

    // Without instrumentation: its frame is made before the sanitizer knows of this stack.
    __attribute__((no_sanitize_address)) static void begin(context::transfer_t from) {
        auto& self = *static_cast<state*>(from.data);
        self.outside = from.fctx;
        arrive(nullptr, &self.outer);
        self.run();
        leave(nullptr, self.outer); // this stack's fake frames go
        context::jump_fcontext(self.outside, nullptr);
        __builtin_unreachable();
    }

    __attribute__((noinline)) void run() noexcept {
        body(argument);
        ended = true;
    }

    fiber_stack stack;
    entry body;
    void* argument;
    context::fcontext_t inside = nullptr;  ///< where the fiber goes on
    context::fcontext_t outside = nullptr; ///< where its owner does
    stack_side inner;
    stack_side outer;
    exception_state exceptions; ///< the fiber's while it is switched out, else its owner's
    task<>* pending = nullptr;
    bool started = false;
    bool ended = false;
    bool unwinding = false;
};

fiber::fiber(promise_base& owner, std::size_t stack_size, entry body, void* argument)
    : owner_(owner), state_(std::make_unique<state>(stack_size, body, argument)) {}

fiber::~fiber() {
    state_->unwinding = true;
    while (state_->started && !state_->ended) resume();
}

task<>* fiber::resume() {
    state& s = *state_;
    assert(!s.ended);
    s.started = true;
    s.pending = nullptr;
    fiber* const before = std::exchange(running, this);
    swap_with_thread(s.exceptions);
    leave(&s.outer.fake, s.inner);
    s.inside = context::jump_fcontext(s.inside, &s).fctx;
    arrive(s.outer.fake, nullptr);
    swap_with_thread(s.exceptions);
    running = before;
    return s.pending;
}

fiber& fiber::current() {
    if (running == nullptr)
        throw std::logic_error(
            "fiber_await() outside of a fiber: only code that runs below run_in_fiber() may "
            "call it; a coroutine uses co_await");
    return *running;
}

void fiber::await(task<>& work) {
    state& s = *state_;
    if (!s.unwinding) {
        s.pending = &work;
        leave(&s.inner.fake, s.outer);
        s.outside = context::jump_fcontext(s.outside, nullptr).fctx;
        arrive(s.inner.fake, &s.outer);
    }
    if (s.unwinding) throw fiber_unwind();
}

} // namespace tapir::detail
