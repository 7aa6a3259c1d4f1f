#include <tapir/protocols/http/framing.hpp>

#include <limits>
#include <string_view>

namespace tapir::http {
namespace {

/// [RFC 9110 8.6] 1*DIGIT, no sign, no list; overflow is checked.
bool parse_length(std::string_view text, std::uint64_t& out) {
    if (text.empty()) return false;
    std::uint64_t value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') return false;
        const auto digit = static_cast<std::uint64_t>(c - '0');
        if (value > (std::numeric_limits<std::uint64_t>::max() - digit) / 10) return false;
        value = value * 10 + digit;
    }
    out = value;
    return true;
}

/// Fills `out` when a field tells the length; `told` says whether one did.
problem told_framing(const fields& f, int minor, framing& out, bool& told) {
    const std::size_t lengths = f.count("Content-Length");
    const std::size_t codings = f.count("Transfer-Encoding");
    told = lengths + codings != 0;
    // [RFC 9112 6.1] [RFC 9112 6.3] both: ought to be handled as an error
    if (lengths != 0 && codings != 0) return problem::length_and_transfer_encoding;
    if (codings != 0) {
        if (minor == 0) return problem::bad_transfer_encoding; // [RFC 9112 6.1] faulty framing in HTTP/1.0
        if (codings > 1) return problem::bad_transfer_encoding;
        const std::string_view coding = *f.find("Transfer-Encoding");
        if (equal_without_case(coding, "chunked")) {
            out = framing(framing::kind::chunked, 0);
            return problem::none;
        }
        // [RFC 9112 6.3] chunked must be last and only once; other codings are not implemented [RFC 9112 6.1]
        const std::size_t comma = coding.rfind(',');
        if (comma == std::string_view::npos)
            return is_token(coding) ? problem::unsupported_transfer_encoding : problem::bad_transfer_encoding;
        if (!equal_without_case(trimmed(coding.substr(comma + 1)), "chunked"))
            return problem::bad_transfer_encoding;
        std::string_view before = coding.substr(0, comma);
        for (;;) {
            const std::size_t next = before.find(',');
            const std::string_view each = trimmed(before.substr(0, next));
            if (!is_token(each) || equal_without_case(each, "chunked")) return problem::bad_transfer_encoding;
            if (next == std::string_view::npos) break;
            before.remove_prefix(next + 1);
        }
        return problem::unsupported_transfer_encoding;
    }
    if (lengths > 1) return problem::repeated_content_length; // equal ones too: nobody honest sends them
    if (lengths == 1) {
        out = framing(framing::kind::length, 0);
        if (!parse_length(*f.find("Content-Length"), out.length)) return problem::bad_content_length;
    }
    return problem::none;
}

} // namespace

problem request_framing(const request& r, bool require_length, framing& out) {
    out = framing();
    bool told = false;
    const problem p = told_framing(r.fields, r.minor, out, told);
    if (p != problem::none) return p;
    // [RFC 9110 15.5.12] A body that nobody announced would be read as the next request.
    if (!told && require_length && (r.method == "POST" || r.method == "PUT")) return problem::length_required;
    return problem::none;
}

problem response_framing(const response_head& r, bool to_head, framing& out) {
    out = framing();
    // [RFC 9112 6.3] 1: no body, whatever the fields say
    if (to_head || r.status / 100 == 1 || r.status == 204 || r.status == 304) return problem::none;
    bool told = false;
    const problem p = told_framing(r.fields, r.minor, out, told);
    if (p != problem::none) return p;
    if (!told) out = framing(framing::kind::until_close, 0);
    return problem::none;
}

bool persists(const fields& f, int minor) {
    if (f.has_token("Connection", "close")) return false;
    return minor >= 1 || f.has_token("Connection", "keep-alive");
}

} // namespace tapir::http
