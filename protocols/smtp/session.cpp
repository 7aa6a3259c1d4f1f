#include <tapir/protocols/smtp/session.hpp>

#include <algorithm>
#include <charconv>
#include <utility>

namespace tapir::smtp {

session::session(const config& c, std::string client, text_memory& of_all) : config_(c), of_all_(of_all) {
    message_.client = std::move(client);
}

void session::reply(std::string_view code_and_text) {
    replies_ += code_and_text;
    replies_ += "\r\n";
}

void session::reply_error(std::string_view code_and_text) {
    reply(code_and_text);
    if (++count_.errors >= config_.errors) end("421 " + config_.host_name + " Too many errors");
}

void session::end(std::string_view code_and_text) {
    reply(code_and_text);
    expecting_ = expecting::nothing;
}

void session::greet() {
    reply("220 " + config_.host_name + " ESMTP");
}
void session::time_out() {
    end("421 " + config_.host_name + " Timeout, closing");
}
void session::shut_down() {
    end("421 " + config_.host_name + " Shutting down");
}
void session::refuse() {
    end("421 " + config_.host_name + " Too many connections, try again later");
}

/// The transaction is over, in whatever way. [RFC 5321 4.1.1.5]
void session::reset() {
    in_mail_ = false;
    message_.from.clear();
    message_.recipients.clear();
    drop_text(); // a client between two messages keeps no memory
}

// A line ends with CRLF, and with nothing else [RFC 5321 2.3.8 MUST]: whoever takes a bare LF for an end, as
// the next server may, sees other commands in the same bytes.
std::size_t session::put(bytes input) {
    std::size_t used = 0;
    while (used < input.size() && (expecting_ == expecting::command || expecting_ == expecting::text)) {
        const char c = as_text(input)[used++];
        if (expecting_ == expecting::command)
            put_command_byte(c);
        else
            put_text_byte(c);
    }
    return used;
}

// --- commands ----------------------------------------------------------------------------------------------

void session::put_command_byte(char c) {
    const bool after_cr = line_.ends_with('\r');
    if (c == '\n' && after_cr) {
        line_.pop_back();
        const std::string line = std::exchange(line_, std::string());
        const bool too_long = std::exchange(too_long_, false);
        const bool bare_break = std::exchange(bare_break_, false);
        if (too_long)
            reply_error("500 Line too long"); // [RFC 5321 4.5.3.1.9]
        else if (bare_break)
            reply_error("500 Lines end with CRLF");
        else
            command_line(line);
        return;
    }
    if (c == '\n' || after_cr) bare_break_ = true;
    if (line_.size() + (c == '\r' ? 2 : 3) > config_.command_bytes) {
        too_long_ = true;
        line_.clear();
    }
    line_ += c;
}

void session::command_line(std::string_view line) {
    const command c = parse_command(line);
    switch (c.verb) {
    case verb::ehlo: return on_ehlo(c.argument);
    case verb::helo: return on_helo(c.argument);
    case verb::mail: return on_mail(c.argument);
    case verb::rcpt: return on_rcpt(c.argument);
    case verb::data: return on_data(c.argument);
    case verb::rset:
        if (!c.argument.empty()) return reply_error("501 RSET takes no argument");
        reset();
        return reply("250 OK");
    case verb::noop: return reply("250 OK"); // [RFC 5321 4.1.1.9]: whatever its argument
    case verb::vrfy:
        if (c.argument.empty()) return reply_error("501 VRFY whom?");
        return reply("252 Cannot verify, but will take the message"); // [RFC 5321 3.5.3]
    case verb::help: return reply("214 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT, as in RFC 5321");
    case verb::quit:
        if (!c.argument.empty()) return reply_error("501 QUIT takes no argument");
        return end("221 " + config_.host_name + " Goodbye");
    case verb::not_implemented: return reply_error("502 Not implemented");
    case verb::unknown: return reply_error("500 Unknown command");
    }
}

void session::on_ehlo(std::string_view argument) {
    if (argument.empty()) return reply_error("501 EHLO who?");
    reset(); // [RFC 5321 4.1.4]: as RSET
    message_.helo = argument;
    extended_ = true;
    reply("250-" + config_.host_name);
    reply("250-PIPELINING");
    reply("250-8BITMIME");
    reply("250 SIZE " + std::to_string(config_.message_bytes));
}

void session::on_helo(std::string_view argument) {
    if (argument.empty()) return reply_error("501 HELO who?");
    reset();
    message_.helo = argument;
    extended_ = false;
    reply("250 " + config_.host_name);
}

void session::on_mail(std::string_view argument) {
    if (message_.helo.empty()) return reply_error("503 EHLO or HELO first"); // [RFC 5321 4.1.4]
    if (in_mail_) return reply_error("503 A transaction has begun already; RSET ends it");
    if (messages_begun_ >= config_.messages)
        return end("421 " + config_.host_name + " Enough messages for one connection");
    const auto p = parse_path(argument, "FROM:", config_);
    if (!p) return reply_error("501 Not as in MAIL FROM:<user@example.org>");
    if (p->mailbox == "Postmaster") return reply_error("501 A sender needs a domain");
    for (const parameter& one : p->parameters) {
        if (extended_ && one.keyword == "SIZE") { // [RFC 1870]
            std::uint64_t size = 0;
            const char* const last = one.value.data() + one.value.size();
            const auto read = std::from_chars(one.value.data(), last, size);
            if (read.ec == std::errc::invalid_argument || read.ptr != last)
                return reply_error("501 SIZE is not a number");
            if (read.ec != std::errc() || size > config_.message_bytes)
                return reply_error("552 Too large: at most " + std::to_string(config_.message_bytes) +
                                   " bytes");
            if (!of_all_.take(size, config_.total_message_bytes)) // [RFC 1870 6.1]
                return reply("452 No room for it now");
            of_all_.give_back(size);                     // no promise: others may be faster
        } else if (extended_ && one.keyword == "BODY") { // [RFC 6152]
            if (!same_but_case(one.value, "7BIT") && !same_but_case(one.value, "8BITMIME"))
                return reply_error("501 BODY is 7BIT or 8BITMIME");
        } else {
            return reply_error("555 Unknown parameter " + one.keyword); // [RFC 5321 4.1.1.11]
        }
    }
    in_mail_ = true;
    ++messages_begun_;
    message_.from = p->mailbox;
    reply("250 OK");
}

void session::on_rcpt(std::string_view argument) {
    if (!in_mail_) return reply_error("503 MAIL first");
    const auto p = parse_path(argument, "TO:", config_);
    if (!p || p->mailbox.empty()) return reply_error("501 Not as in RCPT TO:<user@example.org>");
    if (!p->parameters.empty()) return reply_error("555 Unknown parameter " + p->parameters[0].keyword);
    if (message_.recipients.size() >= config_.recipients)
        return reply("452 Too many recipients"); // [RFC 5321 4.5.3.1.10]
    message_.recipients.push_back(p->mailbox);
    reply("250 OK");
}

void session::on_data(std::string_view argument) {
    if (!argument.empty()) return reply_error("501 DATA takes no argument");
    if (!in_mail_) return reply_error("503 MAIL first");
    if (message_.recipients.empty()) return reply_error("554 No valid recipients"); // [RFC 5321 3.3]
    bare_break_ = bad_line_ = too_large_ = no_room_ = false;
    text_bytes_ = 0;
    expecting_ = expecting::text;
    reply("354 Go on; end with <CRLF>.<CRLF>");
}

// --- text --------------------------------------------------------------------------------------------------

void session::put_text_byte(char c) {
    const bool after_cr = line_.ends_with('\r');
    line_ += c;
    if (c == '\n' && after_cr) return text_line();
    if (c == '\n' || after_cr) bare_break_ = true;
    // Its last byte stays: it may be the CR of the end. One byte more is for the dot that is stuffed in.
    if (line_.size() > config_.text_line_bytes + 1) {
        bad_line_ = true;
        drop_text();
        text_bytes_ += line_.size() - 1;
        line_.erase(0, line_.size() - 1);
        too_long_ = true; // what is left is no beginning of a line
    }
    if (text_bytes_ > 2 * config_.message_bytes) end("421 " + config_.host_name + " Far too large, closing");
}

// [RFC 5321 4.5.2]
void session::text_line() {
    const bool is_beginning = !std::exchange(too_long_, false);
    std::string_view line = line_;
    if (is_beginning && line == ".\r\n") {
        line_.clear();
        return end_of_text();
    }
    if (is_beginning && line.starts_with('.')) line.remove_prefix(1);
    if (line.size() > config_.text_line_bytes) bad_line_ = true;
    text_bytes_ += line.size();
    if (text_bytes_ > config_.message_bytes) too_large_ = true;
    if (!is_doomed()) keep(line);
    if (is_doomed()) drop_text();
    line_.clear();
    if (text_bytes_ > 2 * config_.message_bytes) end("421 " + config_.host_name + " Far too large, closing");
}

// Room for the text doubles, but never past what a message may have: as much as is charged is taken.
void session::keep(std::string_view line) {
    std::string& text = message_.text;
    const std::size_t size = text.size() + line.size();
    if (size > charged_) {
        const std::size_t room = std::min(std::max({2 * charged_, size, config_.text_line_bytes}),
                                          std::max(size, config_.message_bytes));
        if (!of_all_.take(room, config_.total_message_bytes)) { // beside what it has, until that is copied
            no_room_ = true;
            return;
        }
        std::string larger; // reserve() on `text` itself may double it, whatever it is asked for
        larger.reserve(room);
        larger = text;
        text.swap(larger);
        of_all_.give_back(std::exchange(charged_, room));
    }
    text += line;
}

void session::drop_text() {
    std::string().swap(message_.text);
    of_all_.give_back(std::exchange(charged_, 0));
}

void session::end_of_text() {
    if (no_room_ && !too_large_ && !bad_line_ && !bare_break_) {
        ++count_.refused;
        reset();
        expecting_ = expecting::command;
        return reply("452 No room for it now");
    }
    std::string_view why;
    if (too_large_) why = "552 Too large";
    if (bad_line_) why = "500 A line is too long";
    if (std::exchange(bare_break_, false)) why = "554 Lines end with CRLF; a CR or LF stands alone";
    if (why.empty()) {
        expecting_ = expecting::verdict;
        return;
    }
    ++count_.refused;
    reset();
    expecting_ = expecting::command;
    reply_error(why);
}

void session::decide(const result<>& taken) {
    expecting_ = expecting::command;
    reset();
    if (taken) {
        ++count_.messages;
        return reply("250 OK, taken");
    }
    ++count_.refused;
    if (taken.error() == errc::no_memory) return reply("452 No room for it now");
    if (taken.error() == errc::too_large) return reply("552 Too large");
    reply("451 Cannot take it now: " + taken.error().message());
}

} // namespace tapir::smtp
