#include <tapir/protocols/http/characters.hpp>
#include <tapir/protocols/http/parse.hpp>

#include <boost/beast/http/basic_parser.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace tapir::http {
namespace {

namespace beast = boost::beast;
namespace bhttp = boost::beast::http;

std::string_view view(beast::string_view s) {
    return {s.data(), s.size()};
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/// Beast calls back for each part of the head; with skip() it is done where the body would begin.
template <bool IsRequest>
class head_parser final : public bhttp::basic_parser<IsRequest> {
  public:
    using error_code = beast::error_code;

    head_parser(request* to_request, response_head* to_response)
        : request_(to_request), response_(to_response) {
        this->header_limit(std::numeric_limits<std::uint32_t>::max()); // head_scanner has the limits
        this->skip(true);
    }

    problem parse(std::string_view text) {
        error_code ec;
        this->put(boost::asio::const_buffer(text.data(), text.size()), ec);
        if (!ec) return this->is_header_done() ? problem::none : line_problem();
        if (ec == bhttp::error::need_more) return problem::none; // a start line alone
        if (ec == bhttp::error::bad_content_length)
            return has_coding_   ? problem::length_and_transfer_encoding
                   : has_length_ ? problem::repeated_content_length
                                 : problem::bad_content_length;
        if (ec == bhttp::error::bad_transfer_encoding)
            return has_length_ ? problem::length_and_transfer_encoding : problem::bad_transfer_encoding;
        return started_ ? problem::bad_field : line_problem();
    }

  private:
    static problem line_problem() { return IsRequest ? problem::bad_request_line : problem::bad_status_line; }

    void on_request_impl(bhttp::verb, beast::string_view method, beast::string_view target, int version,
                         error_code&) override {
        started_ = true;
        if (request_ == nullptr) return;
        request_->method = view(method);
        request_->target = view(target);
        request_->minor = version % 10;
    }
    void on_response_impl(int code, beast::string_view reason, int version, error_code&) override {
        started_ = true;
        if (response_ == nullptr) return;
        response_->status = code;
        response_->reason = view(reason);
        response_->minor = version % 10;
    }
    void on_field_impl(bhttp::field known, beast::string_view name, beast::string_view value,
                       error_code&) override {
        has_length_ = has_length_ || known == bhttp::field::content_length;
        has_coding_ = has_coding_ || known == bhttp::field::transfer_encoding;
        if (request_ != nullptr) request_->fields.add(view(name), view(value));
        if (response_ != nullptr) response_->fields.add(view(name), view(value));
    }
    void on_header_impl(error_code&) override {}
    void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
    std::size_t on_body_impl(beast::string_view body, error_code&) override { return body.size(); }
    void on_chunk_header_impl(std::uint64_t, beast::string_view, error_code&) override {}
    std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view body, error_code&) override {
        return body.size();
    }
    void on_finish_impl(error_code&) override {}

    request* request_;
    response_head* response_;
    bool started_ = false;
    bool has_length_ = false;
    bool has_coding_ = false;
};

/// Where "HTTP/x.y" stands in a start line, and whether it is one.
struct version_word {
    std::size_t at = 0;
    bool found = false;
    char major = 0;
    char minor = 0;
};

version_word find_version(std::string_view line, bool of_request) {
    version_word v;
    const std::string_view text = line.substr(0, line.size() - 2);
    if (text.size() < 8) return v;
    v.at = of_request ? text.size() - 8 : 0;
    const std::string_view word = text.substr(v.at, 8);
    if (!word.starts_with("HTTP/") || !is_digit(word[5]) || word[6] != '.' || !is_digit(word[7])) return v;
    if (of_request && (v.at == 0 || text[v.at - 1] != ' ')) return v;
    v.found = true;
    v.major = word[5];
    v.minor = word[7];
    return v;
}

/// [RFC 9110 2.5] A higher minor version is processed as the highest known; Beast knows 1.0 and 1.1.
template <bool IsRequest>
problem parse_text(std::string_view text, std::size_t line_size, request* to_request,
                   response_head* to_response) {
    head_parser<IsRequest> parser(to_request, to_response);
    const version_word v = find_version(text.substr(0, line_size), IsRequest);
    if (v.found && v.major != '1') return problem::unsupported_version;
    if (!v.found || v.minor <= '1') return parser.parse(text);
    std::string as_1_1(text);
    as_1_1[v.at + 7] = '1';
    return parser.parse(as_1_1);
}

std::size_t line_of(std::string_view head) {
    return std::min(head.find("\r\n"), head.size() - 2) + 2;
}

constexpr character_set plain_target_characters([](char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return std::string_view("-._~%!$&'()*+,;=:@/?").find(c) != std::string_view::npos;
});

constexpr character_set authority_characters([](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u > 0x20 && u < 0x7f && std::string_view("/@?#,\"<>\\^`{|}").find(c) == std::string_view::npos;
});

bool is_authority(std::string_view text) {
    return authority_characters.has_all(text);
}

/// What a field of a plain request may be.
enum class meaning : std::uint8_t { none, host, close, other };

/// Of a request that nobody has to look at again: `other` is all that tells of a body, of tunnels or of
/// what is expected, that Beast looks into, or that may be wrong.
meaning meaning_of(std::string_view name, std::string_view value) {
    const auto is = [&](std::string_view known) { return equal_without_case(name, known); };
    switch (name.size()) { // one comparison at most
    case 4:
        if (!is("Host")) break;
        return is_authority(value) ? meaning::host : meaning::other;
    case 6: return is("Expect") ? meaning::other : meaning::none;
    case 7: return is("Upgrade") ? meaning::other : meaning::none;
    case 10:
        if (!is("Connection")) break;
        if (equal_without_case(value, "close")) return meaning::close;
        return equal_without_case(value, "keep-alive") ? meaning::none : meaning::other;
    case 14: return is("Content-Length") ? meaning::other : meaning::none;
    case 16: return is("Proxy-Connection") ? meaning::other : meaning::none;
    case 17: return is("Transfer-Encoding") ? meaning::other : meaning::none;
    default: break;
    }
    return meaning::none;
}

/// How many bytes stand before the CRLF that ends a line; npos without one, or if they hold controls.
std::size_t text_of_line(std::string_view in) {
    std::size_t n = printable_prefix(in);
    while (n < in.size() && in[n] == '\t') n += 1 + printable_prefix(in.substr(n + 1));
    return in.substr(n).starts_with("\r\n") ? n : std::string_view::npos;
}

/// The bytes of the fields of a plain request, `most` at most, with the empty line behind them; 0 when they
/// are none.
std::size_t take_plain_fields(std::string_view in, std::size_t most, fields& out, bool& closes) {
    std::size_t hosts = 0;
    std::string_view rest = in;
    while (!rest.starts_with("\r\n")) {
        const std::size_t colon = rest.find(':');
        if (colon == std::string_view::npos || out.size() == most) return 0;
        const std::string_view name = rest.substr(0, colon);
        const std::string_view behind = rest.substr(colon + 1);
        const std::size_t size = text_of_line(behind);
        if (size == std::string_view::npos || !is_token(name)) return 0;
        const std::string_view value = trimmed(behind.substr(0, size));
        const meaning what = meaning_of(name, value);
        if (what == meaning::other) return 0;
        hosts += what == meaning::host ? 1 : 0;
        closes = closes || what == meaning::close;
        out.add_checked(name, value);
        rest = behind.substr(size + 2);
    }
    return hosts == 1 ? in.size() - rest.size() + 2 : 0;
}

} // namespace

problem check_request_line(std::string_view line) {
    return parse_text<true>(line, line.size(), nullptr, nullptr);
}

problem check_status_line(std::string_view line) {
    return parse_text<false>(line, line.size(), nullptr, nullptr);
}

std::size_t take_plain_request(std::string_view in, const limits& l, request& out, bool& closes) {
    constexpr std::string_view version = " HTTP/1.1";
    const std::string_view line = in.substr(0, in.find("\r\n"));
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || !line.ends_with(version)) return 0;
    if (line.size() <= space + 1 + version.size() || line.size() + 2 > l.request_line_bytes) return 0;
    const std::string_view method = line.substr(0, space);
    const std::string_view target = line.substr(space + 1, line.size() - version.size() - (space + 1));
    if (!is_token(method) || method == "CONNECT" || method == "POST" || method == "PUT") return 0;
    if (target.front() != '/' || !plain_target_characters.has_all(target)) return 0;
    closes = false;
    const std::size_t start = std::min(line.size() + 2, in.size());
    const std::size_t rest = take_plain_fields(in.substr(start), l.field_count, out.fields, closes);
    if (rest == 0 || start + rest > l.head_bytes) {
        out.fields.clear();
        return 0;
    }
    out.method.append(method); // to what is clear, which takes less than to replace it
    out.target.append(target);
    return start + rest;
}

problem parse_request_head(std::string_view head, request& out) {
    return parse_text<true>(head, line_of(head), &out, nullptr);
}

problem parse_response_head(std::string_view head, response_head& out) {
    return parse_text<false>(head, line_of(head), nullptr, &out);
}

problem check_request(const request& r) {
    if (r.method == "CONNECT") return problem::unsupported_method; // tunnels are a proxy's business
    const std::string_view target = r.target;
    if (target.find('#') != std::string_view::npos) return problem::bad_target;
    if (target == "*") {
        if (r.method != "OPTIONS") return problem::bad_target; // [RFC 9112 3.2.4]
    } else if (!target.starts_with('/')) { // [RFC 9112 3.2.2] absolute form MUST be accepted
        const std::size_t scheme = target.find("://");
        if (scheme == std::string_view::npos) return problem::bad_target;
        const std::string_view name = target.substr(0, scheme);
        const std::string_view rest = target.substr(scheme + 3);
        const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
        if (!equal_without_case(name, "http") && !equal_without_case(name, "https"))
            return problem::bad_target;
        if (authority.empty() || !is_authority(authority)) return problem::bad_target;
    }
    // [RFC 9112 3.2] 400 for an HTTP/1.1 request without Host, with more than one, or with an invalid one
    const std::size_t hosts = r.fields.count("Host");
    if (hosts == 0 && r.minor >= 1) return problem::missing_host;
    if (hosts > 1) return problem::repeated_host;
    if (hosts == 1 && !is_authority(*r.fields.find("Host"))) return problem::bad_host;
    return problem::none;
}

} // namespace tapir::http
