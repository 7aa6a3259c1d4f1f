#include <tapir/protocols/http/body_decoder.hpp>

#include <algorithm>
#include <limits>

namespace tapir::http {
namespace {

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool is_text(char c) {
    const auto u = static_cast<unsigned char>(c);
    return (u >= 0x20 && u != 0x7f) || c == '\t';
}

} // namespace

body_decoder::body_decoder(framing f, const limits& l)
    : budget_(l.body_bytes), overhead_(l.chunk_overhead_bytes) {
    switch (f.how) {
    case framing::kind::none: break;
    case framing::kind::length:
        left_ = f.length;
        if (left_ > budget_) failure_ = problem::body_too_large;
        state_ = left_ == 0 ? state::done : state::data;
        break;
    case framing::kind::chunked: state_ = state::size_begin; break;
    case framing::kind::until_close: state_ = state::until_close; break;
    }
}

std::size_t body_decoder::put(std::string_view in, std::string_view& piece) {
    piece = {};
    std::size_t n = 0;
    while (n < in.size() && failure_ == problem::none) {
        const std::size_t here = in.size() - n;
        switch (state_) {
        case state::data:
        case state::chunk_data: {
            const std::size_t take = left_ < here ? static_cast<std::size_t>(left_) : here;
            piece = in.substr(n, take);
            left_ -= take;
            if (left_ == 0) state_ = state_ == state::data ? state::done : state::data_cr;
            return n + take;
        }
        case state::until_close: {
            const std::size_t take = budget_ < here ? static_cast<std::size_t>(budget_) : here;
            piece = in.substr(n, take);
            budget_ -= take;
            if (take < here) failure_ = problem::body_too_large;
            return n + take;
        }
        case state::done: return n;
        default: step(in[n++]);
        }
    }
    return n;
}

void body_decoder::put_end() {
    if (state_ == state::until_close) {
        state_ = state::done;
    } else if (state_ != state::done && failure_ == problem::none) {
        failure_ = problem::incomplete; // [RFC 9112 8]
    }
}

void body_decoder::spend(problem on_overflow) {
    if (overhead_ == 0) {
        failure_ = on_overflow;
    } else {
        --overhead_;
    }
}

// [RFC 9112 7.1] chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
void body_decoder::step(char c) {
    switch (state_) {
    case state::size_begin:
        left_ = 0;
        if (hex_digit(c) < 0) {
            failure_ = problem::bad_chunk_size;
            return;
        }
        [[fallthrough]];
    case state::size: {
        const int digit = hex_digit(c);
        if (digit >= 0) {
            // [RFC 9112 7.1] recipients MUST anticipate large numerals and prevent overflow
            if (left_ > std::numeric_limits<std::uint64_t>::max() >> 4) {
                failure_ = problem::bad_chunk_size;
                return;
            }
            left_ = left_ << 4 | static_cast<std::uint64_t>(digit);
            if (left_ == 0) spend(problem::bad_chunk_size); // zeros without end
            state_ = state::size;
            return;
        }
        if (c == '\r') {
            state_ = state::size_lf;
        } else if (c == ';') {
            state_ = state::extension;
        } else if (c == ' ' || c == '\t') {
            state_ = state::before_ext;
        } else {
            failure_ = problem::bad_chunk_size;
        }
        return;
    }
    case state::before_ext:
        if (c == ';') {
            state_ = state::extension;
        } else if (c == ' ' || c == '\t') {
            spend(problem::bad_chunk_extension);
        } else {
            failure_ = problem::bad_chunk_extension;
        }
        return;
    case state::extension: // [RFC 9112 7.1.1] unknown extensions MUST be ignored
        if (c == '\r') {
            state_ = state::size_lf;
        } else if (is_text(c)) {
            spend(problem::bad_chunk_extension);
        } else {
            failure_ = problem::bad_chunk_extension;
        }
        return;
    case state::size_lf:
        if (c == '\n') {
            end_of_size_line();
        } else {
            failure_ = problem::bad_chunk_size;
        }
        return;
    case state::data_cr:
        state_ = state::data_lf;
        if (c != '\r') failure_ = problem::bad_chunk_end;
        return;
    case state::data_lf:
        state_ = state::size_begin;
        if (c != '\n') failure_ = problem::bad_chunk_end;
        return;
    // [RFC 9112 7.1.2] trailers are read, checked and dropped
    case state::trailer_begin:
        if (c == '\r') {
            state_ = state::end_lf;
            return;
        }
        state_ = state::trailer_name;
        if (!is_token(std::string_view(&c, 1))) failure_ = problem::bad_trailer;
        spend(problem::bad_trailer);
        return;
    case state::trailer_name:
        if (c == ':') {
            state_ = state::trailer_value;
        } else if (!is_token(std::string_view(&c, 1))) {
            failure_ = problem::bad_trailer;
        }
        spend(problem::bad_trailer);
        return;
    case state::trailer_value:
        if (c == '\r') {
            state_ = state::trailer_lf;
        } else if (!is_text(c)) {
            failure_ = problem::bad_trailer;
        }
        spend(problem::bad_trailer);
        return;
    case state::trailer_lf:
        state_ = state::trailer_begin;
        if (c != '\n') failure_ = problem::bad_trailer;
        return;
    case state::end_lf:
        state_ = state::done;
        if (c != '\n') failure_ = problem::bad_trailer;
        return;
    case state::data:
    case state::chunk_data:
    case state::until_close:
    case state::done: return;
    }
}

void body_decoder::end_of_size_line() {
    if (left_ == 0) {
        state_ = state::trailer_begin;
        return;
    }
    if (left_ > budget_) {
        failure_ = problem::body_too_large;
        return;
    }
    budget_ -= left_;
    state_ = state::chunk_data;
}

} // namespace tapir::http
