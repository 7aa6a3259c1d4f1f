// The server's side of SMTP as a conversation of lines (RFC 5321), without a network or a clock.
#include <tapir/protocols/smtp/command.hpp>
#include <tapir/protocols/smtp/session.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

using namespace tapir;
using smtp::expecting;

namespace {

struct talk {
    explicit talk(smtp::config c = {}) : talk(std::move(c), own_texts) {}
    talk(smtp::config c, smtp::text_memory& texts)
        : config(std::move(c)), session(config, "192.0.2.1:40000", texts) {
        session.greet();
        CHECK(session.take_replies() == "220 tapir ESMTP\r\n");
    }
    /// What the server answers to all of `text`; messages are taken.
    std::string say(std::string_view text) {
        bytes rest = as_bytes(text);
        std::string replies;
        while (!rest.empty() && session.waits_for() != expecting::nothing) {
            rest = rest.subspan(session.put(rest));
            if (session.waits_for() == expecting::verdict) {
                taken.push_back(session.received());
                session.decide(verdict);
            }
            replies += session.take_replies();
        }
        return replies;
    }
    /// The first reply's code.
    std::string code(std::string_view line) { return say(std::string(line) + "\r\n").substr(0, 3); }
    /// Up to the text of a message.
    void begin() {
        CHECK(code("EHLO client.example.org") == "250");
        CHECK(code("MAIL FROM:<a@example.org>") == "250");
        CHECK(code("RCPT TO:<b@example.org>") == "250");
        CHECK(code("DATA") == "354");
    }

    smtp::config config;
    smtp::text_memory own_texts;
    smtp::session session;
    result<> verdict;
    std::vector<smtp::message> taken;
};

std::string path_of(std::string_view argument) {
    const auto p = smtp::parse_path(argument, "FROM:", smtp::config());
    return p ? "<" + p->mailbox + ">" : "none";
}

} // namespace

TEST_CASE("smtp: a message goes from its envelope to its verdict") {
    talk t;
    CHECK(t.say("EHLO client.example.org\r\n") ==
          "250-tapir\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10485760\r\n");
    CHECK(t.say("MAIL FROM:<a@example.org>\r\n") == "250 OK\r\n");
    CHECK(t.say("RCPT TO:<b@example.org>\r\n") == "250 OK\r\n");
    CHECK(t.say("RCPT TO:<c@example.org>\r\n") == "250 OK\r\n");
    CHECK(t.say("DATA\r\n") == "354 Go on; end with <CRLF>.<CRLF>\r\n");
    CHECK(t.session.waits_for() == expecting::text);
    CHECK(t.say("Subject: hello\r\n\r\nbody\r\n") == "");
    CHECK(t.say(".\r\n") == "250 OK, taken\r\n");
    CHECK(t.say("QUIT\r\n") == "221 tapir Goodbye\r\n");
    CHECK(t.session.waits_for() == expecting::nothing);
    REQUIRE(t.taken.size() == 1);
    const smtp::message& m = t.taken[0];
    CHECK(m.client == "192.0.2.1:40000");
    CHECK(m.helo == "client.example.org");
    CHECK(m.from == "a@example.org");
    CHECK(m.recipients == std::vector<std::string>{"b@example.org", "c@example.org"});
    CHECK(m.text == "Subject: hello\r\n\r\nbody\r\n");
}

TEST_CASE("smtp: commands that come all at once are answered in order") { // [RFC 2920]
    talk t;
    const std::string replies = t.say("HELO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n"
                                      "one\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.org>\r\nDATA\r\ntwo\r\n.\r\n"
                                      "QUIT\r\nNOOP\r\n");
    std::string codes;
    for (std::size_t at = 0; at < replies.size(); at = replies.find("\r\n", at) + 2)
        codes += replies.substr(at, 4);
    CHECK(codes == "250 250 250 354 250 250 250 354 250 221 ");
    REQUIRE(t.taken.size() == 2);
    CHECK(t.taken[0].text == "one\r\n");
    CHECK(t.taken[1].from == ""); // the null reverse-path of bounces [RFC 5321 4.5.5]
    CHECK(t.taken[1].text == "two\r\n");
}

TEST_CASE("smtp: however the bytes are cut, the conversation is the same") {
    const std::string all = "EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n..\r\n.dot\r\n\r\n"
                            "\r\n.\r\nNOOP\r\n";
    talk whole;
    const std::string expected = whole.say(all);
    talk bytewise;
    std::string got;
    for (const char c : all) got += bytewise.say(std::string(1, c));
    CHECK(got == expected);
    REQUIRE(bytewise.taken.size() == 1);
    CHECK(bytewise.taken[0].text == whole.taken[0].text);
}

TEST_CASE("smtp: stuffed dots are taken out, and only a dot alone ends the text") { // [RFC 5321 4.5.2 MUST]
    talk t;
    t.begin();
    CHECK(t.say("..\r\n") == "");
    CHECK(t.say("...three\r\n") == "");
    CHECK(t.say(".one\r\n") == "");
    CHECK(t.say("end.\r\n") == "");
    CHECK(t.say(". \r\n") == "");
    CHECK(t.say("\r\n.\r\n").starts_with("250"));
    CHECK(t.taken.at(0).text == ".\r\n..three\r\none\r\nend.\r\n \r\n\r\n");
    CHECK(t.code("MAIL FROM:<a@b.org>") == "250");
    CHECK(t.code("RCPT TO:<c@d.org>") == "250");
    CHECK(t.code("DATA") == "354");
    CHECK(t.say(".\r\n").starts_with("250")); // an empty text is one too
    CHECK(t.taken.at(1).text == "");
}

TEST_CASE("smtp: a bare LF or CR ends nothing, and a message with one is refused whole") {
    // [RFC 5321 2.3.8 MUST]: what one server takes for the end of a message and the next does not would
    // smuggle a second message through the first.
    for (const std::string trick : {"\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r", "x\ny", "\r\r\n"}) {
        talk t;
        t.begin();
        CHECK(t.say("hello" + trick + "MAIL FROM:<evil@b.org>\r\n") == "");
        CHECK(t.say("\r\n.\r\n").starts_with("554"));
        CHECK(t.taken.empty());
        CHECK(t.code("NOOP") == "250");
        CHECK(t.session.counted().refused == 1);
    }
    talk t;
    CHECK(t.code("NOOP\nQUIT") == "500");
    CHECK(t.code("NOOP\rQUIT") == "500");
    CHECK(t.code("NOOP") == "250");
}

TEST_CASE("smtp: commands in a bad sequence are 503, and harm nothing") { // [RFC 5321 4.1.4]
    talk t;
    CHECK(t.code("MAIL FROM:<a@b.org>") == "503");
    CHECK(t.code("RCPT TO:<a@b.org>") == "503");
    CHECK(t.code("DATA") == "503");
    CHECK(t.code("HELO c") == "250");
    CHECK(t.code("RCPT TO:<a@b.org>") == "503");
    CHECK(t.code("DATA") == "503");
    CHECK(t.code("MAIL FROM:<a@b.org>") == "250");
    CHECK(t.code("MAIL FROM:<other@b.org>") == "503");
    CHECK(t.code("DATA") == "554"); // [RFC 5321 3.3]: nobody to give it to
    CHECK(t.code("RCPT TO:<a@b.org>") == "250");
    CHECK(t.code("DATA") == "354");
}

TEST_CASE("smtp: RSET, EHLO and HELO end a transaction; NOOP, VRFY and HELP do not") {
    for (const std::string end : {"RSET", "EHLO again", "HELO again"}) {
        talk t;
        CHECK(t.code("EHLO c") == "250");
        CHECK(t.code("MAIL FROM:<a@b.org>") == "250");
        CHECK(t.code("RCPT TO:<a@b.org>") == "250");
        CHECK(t.code("NOOP with words") == "250");
        CHECK(t.code("VRFY somebody") == "252"); // [RFC 5321 3.5.3]
        CHECK(t.code("HELP") == "214");
        CHECK(t.code(end) == "250");
        CHECK(t.code("DATA") == "503");
        CHECK(t.code("MAIL FROM:<a@b.org>") == "250");
        CHECK(t.code("DATA") == "554"); // the recipient is forgotten, too
    }
}

TEST_CASE("smtp: what is not understood is 500, what is not here 502, and bad arguments are 501") {
    talk t;
    CHECK(t.code("") == "500");
    CHECK(t.code("GET / HTTP/1.1") == "500");
    CHECK(t.code("STARTTLS") == "502");
    CHECK(t.code("EXPN list") == "502");
    CHECK(t.code("EHLO") == "501");
    CHECK(t.code("HELO") == "501");
    CHECK(t.code("eHlO c") == "250"); // [RFC 5321 2.4]: in any case
    CHECK(t.code("VRFY") == "501");
    CHECK(t.code("RSET now") == "501");
    CHECK(t.code("QUIT now") == "501");
    CHECK(t.code("MAIL FROM: <a@b.org>") == "501"); // [RFC 5321 3.3]: no blank there
    CHECK(t.code("MAIL a@b.org") == "501");
    CHECK(t.code("mail from:<a@b.org>") == "250");
    CHECK(t.code("RCPT TO:<>") == "501");
    CHECK(t.code("RCPT TO:<c@d.org> NOTIFY=NEVER") == "555"); // [RFC 5321 4.1.1.11]
    CHECK(t.code("RCPT TO:<postMASTER>") == "250");           // [RFC 5321 4.5.1]
    CHECK(t.code("DATA now") == "501");
}

TEST_CASE("smtp: paths after the grammar, and nothing else") { // [RFC 5321 4.1.2]
    CHECK(path_of("FROM:<>") == "<>");
    CHECK(path_of("FROM:<a@b>") == "<a@b>");
    CHECK(path_of("from:<first.last+tag@mail-1.example.org>") == "<first.last+tag@mail-1.example.org>");
    CHECK(path_of("FROM:<\"odd > \\\" one\"@b.org>") == "<\"odd > \\\" one\"@b.org>");
    CHECK(path_of("FROM:<a@[192.0.2.1]>") == "<a@[192.0.2.1]>");
    CHECK(path_of("FROM:<@relay.org,@other.org:a@b.org>") == "<a@b.org>"); // [RFC 5321 4.1.1.3]
    for (const std::string bad :
         {"FROM:",         "FROM:a@b",         "FROM:<a@b",          "FROM:<a>",      "FROM:<@b>",
          "FROM:<a@>",     "FROM:<a@b>x",      "TO:<a@b>",           "FROM:<.a@b>",   "FROM:<a.@b>",
          "FROM:<a..c@b>", "FROM:<a b@c>",     "FROM:<a@b..c>",      "FROM:<a@-b>",   "FROM:<a@b->",
          "FROM:<a@b_c>",  "FROM:<a@[>",       "FROM:<a@[]>",        "FROM:<a@b> =x", "FROM:<a@b>  X=1",
          "FROM:<\"a@b>",  "FROM:<\"\"a\"@b>", "FROM:<a@b\xc3\xa9>", "FROM:<a\x01@b>"})
        CHECK_MESSAGE(path_of(bad) == "none", bad);
    CHECK(path_of("FROM:<" + std::string(64, 'x') + "@b>") != "none");
    CHECK(path_of("FROM:<" + std::string(65, 'x') + "@b>") == "none"); // [RFC 5321 4.5.3.1.1]
    CHECK(path_of("FROM:<a@" + std::string(254, 'x') + ">") != "none");
    CHECK(path_of("FROM:<a@" + std::string(255, 'x') + ">") == "none"); // [RFC 5321 4.5.3.1.3]
}

TEST_CASE("smtp: SIZE and BODY are understood after EHLO, and too much is refused before it is sent") {
    smtp::config c;
    c.message_bytes = 1000;
    talk t(c);
    CHECK(t.code("HELO c") == "250");
    CHECK(t.code("MAIL FROM:<a@b.org> SIZE=10") == "555");
    CHECK(t.code("EHLO c") == "250");
    CHECK(t.code("MAIL FROM:<a@b.org> SIZE=1001") == "552"); // [RFC 1870 6.1]
    CHECK(t.code("MAIL FROM:<a@b.org> SIZE=99999999999999999999999") == "552");
    CHECK(t.code("MAIL FROM:<a@b.org> SIZE=x") == "501");
    CHECK(t.code("MAIL FROM:<a@b.org> SIZE=") == "501");
    CHECK(t.code("MAIL FROM:<a@b.org> BODY=9BIT") == "501");
    CHECK(t.code("MAIL FROM:<a@b.org> AUTH=<>") == "555");
    CHECK(t.code("MAIL FROM:<a@b.org> size=1000 BODY=8bitmime") == "250");
}

TEST_CASE("smtp: a message over the limit is read to its end, kept nowhere, and answered with 552") {
    smtp::config c;
    c.message_bytes = 1000;
    talk t(c);
    t.begin();
    const std::string line(98, 'x');
    for (int i = 0; i < 10; ++i) CHECK(t.say(line + "\r\n") == "");
    CHECK(t.session.received().text.size() == 1000);
    CHECK(t.say("one more\r\n") == "");
    CHECK(t.session.received().text.capacity() < 100);
    CHECK(t.say(".\r\n").starts_with("552"));
    CHECK(t.taken.empty());
    // What fits exactly is taken.
    CHECK(t.code("MAIL FROM:<a@b.org>") == "250");
    CHECK(t.code("RCPT TO:<c@d.org>") == "250");
    CHECK(t.code("DATA") == "354");
    for (int i = 0; i < 10; ++i) t.say(line + "\r\n");
    CHECK(t.say(".\r\n").starts_with("250"));
    // Who goes on for ever is not listened to.
    CHECK(t.code("MAIL FROM:<a@b.org>") == "250");
    CHECK(t.code("RCPT TO:<c@d.org>") == "250");
    CHECK(t.code("DATA") == "354");
    std::string last;
    int lines = 0;
    for (; last.empty() && lines < 1000; ++lines) last = t.say(line + "\r\n");
    CHECK(last.starts_with("421"));
    CHECK(lines == 21);
    CHECK(t.session.waits_for() == expecting::nothing);
}

TEST_CASE("smtp: a client between two messages keeps the memory of none") {
    talk t;
    t.begin();
    for (int i = 0; i < 1000; ++i) t.say(std::string(98, 'x') + "\r\n");
    CHECK(t.say(".\r\n").starts_with("250"));
    CHECK(t.session.received().text.capacity() < 100);
    CHECK(t.code("NOOP") == "250");
}

TEST_CASE("smtp: a message never takes more memory than a message may have, and a refused one takes none") {
    smtp::config c;
    c.message_bytes = 100'000;
    const std::string line = std::string(98, 'x') + "\r\n";
    talk t(c);
    t.begin();
    std::size_t most = 0;
    for (int i = 0; i < 1000; ++i) {
        t.say(line);
        CHECK(t.session.received().text.capacity() <= c.message_bytes);
        CHECK(t.own_texts.held() >= t.session.received().text.capacity());
        CHECK(t.own_texts.held() <= c.message_bytes);
        most = std::max(most, t.own_texts.held());
    }
    CHECK(most == c.message_bytes);
    CHECK(t.say(".\r\n").starts_with("250"));
    CHECK(t.own_texts.held() == 0);
    // What is refused in the end, for whatever reason, is kept no longer than until the reason is known.
    for (const std::string& reason : {std::string("a\nb\r\n"), std::string(1001, 'x') + "\r\n"}) {
        t.code("MAIL FROM:<a@b.org>");
        t.code("RCPT TO:<b@example.org>");
        t.code("DATA");
        t.say(line);
        CHECK(t.own_texts.held() > 0);
        t.say(reason);
        CHECK(t.own_texts.held() == 0);
        t.say(line);
        CHECK(t.own_texts.held() == 0);
        CHECK(t.say(".\r\n").starts_with("5"));
    }
    t.code("MAIL FROM:<a@b.org>");
    t.code("RCPT TO:<b@example.org>");
    t.code("DATA");
    t.say(line);
    CHECK(t.say("RSET\r\n") == ""); // text, too
    t.session.time_out();
    CHECK(t.own_texts.held() > 0);
}

TEST_CASE("smtp: the messages of all clients together are bounded, and who meets the bound may come again") {
    smtp::config c;
    c.message_bytes = 64 * 1024;
    c.total_message_bytes = 4 * c.message_bytes;
    smtp::text_memory texts;
    {
        std::vector<std::unique_ptr<talk>> clients;
        for (int i = 0; i < 10; ++i) {
            clients.push_back(std::make_unique<talk>(c, texts));
            clients.back()->begin();
        }
        const std::string line = std::string(998, 'x') + "\r\n";
        for (int i = 0; i < 60; ++i) {
            for (const auto& one : clients) {
                CHECK(one->say(line) == "");
                CHECK(texts.held() <= c.total_message_bytes);
            }
        }
        CHECK(texts.held() > c.total_message_bytes / 2); // it is made use of
        int taken = 0;
        int later = 0;
        for (const auto& one : clients) {
            const std::string reply = one->say(".\r\n");
            taken += reply.starts_with("250") ? 1 : 0;
            later += reply.starts_with("452") ? 1 : 0; // [RFC 5321 4.2.3]
            CHECK((reply.starts_with("250") ? one->taken.at(0).text.size() == 60'000 : one->taken.empty()));
        }
        CHECK(taken >= 1);
        CHECK(taken + later == 10);
        CHECK(texts.held() == 0);
        // There is room again, and what is known not to fit is refused before it is sent. [RFC 1870 6.1]
        talk& again = *clients.back();
        CHECK(again.code("MAIL FROM:<a@b.org> SIZE=60000") == "250");
        CHECK(again.code("RCPT TO:<b@example.org>") == "250");
        CHECK(again.code("DATA") == "354");
        CHECK(texts.take(c.total_message_bytes - 30'000, c.total_message_bytes));
        CHECK(clients[0]->code("MAIL FROM:<a@b.org> SIZE=60000") == "452");
        CHECK(clients[0]->code("MAIL FROM:<a@b.org> SIZE=30000") == "250");
        texts.give_back(c.total_message_bytes - 30'000);
        for (int i = 0; i < 60; ++i) again.say(line);
        CHECK(texts.held() >= 60'000);
    }
    CHECK(texts.held() == 0); // who goes in the middle of a message leaves nothing
}

TEST_CASE("smtp: a text without line ends costs a line's memory, and is not listened to for ever") {
    smtp::config c;
    c.message_bytes = 100'000;
    talk t(c);
    t.begin();
    std::string last;
    const std::string noise(1000, 'x');
    int pieces = 0;
    for (; last.empty() && pieces < 1000; ++pieces) last = t.say(noise);
    CHECK(last.starts_with("421"));
    CHECK(pieces <= 202);
    CHECK(t.session.received().text.empty());
}

TEST_CASE("smtp: lines that are too long are 500, and the next is heard again") { // [RFC 5321 4.5.3.1.9]
    smtp::config c;
    c.errors = 100;
    talk t(c);
    CHECK(t.code("NOOP " + std::string(1017, 'x')) == "250"); // 1024 with its CRLF
    CHECK(t.code("NOOP " + std::string(1018, 'x')) == "500");
    CHECK(t.code("NOOP " + std::string(100'000, 'x')) == "500");
    CHECK(t.code(std::string(100'000, '\r')) == "500");
    CHECK(t.code("NOOP") == "250");
    t.begin();
    CHECK(
        t.say(std::string(998, 'x') + "\r\n" + "." + std::string(998, '.') + "\r\n.\r\n").starts_with("250"));
    CHECK(t.taken.at(0).text.size() == 2000);
    t.code("MAIL FROM:<a@b.org>");
    t.code("RCPT TO:<a@b.org>");
    t.code("DATA");
    CHECK(t.say(std::string(999, 'x') + "\r\n.\r\n").starts_with("500"));
    t.code("MAIL FROM:<a@b.org>");
    t.code("RCPT TO:<a@b.org>");
    t.code("DATA");
    // The end of a line that was too long is no beginning of one: this dot ends nothing.
    CHECK(t.say(std::string(1001, 'x') + ".\r\nmore\r\n") == "");
    CHECK(t.say(".\r\n").starts_with("500"));
    CHECK(t.taken.size() == 1);
}

TEST_CASE("smtp: recipients, messages and errors are bounded") {
    smtp::config c;
    c.recipients = 3;
    c.messages = 2;
    c.errors = 3;
    talk t(c);
    CHECK(t.code("EHLO c") == "250");
    CHECK(t.code("MAIL FROM:<a@b.org>") == "250");
    for (int i = 0; i < 3; ++i) CHECK(t.code("RCPT TO:<a@b.org>") == "250");
    CHECK(t.code("RCPT TO:<a@b.org>") == "452"); // [RFC 5321 4.5.3.1.10]
    CHECK(t.code("DATA") == "354");              // the others get it
    CHECK(t.say(".\r\n").starts_with("250"));
    CHECK(t.code("MAIL FROM:<a@b.org>") == "250");
    CHECK(t.code("RSET") == "250");
    CHECK(t.code("MAIL FROM:<a@b.org>") == "421");
    CHECK(t.session.waits_for() == expecting::nothing);
    talk guesses(c);
    CHECK(guesses.code("AUTH PLAIN AGE=") == "502");
    CHECK(guesses.code("AUTH PLAIN AGI=") == "502");
    CHECK(guesses.say("AUTH PLAIN AGM=\r\nNOOP\r\n") ==
          "502 Not implemented\r\n421 tapir Too many errors\r\n");
    CHECK(guesses.session.counted().errors == 3);
}

TEST_CASE("smtp: a verdict is the program's, and the session goes on after it") {
    talk t;
    const auto code_of = [&](errc why) {
        t.begin();
        t.verdict = why;
        return t.say("x\r\n.\r\n").substr(0, 3);
    };
    CHECK(code_of(errc::no_memory) == "452");
    CHECK(code_of(errc::too_large) == "552");
    CHECK(code_of(errc::timed_out) == "451");
    CHECK(t.session.counted().refused == 3);
    CHECK(t.session.counted().messages == 0);
    CHECK(t.code("QUIT") == "221");
}

TEST_CASE("smtp: what follows a message waits for the verdict") {
    smtp::config c;
    smtp::text_memory texts;
    smtp::session s(c, "somebody", texts);
    const std::string all = "HELO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n.\r\nQUIT\r\n";
    const std::size_t used = s.put(as_bytes(all));
    CHECK(used == all.size() - 6);
    CHECK(s.waits_for() == expecting::verdict);
    CHECK(s.put(as_bytes("QUIT\r\n")) == 0);
    s.decide({});
    CHECK(s.put(as_bytes("QUIT\r\n")) == 6);
}
