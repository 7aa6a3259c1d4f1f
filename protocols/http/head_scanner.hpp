// Finds the end of a message's head in bytes that come in any pieces, and refuses what no parser should be
// shown: bare CR or LF, control characters, folded lines, heads past their limits. It decides on every byte
// alone, so the outcome can not depend on how the bytes were cut.
#pragma once

#include <tapir/protocols/http/limits.hpp>
#include <tapir/protocols/http/problem.hpp>

#include <cstddef>
#include <string_view>

namespace tapir::http {

class head_scanner {
  public:
    explicit head_scanner(const limits& l) : limits_(l) {}

    /// Consumes up to the end of the head, or up to the byte that breaks it. Returns how many.
    std::size_t put(std::string_view in);
    /// A whole head of so many bytes, which somebody else has found fine. Precondition: !begun().
    void pass(std::size_t size) {
        size_ = size;
        state_ = state::done;
    }

    bool begun() const { return size_ != 0; }
    bool done() const { return state_ == state::done; }
    problem failure() const { return failure_; }
    /// Empty lines before the start line, in bytes: not a part of the message.
    std::size_t leading() const { return leading_; }
    /// The start line with its CRLF, without leading(); 0 until it is complete.
    std::size_t start_line() const { return start_line_; }

  private:
    enum class state : unsigned char { leading, leading_cr, line, line_cr, line_start, end_cr, done };
    problem step(char c);
    std::size_t within_line(std::string_view in);
    std::size_t line_end(std::string_view in);

    limits limits_;
    state state_ = state::leading;
    problem failure_ = problem::none;
    std::size_t size_ = 0;
    std::size_t leading_ = 0;
    std::size_t start_line_ = 0;
    std::size_t lines_ = 0;
};

} // namespace tapir::http
