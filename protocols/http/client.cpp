#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/http/client.hpp>
#include <tapir/protocols/http/response_parser.hpp>

#include <algorithm>
#include <string_view>
#include <vector>

namespace tapir::http::detail {
namespace {

/// Neither may hold what would end the line it stands in.
bool fits_in_a_line(std::string_view text) {
    return !text.empty() && std::none_of(text.begin(), text.end(), [](char c) {
        const auto u = static_cast<unsigned char>(c);
        return u <= 0x20 || u == 0x7f;
    });
}

std::string request_text(const std::string& method, const std::string& host, const std::string& target,
                         const client_config& config) {
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n";
    if (!config.fields.find("Accept")) text += "Accept: */*\r\n";
    for (const field each : config.fields)
        text.append(each.name).append(": ").append(each.value).append("\r\n");
    if (!config.keep_alive) text += "Connection: close\r\n";
    return text + "\r\n";
}

} // namespace

task<result<client_response>> exchange(transport& over, std::string method, std::string host,
                                       std::string target, body_sink sink, client_config config) {
    if (!fits_in_a_line(host) || !fits_in_a_line(target)) co_return errc::invalid_argument;
    promise_base& self = co_await this_coroutine;
    const std::string text = request_text(method, host, target, config);
    const instant head_deadline = self.reactor().now() + config.header_time;
    const result<> sent = co_await with_deadline(head_deadline, over.write(as_bytes(text)));
    // A server may answer and close without reading all: look for its answer before giving up.
    if (!sent && sent.error() == errc::deadline_exceeded) co_return sent.error();

    response_parser parser(config.limits, method == "HEAD");
    std::vector<std::byte> buffer(std::max<std::size_t>(config.read_buffer_bytes, 1));
    client_response out;
    bool excess = false;
    while (!parser.done()) {
        const instant deadline = parser.head_done() ? self.reactor().now() + config.idle_time : head_deadline;
        const result<std::size_t> n = co_await with_deadline(deadline, over.read(buffer));
        if (!n) co_return sent ? n.error() : sent.error();
        if (*n == 0) parser.put_end();
        std::string_view in = as_text(bytes(buffer).first(*n));
        while (!in.empty() && !parser.done() && parser.failure() == problem::none) {
            std::string_view piece;
            in.remove_prefix(parser.put(in, piece));
            out.body_bytes += piece.size();
            if (piece.empty() || !sink) continue;
            const result<> taken = sink(as_bytes(piece));
            if (!taken) co_return taken.error();
        }
        if (parser.failure() != problem::none) co_return make_error_code(parser.failure());
        excess = !in.empty(); // nothing was asked for that this could answer
    }
    static_cast<response_head&>(out) = parser.head();
    out.persists = config.keep_alive && parser.persists() && !excess;
    co_return out;
}

} // namespace tapir::http::detail
