#include <tapir/framework/log.hpp>
#include <tapir/protocols/smtp/server.hpp>

namespace tapir::smtp::detail {

task<result<>> ask(const handler* h, const message* m, server_counters* count) {
    std::string what;
    try {
        co_return co_await (*h)(*m);
    } catch (const std::exception& e) {
        what = e.what();
    } catch (...) {
        what = "an exception of an unknown type";
    }
    ++count->handler_failures;
    log::error("a message from " + m->client + " was not taken: " + what);
    co_return errc::aborted;
}

instant deadline(const session& s, const config& c, instant since, instant now) {
    if (s.waits_for() == expecting::command) return after(since, c.command_time);
    return std::min(after(now, c.data_block_time), after(since, c.data_time));
}

} // namespace tapir::smtp::detail
