// Any bytes as what an SMTP client says: cut anywhere, the conversation is the same; replies are replies;
// messages keep their limits, and no line in one ends with anything but CRLF.
#include <tapir/protocols/smtp/session.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/must.hpp"

using namespace tapir;
using fuzz::must;

extern "C" const int tapir_fuzz_bounded_runs = 30'000;

namespace {

smtp::config limits() {
    smtp::config c;
    c.command_bytes = 80;
    c.path_bytes = 40;
    c.text_line_bytes = 40;
    c.message_bytes = 400;
    c.recipients = 3;
    c.errors = 50;
    c.messages = 5;
    return c;
}

void check_replies(std::string_view all) {
    while (!all.empty()) {
        const std::size_t end = all.find("\r\n");
        must(end != std::string_view::npos && end >= 4);
        for (const char c : all.substr(0, 3)) must(c >= '0' && c <= '9');
        must(all[3] == ' ' || all[3] == '-');
        // What a client said may be repeated to it, but no line end of its own making.
        must(all.substr(0, end).find_first_of("\r\n") == std::string_view::npos);
        all.remove_prefix(end + 2);
    }
}

void check_message(const smtp::message& m, const smtp::config& c) {
    must(!m.helo.empty());
    must(!m.recipients.empty() && m.recipients.size() <= c.recipients);
    must(m.text.size() <= c.message_bytes);
    must(m.text.empty() || m.text.ends_with("\r\n"));
    std::size_t line = 0;
    for (std::size_t i = 0; i < m.text.size(); ++i) {
        const bool cr = m.text[i] == '\r';
        if (cr) must(m.text[i + 1] == '\n');
        if (m.text[i] == '\n') must(i > 0 && m.text[i - 1] == '\r');
        must(++line <= c.text_line_bytes);
        if (m.text[i] == '\n') line = 0;
    }
    for (const std::string& path : m.recipients) must(path.find_first_of("\r\n") == std::string::npos);
}

/// All that the server says to `input`, given in pieces; and what it took.
std::string converse(bytes input, std::size_t piece) {
    const smtp::config c = limits();
    smtp::text_memory texts;
    smtp::session s(c, "somebody", texts);
    std::string said;
    s.greet();
    while (!input.empty() && s.waits_for() != smtp::expecting::nothing) {
        const bytes next = input.first(std::min(piece, input.size()));
        const std::size_t used = s.put(next);
        must(used <= next.size());
        must(used == next.size() || s.waits_for() == smtp::expecting::verdict ||
             s.waits_for() == smtp::expecting::nothing);
        input = input.subspan(used);
        if (s.waits_for() == smtp::expecting::verdict) {
            check_message(s.received(), c);
            said += s.take_replies() + "[" + s.received().from + "|" + s.received().text + "]";
            s.decide({});
        }
        const std::string replies = s.take_replies();
        check_replies(replies);
        said += replies;
    }
    must(s.counted().errors <= c.errors && s.counted().messages <= c.messages);
    return said;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const bytes input = std::as_bytes(std::span(data, size));
    const std::string whole = converse(input, size + 1);
    must(converse(input, 1) == whole);
    must(converse(input, 7) == whole);
    return 0;
}
