#include "tests/simulation/conversation.hpp"

#include <tapir/protocols/tcp/state.hpp>

#include <algorithm>

namespace tapir::test {

namespace {

constexpr std::size_t most_rows = 10'000;

std::string padded(std::string text, std::size_t width) {
    text.resize(std::max(text.size(), width), ' ');
    return text;
}

std::string flags_of(const tcp::header& h) {
    std::string text;
    const auto add = [&](bool set, const char* name) {
        if (set) text += (text.empty() ? "" : ",") + std::string(name);
    };
    add(h.syn(), "SYN");
    add(h.fin(), "FIN");
    add(h.rst(), "RST");
    add(h.has_ack(), "ACK");
    return text;
}

std::string relative(const std::optional<tcp::seq>& first, char letter, tcp::seq s) {
    if (!first) return "?";
    const std::uint32_t n = s - *first;
    return n == 0 ? std::string(1, letter) : std::string(1, letter) + "+" + std::to_string(n);
}

} // namespace

void conversation_table::restart(instant now) {
    const tcp::state listening = server_.state;
    *this = conversation_table();
    start_ = now;
    if (listening == tcp::state::listen) server_.state = listening;
}

void conversation_table::turn_page(instant now) {
    rows_.clear();
    start_ = now;
}

void conversation_table::add(instant at, std::string what, std::string segment, side by) {
    if (rows_.size() >= most_rows) return;
    std::string ms = std::to_string((at - start_) / 1ms);
    ms.insert(0, ms.size() < 6 ? 6 - ms.size() : 0, ' ');
    row r;
    r.line = ms + " ms  " + padded(std::string(name(client_.state)), 13) + " " +
             padded(std::string(name(server_.state)), 13) + " " + what + "\n";
    r.segment = std::move(segment);
    r.by = by;
    rows_.push_back(std::move(r));
}

void conversation_table::sent(side by, const tcp::outgoing_segment& s, instant now) {
    const tcp::header& h = s.header;
    ends& self = of(by);
    const ends& other = of(by == side::client ? side::server : side::client);
    const char own_letter = by == side::client ? 'J' : 'K';
    const char other_letter = by == side::client ? 'K' : 'J';
    if (h.syn() && !self.first) self.first = h.seq;
    std::string text = flags_of(h) + " seq " + relative(self.first, own_letter, h.seq);
    if (h.has_ack()) text += " ack " + relative(other.first, other_letter, h.ack);
    if (s.payload_size != 0) text += " len " + std::to_string(s.payload_size);
    add(now, (by == side::client ? "--> " : "<-- ") + text, text, by);
}

void conversation_table::changed(side by, const tcp::edge& e) {
    of(by).state = e.to;
    add(e.when, std::string(name(e.cause)), "", by);
}

std::string conversation_table::text() const {
    std::string out;
    for (const row& r : rows_) out += r.line;
    return out;
}

std::size_t conversation_table::sent_by(side by, std::string_view like) const {
    return static_cast<std::size_t>(std::ranges::count_if(rows_, [&](const row& r) {
        return r.by == by && !r.segment.empty() && r.segment.find(like) != std::string::npos;
    }));
}

} // namespace tapir::test
