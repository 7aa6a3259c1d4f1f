#include <tapir/protocols/http/framing.hpp>
#include <tapir/protocols/http/response_parser.hpp>

#include <algorithm>
#include <limits>

namespace tapir::http {
namespace {

constexpr int max_interim_responses = 16;

limits of_response(limits l) {
    l.request_line_bytes = std::numeric_limits<std::size_t>::max(); // a status line has no limit of its own
    return l;
}

} // namespace

response_parser::response_parser(const limits& l, bool to_head)
    : limits_(of_response(l)), to_head_(to_head), scanner_(limits_) {}

std::size_t response_parser::put(std::string_view in, std::string_view& piece) {
    piece = {};
    if (failure_ != problem::none) return 0;
    if (head_done_) {
        const std::size_t n = decoder_.put(in, piece);
        failure_ = decoder_.failure();
        return n;
    }
    const std::size_t n = scanner_.put(in);
    text_ += in.substr(0, n);
    const std::string_view text = std::string_view(text_).substr(std::min(scanner_.leading(), text_.size()));
    if (scanner_.done()) {
        end_of_head(text);
        return n;
    }
    if (!start_line_checked_ && scanner_.start_line() != 0) {
        start_line_checked_ = true;
        failure_ = check_status_line(text.substr(0, scanner_.start_line()));
    }
    if (failure_ == problem::none) failure_ = scanner_.failure();
    return n;
}

void response_parser::end_of_head(std::string_view text) {
    failure_ = parse_response_head(text, head_);
    if (failure_ == problem::none && (head_.status < 100 || head_.status > 599))
        failure_ = problem::bad_status_line;
    if (failure_ != problem::none) return;
    if (head_.status / 100 == 1 && head_.status != 101) { // [RFC 9110 15.2] MUST be parsed, may be ignored
        if (++interim_ > max_interim_responses) failure_ = problem::bad_status_line;
        head_ = response_head();
        scanner_ = head_scanner(limits_);
        text_.clear();
        start_line_checked_ = false;
        return;
    }
    framing f;
    failure_ = response_framing(head_, to_head_, f);
    if (failure_ != problem::none) return;
    until_close_ = f.how == framing::kind::until_close;
    decoder_ = body_decoder(f, limits_);
    failure_ = decoder_.failure();
    text_.clear();
    head_done_ = failure_ == problem::none;
}

void response_parser::put_end() {
    if (failure_ != problem::none || done()) return;
    if (!head_done_) {
        failure_ = problem::incomplete;
        return;
    }
    decoder_.put_end();
    failure_ = decoder_.failure();
}

bool response_parser::persists() const {
    return !until_close_ && head_.status != 101 && http::persists(head_.fields, head_.minor);
}

} // namespace tapir::http
