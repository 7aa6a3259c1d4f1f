// The asking side of a control socket.
//
//     control::request what;
//     what.connections = true;
//     auto done = co_await control::ask(path, what, [](const control::row& r, std::string_view line) { ...
//     });
#pragma once

#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/control/request.hpp>
#include <tapir/protocols/control/rows.hpp>

#include <cstddef>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>

namespace tapir::control {

struct ask_limits {
    ask_limits() = default;
    /// How long the other side may say nothing.
    duration silence = 5s;
    /// For all of it, however often the other side says a little: what a program takes for its longest answer
    /// (config::answer_time, and request_time before it), and some more.
    duration total = 90s;
    /// The longest line is a connection with all its details, some 1.5 KB, or counters, some 4 KB.
    std::size_t max_line = 64 * 1024;
};

enum class ask_problem {
    nobody,  ///< no process listens there: it has ended, or there is no such path
    refused, ///< the system lets us not, the other side does not answer us, or it is not whom we trust
    broken,  ///< the answer was cut, malformed or too slow
};
struct ask_failure {
    ask_failure(ask_problem p, std::string t) : problem(p), text(std::move(t)) {}
    ask_problem problem;
    std::string text; ///< a sentence that names the path, printable
};

/// Every line but the last: what it means, and the line in printable ASCII. The texts in the row are as they
/// came.
using row_handler = std::function<void(const row&, std::string_view line)>;

/// One request, and its whole answer. Who answers must be root or `owner` (found_socket has one), as the
/// kernel knows him. Without an owner: root or this user; and anybody, if this user is root.
task<std::expected<void, ask_failure>> ask(std::string path, request what, row_handler each,
                                           ask_limits limits = ask_limits(),
                                           std::optional<uid_t> owner = std::nullopt);

} // namespace tapir::control
