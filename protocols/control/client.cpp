#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/control/client.hpp>
#include <tapir/protocols/control/json.hpp>
#include <tapir/protocols/control/printable.hpp>

#include <algorithm>
#include <chrono>
#include <unistd.h>
#include <utility>
#include <variant>
#include <vector>

namespace tapir::control {

namespace {

using outcome = std::expected<void, ask_failure>;

outcome failure(ask_problem p, const std::string& path, const std::string& why) {
    return std::unexpected(ask_failure(p, printable(path + ": " + why)));
}

std::string in_words(duration d) {
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(d).count()) + " ms";
}

/// Why `who` is not asked; empty if he is.
std::string objection_to(const result<kernel::credentials>& who, std::optional<uid_t> owner) {
    if (!who) return "nobody knows whose process listens there: " + who.error().message();
    const uid_t us = ::geteuid();
    const bool trusted = owner ? who->uid == *owner : us == 0 || who->uid == us;
    if (who->uid == 0 || trusted) return {};
    return "user " + std::to_string(who->uid) + "'s process listens there, not user " +
           std::to_string(owner.value_or(us)) + "'s";
}

task<result<>> send(kernel::stream* to, std::string_view text) {
    const write_result sent = co_await to->write(text);
    if (!sent) co_return sent.error();
    co_return result<>();
}

} // namespace

task<outcome> ask(std::string path, request what, row_handler each, ask_limits limits,
                  std::optional<uid_t> owner) {
    const auto at = kernel::address::parse("unix:" + path);
    if (!at) co_return failure(ask_problem::nobody, path, "is no path of a control socket");
    promise_base& self = co_await this_coroutine;
    const instant end = after(self.reactor().now(), limits.total);
    auto peer = co_await with_timeout(limits.silence, kernel::connect(*at));
    if (!peer) {
        const auto problem = peer.error() == errc::refused ? ask_problem::nobody : ask_problem::refused;
        co_return failure(problem, path, peer.error().message());
    }
    if (const std::string why = objection_to(peer->peer(), owner); !why.empty())
        co_return failure(ask_problem::refused, path, why);

    const std::string line = to_string(what) + "\n";
    const result<> sent = co_await with_timeout(limits.silence, send(&*peer, line));
    if (!sent) co_return failure(ask_problem::broken, path, sent.error().message());

    std::vector<std::byte> buffer(limits.max_line);
    std::string text;
    for (bool first = true;; first = false) {
        const instant patience = std::min(after(self.reactor().now(), limits.silence), end);
        const result<std::size_t> n = co_await with_deadline(patience, peer->read(buffer));
        // The kernel takes a dead process's sockets away after it.
        if (first && !n && n.error() == errc::reset)
            co_return failure(ask_problem::nobody, path, "the program has ended");
        if (!n && n.error() == errc::deadline_exceeded)
            co_return failure(ask_problem::broken, path,
                              patience == end ? "the answer has no end after " + in_words(limits.total)
                                              : "nothing has come for " + in_words(limits.silence));
        if (!n) co_return failure(ask_problem::broken, path, n.error().message());
        if (*n == 0) co_return failure(ask_problem::broken, path, "the answer was cut");
        text += as_text(bytes(buffer).first(*n));
        std::size_t begin = 0;
        for (std::size_t stop; (stop = text.find('\n', begin)) != std::string::npos; begin = stop + 1) {
            const std::string_view one = std::string_view(text).substr(begin, stop - begin);
            const result<row> r = parse_row(one);
            if (!r) co_return failure(ask_problem::broken, path, "the answer is malformed");
            if (std::holds_alternative<end_row>(*r)) co_return outcome();
            if (const auto* e = std::get_if<error_row>(&*r))
                co_return failure(ask_problem::refused, path, e->error);
            each(*r, printable_json(one));
        }
        text.erase(0, begin);
        if (text.size() > limits.max_line) co_return failure(ask_problem::broken, path, "a line is too long");
    }
}

} // namespace tapir::control
