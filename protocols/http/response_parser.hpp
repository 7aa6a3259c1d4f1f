// A response from bytes, in pieces of any size, as a client reads it. The body is handed on as it comes and
// never held. Interim (1xx) responses are skipped.
#pragma once

#include <tapir/protocols/http/body_decoder.hpp>
#include <tapir/protocols/http/head_scanner.hpp>
#include <tapir/protocols/http/limits.hpp>
#include <tapir/protocols/http/parse.hpp>
#include <tapir/protocols/http/problem.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace tapir::http {

class response_parser {
  public:
    /// `to_head`: the response to a HEAD request, which has no body.
    explicit response_parser(const limits& l, bool to_head = false);

    /// Consumes up to the end of the head, or of one piece of the body, or of the message. `piece` is the
    /// part of the body in what was consumed.
    std::size_t put(std::string_view in, std::string_view& piece);
    /// The stream has ended, which is how some bodies do.
    void put_end();

    bool head_done() const { return head_done_; }
    bool done() const { return head_done_ && decoder_.done() && failure_ == problem::none; }
    problem failure() const { return failure_; }
    const response_head& head() const { return head_; }
    /// The connection may carry another request.
    bool persists() const;

  private:
    void end_of_head(std::string_view text);

    limits limits_;
    bool to_head_;
    head_scanner scanner_;
    body_decoder decoder_;
    response_head head_;
    std::string text_;
    problem failure_ = problem::none;
    int interim_ = 0;
    bool start_line_checked_ = false;
    bool head_done_ = false;
    bool until_close_ = false;
};

} // namespace tapir::http
