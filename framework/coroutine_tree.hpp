// Every live coroutine of a reactor, as a tree: who awaits whom, where it was written, where it waits and for
// what.
//
//     serve(tapir::tcp::listener) server.cpp:41, at server.cpp:44: tcp accept
//     └─ answer(tapir::tcp::connection) server.cpp:20, at server.cpp:25: tcp read
#pragma once

#include <string>

namespace tapir {

class promise_base;
class reactor;

/// One line for each coroutine, children indented below their parents: first whom it awaits, then whom it has
/// spawned, in the order in which they were. Of whoever runs now, and has not waited since it was called,
/// only if it has awaited this_coroutine.
std::string coroutine_tree(reactor& of);

/// `who` and those that wait for it, innermost first, one line each: a stack trace of coroutines.
std::string coroutine_chain(const promise_base& who);

} // namespace tapir
