// Both ends of a control socket. What a client sends, cut anywhere, is answered the same as when it comes at
// once: a whole answer of rows, or one error. What a server might send is understood or refused, and what is
// understood can be written, read again, and printed without anything that a terminal obeys.
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/protocols/control/columns.hpp>
#include <tapir/protocols/control/json.hpp>
#include <tapir/protocols/control/session.hpp>
#include <tapir/protocols/host/host.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tests/fuzz/must.hpp"

using namespace tapir;
using fuzz::must;

extern "C" const int tapir_fuzz_bounded_runs = 8000;

namespace {

/// A host with a listener and a few connections; made once, nothing changes it.
class asked_host {
  public:
    asked_host() : loop_(make_sim_backend()), host_(loop_) {
        const auto here = ip::address::v4(192, 0, 2, 2);
        listening_ = std::move(*host_.tcp().listen(ip::endpoint({}, 80), {}, loop_.now()));
        for (std::uint8_t i = 1; i <= 5; ++i)
            held_.push_back(std::move(*host_.tcp().connect(
                tcp::path(here, ip::address::v4(192, 0, 2, i + 10), 0), 80, 1000, {}, loop_.now())));
    }
    static asked_host& instance() {
        static asked_host h;
        return h;
    }
    host& get() { return host_; }

  private:
    reactor loop_;
    host host_;
    std::unique_ptr<tcp::listening_endpoint> listening_;
    std::vector<std::unique_ptr<tcp::endpoint>> held_;
};

std::string answer_to(std::string_view request, std::size_t step, const control::config& limits,
                      control::counters& n) {
    control::session s(asked_host::instance().get(), limits, n);
    while (!request.empty() && s.wants_input()) {
        s.put(as_bytes(request.substr(0, step)));
        request.remove_prefix(std::min(step, request.size()));
    }
    if (s.wants_input()) s.put_end();
    must(!s.wants_input());
    std::string all;
    std::string piece;
    for (int pieces = 0; s.next_piece(piece); ++pieces) {
        must(pieces < 1000);
        must(std::ranges::count(piece, '\n') <= static_cast<std::ptrdiff_t>(limits.rows_per_piece) + 32);
        all += piece;
    }
    return all;
}

void client(const std::uint8_t* data, std::size_t size) {
    control::config limits;
    limits.program = "fuzz";
    limits.rows_per_piece = 1 + data[0] % 7u;
    limits.max_request_bytes = 16 + std::size_t{data[1]};
    const std::string_view request(reinterpret_cast<const char*>(data) + 2, size - 2);
    control::counters first;
    control::counters second;
    const std::string at_once = answer_to(request, SIZE_MAX, limits, first);
    const std::string cut = answer_to(request, 1 + data[1] % 5u, limits, second);
    must(at_once == cut);
    must(first.requests + first.malformed <= 1 && first.requests == second.requests);
    must(at_once.empty() == (first.requests + first.malformed == 0));
    std::uint64_t rows = 0;
    bool ended = at_once.empty();
    for (std::size_t at = 0, end; (end = at_once.find('\n', at)) != std::string::npos; at = end + 1) {
        must(!ended); // nothing follows
        const auto r = control::parse_row(std::string_view(at_once).substr(at, end - at));
        must(r.has_value());
        if (const auto* last = std::get_if<control::end_row>(&*r)) must(last->rows == rows);
        ended =
            std::holds_alternative<control::end_row>(*r) || std::holds_alternative<control::error_row>(*r);
        if (!std::holds_alternative<control::process_row>(*r)) ++rows;
    }
    must(ended);
    must(at_once.empty() || at_once.back() == '\n');
}

void server(std::string_view line) {
    const auto r = control::parse_row(line);
    if (!r) {
        must(r.error() == errc::malformed);
        return;
    }
    if (std::holds_alternative<std::monostate>(*r)) return;
    const auto again = control::parse_row(control::to_json(*r));
    must(again.has_value() && *again == *r);

    control::column_options all;
    all.program = all.timers = all.owner = all.info = true;
    control::process_row of;
    of.program = line;
    std::string text;
    if (const auto* t = std::get_if<control::tcp_row>(&*r)) text = columns_of(*t, of, all);
    if (const auto* u = std::get_if<control::udp_row>(&*r)) text = columns_of(*u, of, all);
    if (const auto* c = std::get_if<control::counters_row>(&*r)) text = text_of(*c, true);
    must(std::ranges::all_of(text, [](char c) { return c == '\n' || c == '\t' || (c >= ' ' && c <= '~'); }));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    if (data[0] == '{') {
        server(std::string_view(reinterpret_cast<const char*>(data), size));
    } else {
        client(data, size);
    }
    return 0;
}
