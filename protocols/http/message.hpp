// What a handler sees: a plain request in, a plain response out. Neither knows what kind of connection
// carries them.
//
//     task<http::response> hello(const http::request& asked) {
//         if (asked.path() != "/") co_return http::response(404, "text/plain", "no such page\n");
//         co_return http::response(200, "text/plain", "hello\n");
//     }
//
// The request outlives the handler's frame. The handler itself is copied into serve() and outlives every
// connection, so the captures of a lambda coroutine are safe.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/task.hpp>
#include <tapir/protocols/http/fields.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace tapir::http {

struct request {
    request() = default;

    std::string method; ///< case-sensitive: "GET"
    std::string target; ///< as it came, percent-encoded
    int minor = 1;      ///< of the version: HTTP/1.0 or HTTP/1.1
    http::fields fields;
    std::string body; ///< whole, freed of its transfer encoding

    /// The path of the target, still percent-encoded: "/a" of "/a?b=1" and of "http://host/a?b=1"; "*" for
    /// OPTIONS *.
    std::string_view path() const;
    /// What stands after the '?', without it.
    std::string_view query() const;
    void clear();
};

/// A body that is made while it is sent: asked for the next piece only when the one before has been taken by
/// the connection, so that its size in memory does not depend on its length.
class body_source {
  public:
    virtual ~body_source() = default;
    /// At least one byte into `to`; 0 is the end.
    virtual task<result<std::size_t>> read(mutable_bytes to) = 0;
    /// Known lengths are sent as Content-Length, others chunked. A source that ends before its length, or
    /// fails, has its connection aborted: the client must not take a part for the whole.
    virtual std::optional<std::uint64_t> length() const = 0;
};

class response {
  public:
    response() = default;
    explicit response(int status_code) : status(status_code) {}
    response(int status_code, std::string_view content_type, std::string text)
        : status(status_code), body_(std::move(text)) {
        fields.add("Content-Type", content_type);
    }

    int status = 200;
    std::string reason; ///< empty: the usual phrase
    /// Without Content-Length, Transfer-Encoding, Date and Connection: these are the server's, except that
    /// "Connection: close" is obeyed, and that a HEAD or 304 response without a body may carry the
    /// Content-Length of the body it stands for.
    http::fields fields;

    void set_body(std::string text) { body_ = std::move(text); }
    /// The same bytes for any number of responses, without a copy.
    void set_body(std::shared_ptr<const std::string> shared) { body_ = std::move(shared); }
    void set_body(std::unique_ptr<body_source> source) { body_ = std::move(source); }

    /// Null unless the body is streamed.
    body_source* source() const {
        const auto* p = std::get_if<std::unique_ptr<body_source>>(&body_);
        return p == nullptr ? nullptr : p->get();
    }
    /// The body when it is not streamed.
    std::string_view text() const;

  private:
    std::variant<std::string, std::shared_ptr<const std::string>, std::unique_ptr<body_source>> body_;
};

using handler = std::function<task<response>(const request&)>;

/// "Not Found" for 404.
std::string_view reason_of(int status);

/// The usual short page that says what went wrong.
response error_response(int status);

} // namespace tapir::http
