// A whole HTTP conversation over a stream in memory, in virtual time. The first bytes decide how the client's
// words are cut, how long it pauses, how much the stream holds and what the handler does; the rest is what it
// says. However it is cut, the server answers the same; its answers are well-formed responses, no more of
// them than requests; and when the client has gone, nothing is left.
#include <tapir/framework/log.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/scope.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/framework/when_all.hpp>
#include <tapir/protocols/http/response_parser.hpp>
#include <tapir/protocols/http/server.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tests/fuzz/must.hpp"
#include "tests/support/pipe_stream.hpp"

using namespace tapir;
using fuzz::must;

extern "C" const int tapir_fuzz_bounded_runs = 6000;

namespace {

struct counted_body final : http::body_source {
    explicit counted_body(std::size_t n, bool told) : left(n), tells(told) {}
    task<result<std::size_t>> read(mutable_bytes to) override {
        const std::size_t n = std::min<std::size_t>({left, to.size(), 100});
        std::ranges::fill(to.first(n), std::byte{'b'});
        left -= n;
        co_return n;
    }
    std::optional<std::uint64_t> length() const override {
        return tells ? std::optional<std::uint64_t>(left) : std::nullopt;
    }
    std::size_t left;
    bool tells;
};

/// Decided by one letter of the target, so that few mutations find every kind.
task<http::response> answer(const http::request& asked) {
    const char what = asked.target.size() > 1 ? asked.target[1] : ' ';
    if (what == 'f') throw std::runtime_error("the handler fails");
    if (what == 'c' || what == 'k') { // with a length, or chunked
        http::response r(200);
        r.set_body(std::make_unique<counted_body>(300, what == 'c'));
        co_return r;
    }
    if (what == 'n') co_return http::response(204);
    co_return http::response(200, "text/plain", asked.method + " " + asked.body + "\n");
}

struct cuts {
    std::uint8_t size;    ///< pieces of 1 to this many bytes, 0: all at once
    std::uint8_t pause;   ///< milliseconds between them
    std::size_t capacity; ///< of each direction of the stream
};

/// All that the server says to `text`, and what it counted.
std::string conversation(std::string_view text, const cuts& how, const http::server_config& config,
                         http::server_control& control) {
    reactor loop(make_sim_backend());
    test::pipe_options options;
    options.capacity = how.capacity;
    test::pipe_listener listener(options);
    std::string heard;
    auto serve = [&]() -> task<> { (void)co_await http::serve(listener, answer, config, control); };
    auto body = [&](scope& s) -> task<> {
        s.spawn(serve);
        test::pipe_stream client = listener.connect();
        auto speak = [&]() -> task<> {
            std::uint32_t state = how.size;
            for (std::string_view rest = text; !rest.empty();) {
                state = state * 1'664'525 + 1'013'904'223;
                const std::size_t n = how.size == 0
                                          ? rest.size()
                                          : std::min<std::size_t>(1 + (state >> 16) % how.size, rest.size());
                if (!co_await client.write(rest.substr(0, n))) break; // the server has had enough
                rest.remove_prefix(n);
                if (how.pause != 0) (void)co_await sleep_for(std::chrono::milliseconds(how.pause));
            }
            (void)co_await client.finish();
        };
        auto listen = [&]() -> task<> {
            std::array<std::byte, 512> piece;
            for (;;) {
                const auto n = co_await client.read(piece);
                if (!n || *n == 0) co_return;
                heard += as_text(bytes(piece).first(*n));
            }
        };
        (void)co_await when_all(speak(), listen());
        control.stop(loop.now() + 1s);
    };
    loop.run(with_scope(body));
    must(control.connections() == 0);
    return heard;
}

/// 100 Continue is sent unless the body has begun to come: only that depends on how words are cut.
/// [RFC 9110 10.1.1]
std::string without_interim(std::string text) {
    constexpr std::string_view interim = "HTTP/1.1 100 Continue\r\n\r\n";
    for (std::size_t at; (at = text.find(interim)) != std::string::npos;) text.erase(at, interim.size());
    return text;
}

/// How many final responses `text` holds; all of it must be responses, whole.
std::uint64_t responses_in(std::string_view text) {
    std::uint64_t n = 0;
    while (!text.empty()) {
        must(text.starts_with("HTTP/1.1 "));
        const std::size_t end = text.find("\r\n\r\n");
        must(end != std::string_view::npos);
        const std::string_view head = text.substr(0, end);
        must(head.find('\0') == std::string_view::npos);
        const char status = head[9];
        must(status >= '1' && status <= '5');
        if (status != '1') ++n;
        text.remove_prefix(end + 4);
        const std::size_t length = head.find("Content-Length: ");
        if (length != std::string_view::npos) {
            std::size_t bytes = 0;
            for (std::size_t i = length + 16; i < head.size() && head[i] >= '0' && head[i] <= '9'; ++i)
                bytes = 10 * bytes + static_cast<std::size_t>(head[i] - '0');
            must(bytes <= text.size());
            text.remove_prefix(bytes);
        } else if (head.find("Transfer-Encoding: chunked") != std::string_view::npos) {
            const std::size_t last = text.find("0\r\n\r\n");
            must(last != std::string_view::npos);
            text.remove_prefix(last + 5);
        } else if (status != '1' && head.substr(9, 3) != "204" && head.substr(9, 3) != "304") {
            return n; // a body that the end of the stream ends
        }
    }
    return n;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 4 || size > 4000) return 0;
    log::set_sink([](log::level, std::string_view) {});
    const std::string_view text(reinterpret_cast<const char*>(data) + 4, size - 4);
    http::server_config config;
    config.limits.body_bytes = 2000;
    config.limits.head_bytes = 600;
    config.read_buffer_bytes = 64 + std::size_t{data[2]};
    config.send_buffer_bytes = 1 + std::size_t{data[3]};
    config.max_requests = 20;

    const cuts whole{0, 0, 64 * 1024};
    const cuts pieces{data[0], static_cast<std::uint8_t>(data[1] % 3), 16 + std::size_t{data[1]} * 4};
    http::server_control first;
    http::server_control second;
    const std::string at_once = without_interim(conversation(text, whole, config, first));
    const std::string cut = without_interim(conversation(text, pieces, config, second));
    must(first.counters().requests == second.counters().requests);
    must(at_once == cut);
    std::uint64_t refused = 0;
    for (const std::uint64_t n : first.counters().malformed) refused += n;
    must(refused <= 1);
    if (text.find("HEAD") == std::string_view::npos) // whose answers have no body: not to be told from here
        must(responses_in(at_once) <= first.counters().requests + refused + first.counters().header_timeouts +
                                          first.counters().body_timeouts);
    must(first.counters().malformed == second.counters().malformed);
    return 0;
}
