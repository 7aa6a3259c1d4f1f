// ./run smtp_sink with clients of other people's: curl and Python's smtplib send mail over tapir's TCP and
// over the kernel's.
#include <doctest/doctest.h>

#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include "tests/skip.hpp"
#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"

using namespace tapir::test;

namespace {

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

void end_in_order(process& server) {
    server.signal(SIGINT);
    expect(server.wait(seconds(10)) == 0, "ends in order: " + server.err());
}

/// Runs body(server, its address) over tapir's stack and over the kernel's.
void on_both_stacks(const std::function<void(process&, const std::string&)>& body) {
    const auto outcome = in_own_network(
        [&] {
            const auto server =
                start({sample("smtp_sink"), "--stack", "kernel", "--address", "127.0.0.1"}, "taking mail");
            body(*server, "127.0.0.1");
        },
        60);
    if (!outcome.possible) return skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), "kernel: ", outcome.text);
    on_tap([&] {
        const auto server = start({sample("smtp_sink")}, "taking mail");
        body(*server, "192.0.2.2");
    });
}

} // namespace

TEST_CASE("smtp_sink: curl sends a letter, and it is printed with its envelope") {
    const temporary_directory client;
    const std::string letter = client.write("letter", "From: <anna@example.org>\r\n"
                                                      "Subject: dots\r\n"
                                                      "\r\n"
                                                      ".begins with a dot\r\n"
                                                      ".\r\n"
                                                      "and ends \x1b[31mhere\r\n");
    on_both_stacks([&](process& server, const std::string& address) {
        const finished sent = run({"curl", "-sS", "--max-time", "20", "smtp://" + address, "--mail-from",
                                   "anna@example.org", "--mail-rcpt", "bert@example.org", "--mail-rcpt",
                                   "carl@example.org", "--upload-file", letter});
        expect(sent.status == 0, sent.all());
        expect(server.says("-- end of message 1"), "it is printed: " + server.out());
        const std::string printed = server.out();
        expect(has(printed, "MAIL FROM:<anna@example.org>\n"
                            "RCPT TO:<bert@example.org>\n"
                            "RCPT TO:<carl@example.org>\n"
                            "\n"
                            "From: <anna@example.org>\n"
                            "Subject: dots\n"
                            "\n"
                            ".begins with a dot\n"
                            ".\n"
                            "and ends \\x1b[31mhere\n"
                            "-- end of message 1\n"),
               printed);
        end_in_order(server);
        expect(has(server.err(), "took 1 messages on 1 connections"), server.err());
    });
}

TEST_CASE("smtp_sink: Python's smtplib sends many letters on one connection, and hears what is refused") {
    const temporary_directory client;
    const std::string program = client.write("send.py", R"(
import smtplib, sys
server = smtplib.SMTP(sys.argv[1], 25, timeout=20)
server.ehlo()
assert server.has_extn('size') and server.has_extn('pipelining') and server.has_extn('8bitmime')
for i in range(50):
    refused = server.sendmail('a@example.org', ['b@example.org', 'c@example.org'],
                              'Subject: letter %d\n\n' % i + '.line\n' * 1000)
    assert refused == {}
assert server.verify('somebody')[0] == 252
assert server.docmd('EXPN', 'list')[0] == 502
assert server.docmd('DATA')[0] == 503
try:
    server.sendmail('a@example.org', ['b@example.org'], 'x' * 70 + '\n' + ('y' * 70 + '\n') * 160000)
    raise SystemExit('taken, though it is too large')
except smtplib.SMTPSenderRefused as e:
    assert e.smtp_code == 552, e
try:
    server.sendmail('not an address', ['b@example.org'], 'x')
    raise SystemExit('taken from nobody')
except smtplib.SMTPSenderRefused as e:
    assert e.smtp_code == 501, e
assert server.noop()[0] == 250
assert server.quit()[0] == 221
print('done')
)");
    on_both_stacks([&](process& server, const std::string& address) {
        const finished sent = run({"python3", program, address}, seconds(40));
        expect(sent.status == 0 && sent.out == "done\n", sent.all());
        expect(server.says("-- end of message 50"), "all are printed");
        expect(has(server.out(), "Subject: letter 49\n\n.line\n.line\n"), "dots and all");
        end_in_order(server);
    });
}

TEST_CASE("smtp_sink: Ctrl-C tells who is connected, and ends") {
    on_tap([] {
        const auto server = start({sample("smtp_sink")}, "taking mail");
        const auto c = kernel_socket::connected("192.0.2.2", 25);
        expect(c.read_exactly(29) == "220 smtp_sink.invalid ESMTP\r\n", "the greeting");
        server->signal(SIGINT);
        expect(c.read_to_end() == "421 smtp_sink.invalid Shutting down\r\n", "[RFC 5321 3.8]");
        c.finish();
        expect(server->wait(seconds(10)) == 0, "ends in order: " + server->err());
    });
}
