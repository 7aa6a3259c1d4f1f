// Requests and responses from bytes, without a connection: what is accepted, what is refused and by which
// name, and that cutting the bytes differently changes nothing.
#include <tapir/protocols/http/request_parser.hpp>
#include <tapir/protocols/http/response_parser.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

using namespace tapir::http;

namespace {

/// All requests in `text`, then how it ended, as text; fed `step` bytes at a time.
std::string outcome(std::string_view text, std::size_t step, const limits& l = {}) {
    request_parser p(l);
    std::string out;
    while (!text.empty() && p.failure() == problem::none) {
        std::string_view in = text.substr(0, step);
        text.remove_prefix(in.size());
        while (!in.empty() && p.failure() == problem::none) {
            in.remove_prefix(p.put(in));
            if (!p.done()) continue;
            out += "[" + p.get().method + " " + p.get().target + " 1." + std::to_string(p.get().minor);
            for (const field f : p.get().fields)
                out += "|" + std::string(f.name) + "=" + std::string(f.value);
            out += "|" + p.get().body + "]";
            p.reset();
        }
    }
    if (p.failure() == problem::none) p.put_end();
    return out + std::string(name_of(p.failure()));
}

std::string outcome(std::string_view text, const limits& l = {}) {
    const std::string whole = outcome(text, text.size() + 1, l);
    for (const std::size_t step : {1UL, 2UL, 3UL, 5UL, 7UL, 13UL}) {
        INFO("cut into pieces of " << step << ": " << std::string(text));
        CHECK(outcome(text, step, l) == whole);
    }
    return whole;
}

std::string in_request(std::string_view fields, std::string_view body = "") {
    return "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n" + std::string(body);
}

struct parsed_response {
    std::string body;
    problem failure;
    int status;
    bool done;
    bool persists;
};

parsed_response parse_response(std::string_view text, std::size_t step, bool eof, bool to_head = false,
                               const limits& l = {}) {
    response_parser p(l, to_head);
    parsed_response out{};
    while (!text.empty() && p.failure() == problem::none && !p.done()) {
        std::string_view in = text.substr(0, step);
        text.remove_prefix(in.size());
        while (!in.empty() && p.failure() == problem::none && !p.done()) {
            std::string_view piece;
            in.remove_prefix(p.put(in, piece));
            out.body += piece;
        }
    }
    if (eof) p.put_end();
    out.failure = p.failure();
    out.status = p.head().status;
    out.done = p.done();
    out.persists = p.done() && p.persists();
    return out;
}

} // namespace

TEST_CASE("http: a request is the same in one piece and byte by byte") {
    CHECK(outcome("GET /a?b=1 HTTP/1.1\r\nHost: x\r\nAccept:  text/html \r\n\r\n") ==
          "[GET /a?b=1 1.1|Host=x|Accept=text/html|]none");
}

TEST_CASE("http: a body ends after Content-Length bytes and the next request begins there") {
    CHECK(outcome("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: "
                  "x\r\n\r\n") == "[POST /1 1.1|Host=x|Content-Length=5|hello][GET /2 1.1|Host=x|]none");
}

TEST_CASE("http: a chunked body is freed of sizes, extensions and trailers") {
    // [RFC 9112 7.1]
    CHECK(outcome(in_request(
              "Transfer-Encoding: Chunked\r\n",
              "5;a=\"b;c\"\r\nhello\r\n00c \t;x\r\n, new\r\nworld\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n")) ==
          "[POST / 1.1|Host=a|Transfer-Encoding=Chunked|hello, new\r\nworld]none");
    CHECK(outcome(in_request("Transfer-Encoding: chunked\r\n", "0\r\n\r\n")) ==
          "[POST / 1.1|Host=a|Transfer-Encoding=chunked|]none");
}

TEST_CASE("http: empty lines before a request line are ignored") {
    // [RFC 9112 2.2]
    CHECK(outcome("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n") == "[GET / 1.1|Host=x|]incomplete");
}

TEST_CASE("http: a later minor version is taken for 1.1, another major one is not supported") {
    // [RFC 9110 2.5]
    CHECK(outcome("GET / HTTP/1.7\r\nHost: x\r\n\r\n") == "[GET / 1.1|Host=x|]none");
    CHECK(outcome("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == "unsupported_version");
    CHECK(outcome("GET / HTTP/0.9\r\n\r\n") == "unsupported_version");
    CHECK(status_of(problem::unsupported_version) == 505);
}

TEST_CASE("http: HTTP/1.0 needs no Host") {
    CHECK(outcome("GET / HTTP/1.0\r\n\r\n") == "[GET / 1.0|]none");
}

TEST_CASE("http: each malformed start line has its reason, told as soon as the line is there") {
    CHECK(outcome("GET /\r\n") == "bad_request_line");
    CHECK(outcome("GET / HTTP/1.1 \r\n") == "bad_request_line");
    CHECK(outcome("GET  / HTTP/1.1\r\n") == "bad_request_line");
    CHECK(outcome(" GET / HTTP/1.1\r\n") == "bad_request_line");
    CHECK(outcome("GET / http/1.1\r\n") == "bad_request_line");
    CHECK(outcome("GET / HTTP/11\r\n") == "bad_request_line");
    CHECK(outcome("G@T / HTTP/1.1\r\n") == "bad_request_line");
    CHECK(outcome("GET a HTTP/1.1\r\nHost: x\r\n\r\n") == "bad_target");
    CHECK(outcome("GET /#f HTTP/1.1\r\nHost: x\r\n\r\n") == "bad_target");
    CHECK(outcome("GET * HTTP/1.1\r\nHost: x\r\n\r\n") == "bad_target");
    CHECK(outcome("GET ftp://h/ HTTP/1.1\r\nHost: x\r\n\r\n") == "bad_target");
    CHECK(outcome("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n") == "[OPTIONS * 1.1|Host=x|]none");
    CHECK(outcome("CONNECT h:1 HTTP/1.1\r\nHost: x\r\n\r\n") == "unsupported_method");
    CHECK(outcome("\x16\x03\x01\x02 a TLS hello") == "control_character");
}

TEST_CASE("http: lines end with CRLF, and nothing else does") {
    // [RFC 9112 2.2]
    CHECK(outcome("GET / HTTP/1.1\nHost: x\n\n") == "bad_line_ending");
    CHECK(outcome("GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n") == "bad_line_ending");
    CHECK(outcome("GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n") == "bad_line_ending");
    CHECK(outcome("GET / HTTP/1.1\r\nHost: x\r\n\rA: b\r\n\r\n") == "bad_line_ending");
}

TEST_CASE("http: a plain head is read without Beast, and comes to the same as with it") {
    const auto same = [&](const std::string& line, const std::string& fields) {
        std::string with_it = outcome(line + "\r\n" + fields + "Upgrade: h2c\r\n\r\n", 1'000);
        if (const auto at = with_it.find("|Upgrade=h2c"); at != std::string::npos) with_it.erase(at, 12);
        CHECK(outcome(line + "\r\n" + fields + "\r\n", 1'000) == with_it);
    };
    const std::vector<std::string> connection = {"close", "Keep-Alive", "close, x", ",",
                                                 "x;y",   "",           " close "};
    for (const std::string& value : connection)
        same("GET /a?b=c HTTP/1.1", "Host: a\r\nCONNECTION:" + value + "\r\n");
    for (int c = 1; c < 256; ++c) {
        CAPTURE(c);
        const std::string one(1, static_cast<char>(c));
        same("GET /" + one + "x HTTP/1.1", "Host: a\r\n");
        same("G" + one + "T / HTTP/1.1", "Host: a\r\n");
        same("GET / HTTP/1." + one, "Host: a\r\n");
        same("GET / HTTP/1.1", "Host: a\r\nX" + one + "y: z\r\n");
        same("GET / HTTP/1.1", "Host: a\r\nX: " + one + "z" + one + "\r\n");
        same("GET / HTTP/1.1", "Host: a" + one + "b\r\n");
    }
    for (const char* const line : {"POST / HTTP/1.1", "PUT / HTTP/1.1", "CONNECT / HTTP/1.1",
                                   "CONNECT a:1 HTTP/1.1", "OPTIONS * HTTP/1.1", "GET * HTTP/1.1",
                                   "GET http://b/c HTTP/1.1", "GET b HTTP/1.1", "DELETE / HTTP/1.0"})
        same(line, "Host: a\r\n");
    for (const char* const fields :
         {"", "Host:\r\n", "Host: a\r\nHost: a\r\n", "Host: a\r\nExpect: 100-continue\r\n",
          "Host: a\r\nexpect: x\r\n", "Host: a\r\nContent-Length: 0\r\n",
          "Host: a\r\ntransfer-encoding: gzip\r\n"})
        same("GET / HTTP/1.1", fields);
    for (const std::string& value : connection) {
        CAPTURE(value);
        const auto persists = [&](const std::string& more) {
            request_parser p{limits()};
            (void)p.put("GET / HTTP/1.1\r\nHost: a\r\nConnection: " + value + "\r\n" + more + "\r\n");
            return p.done() && p.persists();
        };
        CHECK(persists("") == persists("Upgrade: h2c\r\n"));
    }
}

TEST_CASE("http: every byte is judged alike wherever in a line it stands") {
    for (int c = 0; c < 256; ++c) {
        if (c == '\r' || c == '\n' || c == ' ' || c == '\t') continue; // at the ends of a value they go
        const bool control = c < 0x20 || c == 0x7f;
        for (std::size_t at = 0; at < 18; ++at) {
            std::string value(17, 'v');
            value.insert(at, 1, static_cast<char>(c));
            const std::string request = in_request("A: " + value + "\r\nContent-Length: 0\r\n");
            CAPTURE(c);
            CAPTURE(at);
            const std::string whole = outcome(request, request.size());
            CHECK(whole == outcome(request, 1));
            CHECK(whole.ends_with(control ? "control_character" : "none"));
        }
    }
}

TEST_CASE("http: fields against the grammar are refused") {
    const std::string get = "GET / HTTP/1.1\r\nHost: x\r\n";
    CHECK(outcome(get + "A : b\r\n\r\n") == "bad_field"); // [RFC 9112 5.1] no space before the colon
    CHECK(outcome(get + "A\r\n\r\n") == "bad_field");
    CHECK(outcome(get + ": b\r\n\r\n") == "bad_field");
    CHECK(outcome(get + "A(: b\r\n\r\n") == "bad_field");
    CHECK(outcome(get + "A: b\r\n c\r\n\r\n") == "obsolete_folding"); // [RFC 9112 5.2]
    CHECK(outcome("GET / HTTP/1.1\r\n Host: x\r\n\r\n") == "obsolete_folding");
    CHECK(outcome(get + "A: b\x01"
                        "c\r\n\r\n") == "control_character");
    CHECK(outcome(get + std::string("A: b\0c\r\n\r\n", 10)) == "control_character");
    CHECK(outcome(get + "A: b\x7f\r\n\r\n") == "control_character");
    CHECK(outcome(get + "A: caf\xc3\xa9\r\n\r\n") == "[GET / 1.1|Host=x|A=caf\xc3\xa9|]none"); // obs-text
}

TEST_CASE("http: an HTTP/1.1 request has exactly one valid Host") {
    // [RFC 9112 3.2]
    CHECK(outcome("GET / HTTP/1.1\r\n\r\n") == "missing_host");
    CHECK(outcome("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n") == "repeated_host");
    CHECK(outcome("GET / HTTP/1.1\r\nHost: a b\r\n\r\n") == "bad_host");
    CHECK(outcome("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n") == "bad_host");
    CHECK(outcome("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n") == "bad_host");
    CHECK(outcome("GET / HTTP/1.1\r\nHost:\r\n\r\n") == "[GET / 1.1|Host=|]none");
    CHECK(outcome("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n") ==
          "[GET / 1.1|Host=[2001:db8::1]:80|]none");
}

TEST_CASE("http: smuggling: two lengths, or a length and a transfer coding, are refused") {
    // [RFC 9112 6.3]
    CHECK(outcome(in_request("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")) ==
          "length_and_transfer_encoding");
    CHECK(outcome(in_request("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")) ==
          "length_and_transfer_encoding");
    CHECK(outcome(in_request("Transfer-Encoding: identity\r\nContent-Length: 5\r\n")) ==
          "length_and_transfer_encoding");
    CHECK(outcome(in_request("Content-Length: 5\r\nContent-Length: 6\r\n")) == "repeated_content_length");
    CHECK(outcome(in_request("Content-Length: 5\r\nContent-Length: 5\r\n")) == "repeated_content_length");
    CHECK(outcome(in_request("Content-Length: 5, 5\r\n")) == "bad_content_length");
}

TEST_CASE("http: smuggling: a Content-Length is digits and fits") {
    // [RFC 9110 8.6]
    for (const char* bad : {"+5", "-5", "0x5", "5 5", "", "5,", "five", "18446744073709551616"}) {
        INFO(bad);
        CHECK(outcome(in_request("Content-Length: " + std::string(bad) + "\r\n")) == "bad_content_length");
    }
    CHECK(outcome(in_request("Content-Length: 18446744073709551615\r\n")) == "body_too_large");
}

TEST_CASE("http: smuggling: chunked is the one and last transfer coding, and not of HTTP/1.0") {
    // [RFC 9112 6.1]
    CHECK(outcome(in_request("Transfer-Encoding: chunked, chunked\r\n")) == "bad_transfer_encoding");
    CHECK(outcome(in_request("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")) ==
          "bad_transfer_encoding");
    CHECK(outcome(in_request("Transfer-Encoding: chunked, gzip\r\n")) == "bad_transfer_encoding");
    CHECK(outcome(in_request("Transfer-Encoding: \"chunked\"\r\n")) == "bad_transfer_encoding");
    CHECK(outcome(in_request("Transfer-Encoding: gzip, chunked\r\n")) == "unsupported_transfer_encoding");
    CHECK(outcome(in_request("Transfer-Encoding: xchunked\r\n")) == "unsupported_transfer_encoding");
    CHECK(outcome("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == "bad_transfer_encoding");
    CHECK(status_of(problem::unsupported_transfer_encoding) == 501);
}

TEST_CASE("http: smuggling: chunk sizes are hexadecimal digits, data ends with CRLF") {
    const std::string chunked = "Transfer-Encoding: chunked\r\n";
    for (const char* bad : {"x\r\n", "-1\r\n", "0x5\r\n", "\r\n", "5\n", "5\r5", "fffffffffffffffff\r\n"}) {
        INFO(bad);
        CHECK(outcome(in_request(chunked, bad)) == "bad_chunk_size");
    }
    CHECK(outcome(in_request(chunked, "5 \r\nhello\r\n")) == "bad_chunk_extension");
    CHECK(outcome(in_request(chunked, "5;a\nhello\r\n")) == "bad_chunk_extension");
    CHECK(outcome(in_request(chunked, "5\r\nhello!\r\n")) == "bad_chunk_end");
    CHECK(outcome(in_request(chunked, "5\r\nhello\n0\r\n\r\n")) == "bad_chunk_end");
    CHECK(outcome(in_request(chunked, "0\r\n a: b\r\n\r\n")) == "bad_trailer");
    CHECK(outcome(in_request(chunked, "0\r\na b: c\r\n\r\n")) == "bad_trailer");
    CHECK(outcome(in_request(chunked, "0\r\na: b\n\r\n\r\n")) == "bad_trailer");
    CHECK(outcome(in_request(chunked, "5\r\nhel")) == "incomplete");
    CHECK(outcome(in_request(chunked, "0\r\n")) == "incomplete");
}

TEST_CASE("http: each limit has its answer, at the byte that passes it") {
    limits l;
    l.request_line_bytes = 30;
    l.head_bytes = 80;
    l.field_count = 3;
    l.body_bytes = 6;
    l.chunk_overhead_bytes = 10;
    const std::string line_of_30 = "GET /" + std::string(14, 'a') + " HTTP/1.1\r\n";
    REQUIRE(line_of_30.size() == 30);
    CHECK(outcome(line_of_30 + "Host: x\r\n\r\n", l).ends_with("]none"));
    CHECK(outcome("GET /a" + line_of_30.substr(5) + "Host: x\r\n\r\n", l) == "target_too_long");
    const std::string head_of_80 =
        "GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(80 - 16 - 9 - 3 - 4, 'b') + "\r\n\r\n";
    REQUIRE(head_of_80.size() == 80);
    CHECK(outcome(head_of_80, l).ends_with("]none"));
    CHECK(outcome("\r\n" + head_of_80, l) == "head_too_large");
    CHECK(outcome("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nA: b\r\n\r\n", l).ends_with("]none"));
    CHECK(outcome("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nA: b\r\nA: b\r\n\r\n", l) == "head_too_large");
    CHECK(outcome(in_request("Content-Length: 6\r\n", "hello!"), l).ends_with("|hello!]none"));
    CHECK(outcome(in_request("Content-Length: 7\r\n"), l) == "body_too_large");
    const std::string chunked = "Transfer-Encoding: chunked\r\n";
    CHECK(outcome(in_request(chunked, "4\r\nhell\r\n2\r\no!\r\n0\r\n\r\n"), l).ends_with("|hello!]none"));
    CHECK(outcome(in_request(chunked, "4\r\nhell\r\n3\r\no!!\r\n0\r\n\r\n"), l) == "body_too_large");
    CHECK(outcome(in_request(chunked, "1;aaaaa\r\nh\r\n1;aaaaaa\r\ne\r\n0\r\n\r\n"), l) ==
          "bad_chunk_extension");
    CHECK(outcome(in_request(chunked, std::string(20, '0')), l) == "bad_chunk_size");
    CHECK(outcome(in_request(chunked, "0\r\nTrailer: long\r\n\r\n"), l) == "bad_trailer");
    CHECK(status_of(problem::target_too_long) == 414);
    CHECK(status_of(problem::head_too_large) == 431);
    CHECK(status_of(problem::body_too_large) == 413);
}

TEST_CASE("http: a POST that announces no body is asked for its length") {
    CHECK(outcome(in_request("")) == "length_required");
    CHECK(outcome(in_request("Content-Length: 0\r\n")).ends_with("|]none"));
    CHECK(outcome("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("|]none"));
    CHECK(status_of(problem::length_required) == 411);
}

TEST_CASE("http: an expectation other than 100-continue can not be met") {
    CHECK(outcome(in_request("Content-Length: 0\r\nExpect: cake\r\n")) == "unknown_expectation");
    CHECK(status_of(problem::unknown_expectation) == 417);
}

TEST_CASE("http: path and query of every form of target") {
    request r;
    r.target = "/a/b?c=d?e";
    CHECK(r.path() == "/a/b");
    CHECK(r.query() == "c=d?e");
    r.target = "http://host:80/x?y"; // [RFC 9112 3.2.2]
    CHECK(r.path() == "/x");
    CHECK(r.query() == "y");
    r.target = "http://host?q";
    CHECK(r.path() == "/");
    CHECK(r.query() == "q");
    r.target = "http://host";
    CHECK(r.path() == "/");
    r.target = "/go?to=http://elsewhere/";
    CHECK(r.path() == "/go");
    r.target = "*";
    CHECK(r.path() == "*");
}

TEST_CASE("http: fields are found without regard to case, in their order, and lists by member") {
    fields f;
    f.add("Connection", "Upgrade , CLOSE");
    f.add("X", "1");
    f.add("x", "2");
    CHECK(f.find("CONNECTION") == "Upgrade , CLOSE");
    CHECK(f.find("x") == "1");
    CHECK(f.count("X") == 2);
    CHECK(f.has_token("connection", "close"));
    CHECK_FALSE(f.has_token("connection", "clos"));
    f.set("X", "3");
    CHECK(f.count("x") == 1);
    CHECK(f.size() == 2);
    CHECK_THROWS_AS(f.add("X", "a\r\nSet-Cookie: b"), std::invalid_argument);
    CHECK_THROWS_AS(f.add("X Y", "a"), std::invalid_argument);
}

TEST_CASE("http: a response's body ends by length, by chunk, by close, or is not there") {
    // [RFC 9112 6.3]
    for (const std::size_t step : {1UL, 3UL, 1000UL}) {
        const auto counted =
            parse_response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", step, false);
        CHECK(counted.done);
        CHECK(counted.body == "abc");
        CHECK(counted.persists);
        const auto chunked = parse_response(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", step, false);
        CHECK(chunked.done);
        CHECK(chunked.body == "abc");
        const auto until_close = parse_response("HTTP/1.1 200 OK\r\n\r\nabc", step, true);
        CHECK(until_close.done);
        CHECK(until_close.body == "abc");
        CHECK_FALSE(until_close.persists);
        CHECK(parse_response("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", step, false).done);
        CHECK(parse_response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", step, false, true).done);
        CHECK(parse_response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", step, true).failure ==
              problem::incomplete);
        CHECK(parse_response("HTTP/1.1 200 O", step, true).failure == problem::incomplete);
        CHECK(parse_response("HTTP/2.0 200 OK\r\n\r\n", step, true).failure == problem::unsupported_version);
        CHECK(parse_response("HTTP/1.1 2x0 OK\r\n", step, true).failure == problem::bad_status_line);
        CHECK(parse_response("HTTP/1.1 600 OK\r\n\r\n", step, true).failure == problem::bad_status_line);
    }
}

TEST_CASE("http: interim responses are skipped, but not without end") {
    // [RFC 9110 15.2]
    const std::string interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    const std::string final = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    const auto r = parse_response("HTTP/1.1 100 Continue\r\n\r\n" + interim + final, 1, false);
    CHECK(r.status == 200);
    CHECK(r.body == "x");
    std::string flood;
    for (int i = 0; i < 17; ++i) flood += interim;
    CHECK(parse_response(flood + final, 7, false).failure == problem::bad_status_line);
}
