// Any bytes as an HTTP response, cut in any way. The first three bytes decide how the rest is cut, how tight
// the limits are, and what was asked. How it is cut never changes the body, nor what is wrong with it.
#include <tapir/protocols/http/response_parser.hpp>
#include <tapir/protocols/http/url.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tests/fuzz/must.hpp"

using namespace tapir::http;
using tapir::fuzz::must;

namespace {

std::string outcome(std::string_view text, const limits& l, std::uint8_t cuts, bool to_head) {
    response_parser p(l, to_head);
    std::string body;
    std::uint32_t state = cuts;
    while (!text.empty() && p.failure() == problem::none && !p.done()) {
        state = state * 1'664'525 + 1'013'904'223; // pieces of 1 to 16 bytes; cuts of 0: all at once
        const std::size_t step = cuts == 0 ? text.size() : 1 + (state >> 28);
        std::string_view in = text.substr(0, step);
        while (!in.empty() && p.failure() == problem::none && !p.done()) {
            std::string_view piece;
            const std::size_t n = p.put(in, piece);
            must(n <= in.size() && piece.size() <= n);
            must(n != 0 || p.failure() != problem::none);
            body += piece;
            in.remove_prefix(n);
        }
        text.remove_prefix(std::min(step, text.size()));
    }
    if (p.failure() == problem::none) p.put_end();
    must(p.done() == (p.failure() == problem::none));
    must(body.size() <= l.body_bytes);
    if (p.done()) {
        must(p.head().status >= 101 && p.head().status <= 599);
        must(!to_head || body.empty());
        for (const field each : p.head().fields) must(is_token(each.name));
    }
    return body + "\n" + std::string(name_of(p.failure())) + std::to_string(p.done() ? p.persists() : 2);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 3) return 0;
    limits l;
    l.head_bytes = 128 + 2 * std::size_t{data[1]};
    l.field_count = 4 + data[1] / 16;
    l.body_bytes = data[1];
    l.chunk_overhead_bytes = data[1] / 2;
    const bool to_head = data[2] % 4 == 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 3, size - 3);
    must(outcome(text, l, 0, to_head) == outcome(text, l, static_cast<std::uint8_t>(data[0] | 1), to_head));

    if (const auto u = parse_url(text)) {
        must(!u->host.empty() && u->port != 0 && u->target.starts_with('/'));
        must(u->target.find_first_of(std::string_view("\0\r\n ", 4)) == std::string::npos);
    }
    return 0;
}
