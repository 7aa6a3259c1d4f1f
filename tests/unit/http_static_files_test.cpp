// Static files: what is found, what is refused, and that nothing outside the root is ever sent.
#include <tapir/protocols/http/conditional.hpp>
#include <tapir/protocols/http/static_files.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <system_error>

#include "tests/support/http_world.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

namespace fs = std::filesystem;

/// A directory with a site in it and a secret beside it.
struct scratch {
    scratch() {
        std::string name = (fs::temp_directory_path() / "tapir-http-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        top = name;
        fs::create_directories(root() / "sub");
        fs::create_directories(root() / "empty");
        fs::create_directories(root() / ".git");
        fs::create_directories(root() / ".well-known");
        put("secret.txt", "the secret");
        put("root/index.html", "<p>home");
        put("root/a b.txt", "spaced");
        put("root/data", "0123456789");
        put("root/sub/index.html", "<p>sub");
        put("root/.git/config", "hidden");
        put("root/.well-known/x.txt", "known");
        fs::create_symlink("../sub/index.html", root() / "empty/inside.html");
        fs::create_symlink("../../secret.txt", root() / "sub/escape.txt");
        fs::create_symlink(top / "secret.txt", root() / "absolute.txt");
        fs::create_symlink("..", root() / "up");
        fs::create_symlink("loop", root() / "loop");
        ::mkfifo((root() / "fifo").c_str(), 0600);
    }
    ~scratch() { fs::remove_all(top); }
    fs::path root() const { return top / "root"; }
    void put(const std::string& name, std::string_view text) const {
        std::ofstream(top / name, std::ios::binary) << text;
    }
    fs::path top;
};

/// The answer to GET `target` (or another method) of the scratch site.
std::string ask(const scratch& s, std::string_view target, std::string_view more = "",
                std::string_view method = "GET", http::static_files_options options = {}) {
    http_world w(http::static_files(s.root().string(), options));
    const std::string got = answer_to(w, std::string(method) + " " + std::string(target) +
                                             " HTTP/1.1\r\nHost: x\r\n" + std::string(more) + "\r\n");
    CHECK(w.counters().lost == 0);
    CHECK(got.find("the secret") == std::string::npos);
    return got;
}

int status_of(std::string_view answer) {
    return std::stoi(std::string(answer.substr(9, 3)));
}

std::string body_of(std::string_view answer) {
    return std::string(answer.substr(answer.find("\r\n\r\n") + 4));
}

std::string value_of(std::string_view answer, std::string_view name) {
    const std::size_t at = answer.find("\r\n" + std::string(name) + ": ");
    if (at == std::string_view::npos) return "";
    const std::size_t from = at + name.size() + 4;
    return std::string(answer.substr(from, answer.find("\r\n", from) - from));
}

} // namespace

TEST_CASE("http files: a file comes with its type, length, date and tag") {
    const scratch s;
    const std::string got = ask(s, "/index.html");
    CHECK(status_of(got) == 200);
    CHECK(body_of(got) == "<p>home");
    CHECK(value_of(got, "Content-Type") == "text/html; charset=utf-8");
    CHECK(value_of(got, "Content-Length") == "7");
    CHECK(value_of(got, "Accept-Ranges") == "bytes");
    CHECK(value_of(got, "Last-Modified").ends_with(" GMT"));
    CHECK_FALSE(value_of(got, "ETag").empty());
    CHECK(value_of(ask(s, "/data"), "Content-Type") == "application/octet-stream");
}

TEST_CASE("http files: a directory gives its index, a redirect without its slash, and no listing") {
    const scratch s;
    CHECK(body_of(ask(s, "/")) == "<p>home");
    CHECK(body_of(ask(s, "/sub/?q")) == "<p>sub");
    const std::string moved = ask(s, "/sub?q=1");
    CHECK(status_of(moved) == 301);
    CHECK(value_of(moved, "Location") == "/sub/?q=1");
    CHECK(value_of(ask(s, "//sub"), "Location") == "/sub/"); // and not to a host of that name
    CHECK(status_of(ask(s, "/empty/")) == 403);
    CHECK(status_of(ask(s, "/data/")) == 404);
}

TEST_CASE("http files: paths are decoded once, and bad escapes refused") {
    const scratch s;
    CHECK(body_of(ask(s, "/a%20b.txt")) == "spaced");
    CHECK(body_of(ask(s, "/%69ndex.html?x")) == "<p>home");
    CHECK(body_of(ask(s, "http://x/index.html")) == "<p>home");
    CHECK(body_of(ask(s, "//sub///index.html")) == "<p>sub");
    CHECK(status_of(ask(s, "/a%2520b.txt")) == 404);
    CHECK(status_of(ask(s, "/sub%2Findex.html")) == 404);
    CHECK(status_of(ask(s, "/index.html%00.png")) == 400);
    CHECK(status_of(ask(s, "/%")) == 400);
    CHECK(status_of(ask(s, "/%4")) == 400);
    CHECK(status_of(ask(s, "/%zz")) == 400);
}

TEST_CASE("http files: no path leaves the root") {
    const scratch s;
    for (const char* target :
         {"/../secret.txt", "/sub/../../secret.txt", "/%2e%2e/secret.txt", "/.%2E/secret.txt",
          "/sub/%2e%2e/%2e%2e/secret.txt", "/./../secret.txt", "/.."}) {
        INFO(target);
        CHECK(status_of(ask(s, target)) == 400);
    }
    for (const char* target : {"/%2e%2e%2fsecret.txt", "/..%2fsecret.txt", "/..%5csecret.txt",
                               "/..\\secret.txt", "/%252e%252e/secret.txt"}) {
        INFO(target);
        CHECK(status_of(ask(s, target)) == 404);
    }
    CHECK(status_of(ask(s, ("/" + s.top.string() + "/secret.txt").c_str())) == 404);
}

TEST_CASE("http files: links inside the root are followed, links out of it refused") {
    const scratch s;
    CHECK(body_of(ask(s, "/empty/inside.html")) == "<p>sub");
    CHECK(status_of(ask(s, "/sub/escape.txt")) == 403);
    CHECK(status_of(ask(s, "/absolute.txt")) == 403);
    CHECK(status_of(ask(s, "/up/secret.txt")) == 403);
    CHECK(status_of(ask(s, "/loop")) == 403);
}

TEST_CASE("http files: what is missing, hidden, or no file") {
    const scratch s;
    CHECK(status_of(ask(s, "/none.html")) == 404);
    CHECK(status_of(ask(s, "/index.html/x")) == 404);
    CHECK(status_of(ask(s, "/" + std::string(300, 'n'))) == 404);
    CHECK(status_of(ask(s, "/.git/config")) == 404);
    CHECK(body_of(ask(s, "/.well-known/x.txt")) == "known");
    http::static_files_options open;
    open.hidden_files = true;
    CHECK(body_of(ask(s, "/.git/config", "", "GET", open)) == "hidden");
    CHECK(status_of(ask(s, "/fifo")) == 403);
    CHECK_THROWS_AS((void)http::static_files((s.top / "nowhere").string()), std::system_error);
}

TEST_CASE("http files: only GET and HEAD") {
    const scratch s;
    const std::string posted = ask(s, "/", "Content-Length: 0\r\n", "POST");
    CHECK(status_of(posted) == 405);
    CHECK(value_of(posted, "Allow") == "GET, HEAD"); // [RFC 9110 15.5.6]
    CHECK(status_of(ask(s, "*", "", "OPTIONS")) == 405);
    CHECK(status_of(ask(s, "/", "", "BREW")) == 501);
    const std::string head = ask(s, "/data", "", "HEAD");
    CHECK(status_of(head) == 200);
    CHECK(value_of(head, "Content-Length") == "10");
    CHECK(body_of(head).empty());
}

TEST_CASE("http files: a client that has the file is told so") {
    const scratch s;
    const std::string first = ask(s, "/data");
    const std::string tag = value_of(first, "ETag");
    const std::string date = value_of(first, "Last-Modified");
    const std::string cached = ask(s, "/data", "If-None-Match: \"other\", W/" + tag + "\r\n");
    CHECK(status_of(cached) == 304);
    CHECK(value_of(cached, "ETag") == tag); // [RFC 9110 15.4.5]
    CHECK(body_of(cached).empty());
    CHECK(status_of(ask(s, "/data", "If-Modified-Since: " + date + "\r\n")) == 304);
    CHECK(status_of(ask(s, "/data", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n")) == 200);
    CHECK(status_of(ask(s, "/data", "If-Modified-Since: yesterday\r\n")) == 200);
    // [RFC 9110 13.1.3] a tag decides over a date
    CHECK(status_of(ask(s, "/data", "If-None-Match: \"other\"\r\nIf-Modified-Since: " + date + "\r\n")) ==
          200);
    CHECK(status_of(ask(s, "/data", "If-Match: \"other\"\r\n")) == 412);
    CHECK(status_of(ask(s, "/data", "If-Match: " + tag + "\r\n")) == 200);
    CHECK(status_of(ask(s, "/data", "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n")) == 412);
}

TEST_CASE("http files: one range is sent, an impossible one refused, any other ignored") {
    // [RFC 9110 14.2]
    const scratch s;
    const auto range = [&](const char* text) {
        return ask(s, "/data", "Range: " + std::string(text) + "\r\n");
    };
    const std::string part = range("bytes=2-4");
    CHECK(status_of(part) == 206);
    CHECK(body_of(part) == "234");
    CHECK(value_of(part, "Content-Range") == "bytes 2-4/10");
    CHECK(body_of(range("bytes=7-")) == "789");
    CHECK(body_of(range("bytes=-3")) == "789");
    CHECK(value_of(range("bytes=8-99"), "Content-Range") == "bytes 8-9/10");
    CHECK(value_of(range("bytes=-99"), "Content-Range") == "bytes 0-9/10");
    for (const char* impossible : {"bytes=10-", "bytes=99-100", "bytes=-0"}) {
        INFO(impossible);
        CHECK(status_of(range(impossible)) == 416);
        CHECK(value_of(range(impossible), "Content-Range") == "bytes */10");
    }
    for (const char* ignored : {"bytes=4-2", "bytes=a-b", "bytes=", "bytes=-", "lines=1-2", "bytes=0-1,3-4",
                                "bytes=99999999999999999999-"}) {
        INFO(ignored);
        CHECK(status_of(range(ignored)) == 200);
    }
    const std::string tag = value_of(part, "ETag");
    CHECK(status_of(ask(s, "/data", "Range: bytes=0-1\r\nIf-Range: " + tag + "\r\n")) == 206);
    CHECK(status_of(ask(s, "/data", "Range: bytes=0-1\r\nIf-Range: \"old\"\r\n")) == 200);
}

TEST_CASE("http files: a large file is streamed intact, and its ranges too") {
    const scratch s;
    std::string big(3'000'000, '\0');
    for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 7 + i / 251);
    s.put("root/big.bin", big);
    CHECK(body_of(ask(s, "/big.bin")) == big);
    const std::string part = ask(s, "/big.bin", "Range: bytes=1000000-2999998\r\n");
    CHECK(status_of(part) == 206);
    CHECK(body_of(part) == big.substr(1'000'000, 1'999'999));
}

TEST_CASE("http files: a file that shrinks while it is sent resets the connection") {
    const scratch s;
    s.put("root/big.bin", std::string(3'000'000, 'x'));
    http_world w(http::static_files(s.root().string()));
    auto client = [&](http_world& world) -> task<> {
        pipe_stream c = world.listener.connect();
        (void)co_await c.write(get("/big.bin"));
        (void)co_await read_until(c, "\r\n\r\n");
        fs::resize_file(s.root() / "big.bin", 1'000'000);
        std::error_code error;
        (void)co_await read_all(c, &error);
        CHECK(error == errc::reset);
    };
    w.run(client);
    CHECK(w.counters().body_failures == 1);
}
