#include <tapir/protocols/http/characters.hpp>
#include <tapir/protocols/http/head_scanner.hpp>

#include <algorithm>

namespace tapir::http {

std::size_t head_scanner::put(std::string_view in) {
    std::size_t n = 0;
    while (n < in.size() && state_ != state::done && failure_ == problem::none) {
        if (state_ == state::line) {
            n += within_line(in.substr(n));
            n += line_end(in.substr(n));
        }
        if (n < in.size()) failure_ = step(in[n++]);
    }
    return n;
}

// As step() would, for as many bytes as neither end the line nor come to a limit.
std::size_t head_scanner::within_line(std::string_view in) {
    std::size_t room = limits_.head_bytes - size_;
    if (start_line_ == 0) room = std::min(room, limits_.request_line_bytes - (size_ - leading_));
    const std::size_t n = printable_prefix(in.substr(0, room));
    size_ += n;
    return n;
}

// As step() would twice, for a CRLF that is here and within the limits.
std::size_t head_scanner::line_end(std::string_view in) {
    if (!in.starts_with("\r\n") || size_ + 2 > limits_.head_bytes) return 0;
    if (start_line_ == 0 && size_ + 2 - leading_ > limits_.request_line_bytes) return 0;
    size_ += 2;
    if (start_line_ == 0) start_line_ = size_ - leading_;
    state_ = state::line_start;
    return 2;
}

problem head_scanner::step(char c) {
    ++size_;
    if (start_line_ == 0 && size_ - leading_ > limits_.request_line_bytes) return problem::target_too_long;
    if (size_ > limits_.head_bytes) return problem::head_too_large;
    switch (state_) {
    case state::leading: // [RFC 9112 2.2] empty lines before a request line are ignored
        if (c == '\r') {
            state_ = state::leading_cr;
            return problem::none;
        }
        break;
    case state::leading_cr:
        if (c != '\n') return problem::bad_line_ending;
        leading_ = size_;
        state_ = state::leading;
        return problem::none;
    case state::line: break;
    case state::line_cr: // [RFC 9112 2.2] a CR without LF is invalid
        if (c != '\n') return problem::bad_line_ending;
        if (start_line_ == 0) start_line_ = size_ - leading_;
        state_ = state::line_start;
        return problem::none;
    case state::line_start:
        if (c == '\r') {
            state_ = state::end_cr;
            return problem::none;
        }
        // [RFC 9112 5.2] obs-fold is refused; [RFC 9112 2.2] so is white space after the start line
        if (c == ' ' || c == '\t') return problem::obsolete_folding;
        if (++lines_ > limits_.field_count) return problem::head_too_large;
        break;
    case state::end_cr:
        if (c != '\n') return problem::bad_line_ending;
        state_ = state::done;
        return problem::none;
    case state::done: return problem::none;
    }
    if (c == '\r') {
        state_ = state::line_cr;
        return problem::none;
    }
    // [RFC 9112 2.2] a recipient MAY take a lone LF for a line's end; two that differ in it are how requests
    // are smuggled, so it is refused
    if (c == '\n') return problem::bad_line_ending;
    const auto u = static_cast<unsigned char>(c);
    if ((u < 0x20 && c != '\t') || u == 0x7f) return problem::control_character; // [RFC 9110 5.5]
    state_ = state::line;
    return problem::none;
}

} // namespace tapir::http
