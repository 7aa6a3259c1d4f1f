#include <tapir/protocols/http/framing.hpp>
#include <tapir/protocols/http/parse.hpp>
#include <tapir/protocols/http/request_parser.hpp>

namespace tapir::http {

request_parser::request_parser(const limits& l, bool require_length)
    : limits_(l), require_length_(require_length), scanner_(l) {}

std::size_t request_parser::put(std::string_view in) {
    if (failure_ != problem::none) return 0;
    if (head_done_) {
        std::size_t n = 0;
        while (n < in.size() && !decoder_.done() && failure_ == problem::none) {
            std::string_view piece;
            n += decoder_.put(in.substr(n), piece);
            request_.body += piece;
            failure_ = decoder_.failure();
        }
        return n;
    }
    if (!begun()) {
        bool closes = false;
        if (const std::size_t n = take_plain_request(in, limits_, request_, closes); n != 0) {
            scanner_.pass(n);
            persists_ = !closes;
            head_done_ = true; // and no body: the decoder is as it was made
            return n;
        }
    }
    const std::size_t n = scanner_.put(in);
    const bool whole = head_.empty() && scanner_.done(); // the common case: no copy
    if (!whole) head_ += in.substr(0, n);
    std::string_view text = whole ? in.substr(0, n) : head_;
    text.remove_prefix(scanner_.leading() < text.size() ? scanner_.leading() : text.size());
    if (scanner_.done()) {
        end_of_head(text);
    } else {
        check_start_line(text);
        if (failure_ == problem::none) failure_ = scanner_.failure();
    }
    return n;
}

void request_parser::check_start_line(std::string_view text) {
    if (start_line_checked_ || scanner_.start_line() == 0) return;
    start_line_checked_ = true;
    failure_ = check_request_line(text.substr(0, scanner_.start_line()));
}

void request_parser::end_of_head(std::string_view head) {
    failure_ = parse_request_head(head, request_);
    head_.clear();
    if (failure_ == problem::none) failure_ = check_request(request_);
    framing f;
    if (failure_ == problem::none) failure_ = request_framing(request_, require_length_, f);
    if (failure_ != problem::none) return;
    if (request_.minor >= 1) { // [RFC 9110 10.1.1] MUST be ignored in an HTTP/1.0 request
        for (const field each : request_.fields) {
            if (!equal_without_case(each.name, "Expect")) continue;
            if (!equal_without_case(each.value, "100-continue")) {
                failure_ = problem::unknown_expectation;
                return;
            }
            expects_continue_ = f.how != framing::kind::none;
        }
    }
    decoder_ = body_decoder(f, limits_);
    failure_ = decoder_.failure();
    if (f.how == framing::kind::length && failure_ == problem::none)
        request_.body.reserve(static_cast<std::size_t>(f.length < 65536 ? f.length : 65536));
    persists_ = http::persists(request_.fields, request_.minor);
    head_done_ = failure_ == problem::none;
}

void request_parser::put_end() {
    if (failure_ != problem::none || done() || !begun()) return;
    failure_ = problem::incomplete;
}

void request_parser::reset(const limits& l, bool require_length) {
    limits_ = l;
    require_length_ = require_length;
    reset();
}

std::size_t request_parser::held_bytes() const {
    return head_.capacity() + request_.method.capacity() + request_.target.capacity() +
           request_.body.capacity() + request_.fields.held_bytes();
}

void request_parser::reset() {
    scanner_ = head_scanner(limits_);
    decoder_ = body_decoder();
    request_.clear();
    head_.clear();
    failure_ = problem::none;
    start_line_checked_ = false;
    head_done_ = false;
    expects_continue_ = false;
    persists_ = false;
}

} // namespace tapir::http
