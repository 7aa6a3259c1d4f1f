#include <tapir/protocols/http/characters.hpp>
#include <tapir/protocols/http/serialize.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace tapir::http {
namespace {

/// Writes `size` bytes behind the end, for one look at the room there is: write(char*) returns their end.
template <class Write>
void append(std::string& out, std::size_t size, Write write) {
    const std::size_t before = out.size();
    out.resize_and_overwrite(before + size, [&](char* to, std::size_t) {
        return static_cast<std::size_t>(write(to + before) - to);
    });
}

char* copy(std::string_view text, char* to) {
    return std::copy(text.begin(), text.end(), to);
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
    append(out, name.size() + value.size() + 4, [&](char* to) {
        to = copy(": ", copy(name, to));
        return copy("\r\n", copy(value, to));
    });
}

/// As text, for as long as `digits` is.
std::string_view number(std::array<char, 20>& digits, std::uint64_t value) {
    return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr};
}

void append_length(std::string& out, std::uint64_t length) {
    std::array<char, 20> digits;
    append_field(out, "Content-Length", number(digits, length));
}

/// The fields that belong to the server; a handler's are passed over.
bool is_servers_own(std::string_view name) {
    constexpr std::array<std::string_view, 5> own = {"Content-Length", "Transfer-Encoding", "Connection",
                                                     "Keep-Alive", "Date"};
    return std::any_of(own.begin(), own.end(),
                       [&](std::string_view each) { return equal_without_case(each, name); });
}

bool is_printable(std::string_view text) {
    return !has_controls(text);
}

bool is_number(std::string_view text) {
    return !text.empty() && text.size() < 20 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

} // namespace

response_plan append_head(std::string& out, const response& r, const response_context& context) {
    using body = response_plan::body;
    response_plan plan;
    plan.keep_alive = context.keep_alive && !r.fields.has_token("Connection", "close");

    std::string_view reason = r.reason;
    if (reason.empty() || !is_printable(reason)) reason = reason_of(r.status);
    // [RFC 9110 6.2] the server's own highest version, also to an HTTP/1.0 request
    std::array<char, 20> digits;
    const std::string_view status = number(digits, static_cast<std::uint64_t>(r.status));
    append(out, 12 + status.size() + reason.size(), [&](char* to) {
        to = copy(" ", copy(status, copy("HTTP/1.1 ", to)));
        return copy("\r\n", copy(reason, to));
    });
    if (!context.date.empty()) append_field(out, "Date", context.date); // [RFC 9110 6.6.1]
    if (!context.server.empty() && !r.fields.find("Server")) append_field(out, "Server", context.server);
    for (const field each : r.fields)
        if (!is_servers_own(each.name)) append_field(out, each.name, each.value);

    const bool bodiless = r.status == 204 || r.status == 304; // [RFC 9110 6.4.1]
    body_source* source = r.source();
    if (bodiless || context.to_head) {
        // [RFC 9110 8.6] no Content-Length in a 204; in others only that of the body it stands for
        if (r.status != 204) {
            if (source != nullptr) {
                if (const auto length = source->length()) append_length(out, *length);
            } else if (!r.text().empty()) {
                append_length(out, r.text().size());
            } else if (const auto stands_for = r.fields.find("Content-Length");
                       stands_for && is_number(*stands_for)) {
                append_field(out, "Content-Length", *stands_for);
            } else if (r.status != 304) {
                append_length(out, 0);
            }
        }
    } else if (source == nullptr) {
        plan.how = body::text;
        append_length(out, r.text().size());
    } else if (const auto length = source->length()) {
        plan.how = body::counted;
        plan.length = *length;
        append_length(out, *length);
    } else if (context.request_minor >= 1) {
        plan.how = body::chunked;
        append_field(out, "Transfer-Encoding", "chunked");
    } else { // [RFC 9112 6.1] MUST NOT send chunks to HTTP/1.0
        plan.how = body::until_close;
        plan.keep_alive = false;
    }

    if (!plan.keep_alive) {
        append_field(out, "Connection", "close"); // [RFC 9112 9.6]
    } else if (context.request_minor == 0) {
        append_field(out, "Connection", "keep-alive");
    }
    out += "\r\n";
    return plan;
}

std::string_view frame_chunk(char* data, std::size_t size) {
    std::array<char, 16> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), size, 16).ptr;
    const auto n = static_cast<std::size_t>(end - digits.data());
    char* body = data + chunk_prefix_bytes;
    char* first = body - 2 - n;
    std::copy_n(digits.data(), n, first);
    body[-2] = '\r';
    body[-1] = '\n';
    body[size] = '\r';
    body[size + 1] = '\n';
    return {first, n + 2 + size + 2};
}

} // namespace tapir::http
