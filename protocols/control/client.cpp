#include <tapir/framework/kernel_stream.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/control/client.hpp>
#include <tapir/protocols/control/json.hpp>

#include <cerrno>
#include <unistd.h>
#include <utility>
#include <variant>
#include <vector>

namespace tapir::control {

namespace {

using outcome = std::expected<void, ask_failure>;

outcome failure(ask_problem p, const std::string& path, const std::string& why) {
    return std::unexpected(ask_failure(p, path + ": " + why));
}

task<result<>> send(kernel::stream* to, std::string_view text) {
    const write_result sent = co_await to->write(text);
    if (!sent) co_return sent.error();
    co_return result<>();
}

} // namespace

task<outcome> ask(std::string path, request what, row_handler each, ask_limits limits) {
    const auto at = kernel::address::parse("unix:" + path);
    if (!at) co_return failure(ask_problem::nobody, path, "is no path of a control socket");
    auto peer = co_await with_timeout(limits.silence, kernel::connect(*at));
    if (!peer) {
        const auto problem = peer.error() == errc::refused ? ask_problem::nobody : ask_problem::refused;
        co_return failure(problem, path, peer.error().message());
    }
    const auto who = peer->peer();
    if (!who || (::geteuid() != 0 && who->uid != 0 && who->uid != ::geteuid()))
        co_return failure(ask_problem::refused, path, "another user's process listens there");

    const std::string line = to_string(what) + "\n";
    const result<> sent = co_await with_timeout(limits.silence, send(&*peer, line));
    if (!sent) co_return failure(ask_problem::broken, path, sent.error().message());

    std::vector<std::byte> buffer(limits.max_line);
    std::string text;
    for (bool first = true;; first = false) {
        const result<std::size_t> n = co_await with_timeout(limits.silence, peer->read(buffer));
        // The kernel takes a dead process's sockets away after it.
        if (first && !n && n.error() == errc::reset)
            co_return failure(ask_problem::nobody, path, "the program has ended");
        if (!n) co_return failure(ask_problem::broken, path, n.error().message());
        if (*n == 0) co_return failure(ask_problem::broken, path, "the answer was cut");
        text += as_text(bytes(buffer).first(*n));
        std::size_t begin = 0;
        for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
            const std::string_view one = std::string_view(text).substr(begin, end - begin);
            const result<row> r = parse_row(one);
            if (!r) co_return failure(ask_problem::broken, path, "the answer is malformed");
            if (std::holds_alternative<end_row>(*r)) co_return outcome();
            if (const auto* e = std::get_if<error_row>(&*r))
                co_return failure(ask_problem::refused, path, e->error);
            each(*r, one);
        }
        text.erase(0, begin);
        if (text.size() > limits.max_line) co_return failure(ask_problem::broken, path, "a line is too long");
    }
}

} // namespace tapir::control
