// Any bytes as a stream of HTTP requests, cut in any way. The first two bytes decide how the rest is cut and
// how tight the limits are. How it is cut never changes what is parsed, nor what is wrong with it; no byte is
// consumed twice or skipped; whatever is accepted keeps to the limits and to the rules a handler relies on.
#include <tapir/protocols/http/conditional.hpp>
#include <tapir/protocols/http/date.hpp>
#include <tapir/protocols/http/request_parser.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tests/fuzz/must.hpp"

using namespace tapir::http;
using tapir::fuzz::must;

namespace {

void check_request(const request& r, const limits& l) {
    must(is_token(r.method));
    must(!r.target.empty() && r.target.find_first_of(std::string_view("\0\r\n ", 4)) == std::string::npos);
    must(r.path() == "*" || r.path().starts_with('/') || !r.target.starts_with('/'));
    must(r.body.size() <= l.body_bytes);
    must(r.fields.size() <= l.field_count);
    must(r.minor == 0 || r.fields.count("Host") == 1);
    must(r.fields.count("Content-Length") + r.fields.count("Transfer-Encoding") <= 1);
    for (const field each : r.fields) {
        must(is_token(each.name));
        must(each.value.find_first_of(std::string_view("\0\r\n", 3)) == std::string_view::npos);
        must(each.value == trimmed(each.value));
    }
    const validators v("\"a\"", 784111777);
    (void)evaluate(r, v);
    const byte_range range = requested_range(r, v, 1000);
    must(range.first + range.length <= 1000);
    must((range.what == byte_range::kind::unsatisfiable) == (range.length == 0));
}

std::string outcome(std::string_view text, const limits& l, std::uint8_t cuts) {
    request_parser p(l);
    std::string out;
    std::uint32_t state = cuts;
    while (!text.empty() && p.failure() == problem::none) {
        state = state * 1'664'525 + 1'013'904'223; // pieces of 1 to 16 bytes; cuts of 0: all at once
        const std::size_t step = cuts == 0 ? text.size() : 1 + (state >> 28);
        std::string_view in = text.substr(0, step);
        while (!in.empty() && p.failure() == problem::none) {
            const std::size_t n = p.put(in);
            must(n <= in.size());
            must(n != 0 || p.failure() != problem::none || p.done());
            in.remove_prefix(n);
            if (!p.done()) continue;
            check_request(p.get(), l);
            out += p.get().method + " " + p.get().target + "\n" + p.get().body + "\n";
            p.reset();
        }
        text.remove_prefix(std::min(step, text.size()));
    }
    if (p.failure() == problem::none) p.put_end();
    if (p.failure() != problem::none) must(status_of(p.failure()) >= 400);
    return out + std::string(name_of(p.failure()));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    limits l;
    l.request_line_bytes = 64 + std::size_t{data[1]};
    l.head_bytes = 128 + 2 * std::size_t{data[1]};
    l.field_count = 4 + data[1] / 16;
    l.body_bytes = data[1];
    l.chunk_overhead_bytes = data[1] / 2;
    const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
    must(outcome(text, l, 0) == outcome(text, l, static_cast<std::uint8_t>(data[0] | 1)));

    const auto date = parse_date(text, 784111777);
    if (date) must(parse_date(format_date(*date), 0) == *date);
    return 0;
}
