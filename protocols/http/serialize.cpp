#include <tapir/protocols/http/characters.hpp>
#include <tapir/protocols/http/serialize.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace tapir::http {
namespace {

char* copy(std::string_view text, char* to) {
    return std::copy(text.begin(), text.end(), to);
}

constexpr std::size_t size_of_field(std::string_view name, std::string_view value) {
    return name.size() + value.size() + 4;
}

char* copy_field(std::string_view name, std::string_view value, char* to) {
    to = copy(": ", copy(name, to));
    return copy("\r\n", copy(value, to));
}

/// As text, for as long as `digits` is.
using digits_of_a_number = std::array<char, 20>;
std::string_view number(digits_of_a_number& digits, std::uint64_t value) {
    return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr};
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

// In two steps: what there is to say, and then all of it behind one look at the room there is.
response_plan append_head(std::string& out, const response& r, const response_context& context) {
    using body = response_plan::body;
    bool names_connection = false;
    bool names_server = false;
    std::size_t handlers = 0; // bytes of its fields
    for (const field each : r.fields) {
        names_connection = names_connection || equal_without_case(each.name, "Connection");
        names_server = names_server || equal_without_case(each.name, "Server");
        handlers += size_of_field(each.name, each.value);
    }
    response_plan plan;
    plan.keep_alive = context.keep_alive && !(names_connection && r.fields.has_token("Connection", "close"));

    digits_of_a_number length_digits;
    std::string_view length;                                  // Content-Length, if there is to be one
    const bool bodiless = r.status == 204 || r.status == 304; // [RFC 9110 6.4.1]
    body_source* const source = r.source();
    const auto source_length = source != nullptr ? source->length() : std::nullopt;
    if (bodiless || context.to_head) {
        // [RFC 9110 8.6] no Content-Length in a 204; in others only that of the body it stands for
        if (r.status != 204) {
            if (source != nullptr) {
                if (source_length) length = number(length_digits, *source_length);
            } else if (!r.text().empty()) {
                length = number(length_digits, r.text().size());
            } else if (const auto stands_for = r.fields.find("Content-Length");
                       stands_for && is_number(*stands_for)) {
                length = *stands_for;
            } else if (r.status != 304) {
                length = "0";
            }
        }
    } else if (source == nullptr) {
        plan.how = body::text;
        length = number(length_digits, r.text().size());
    } else if (source_length) {
        plan.how = body::counted;
        plan.length = *source_length;
        length = number(length_digits, *source_length);
    } else if (context.request_minor >= 1) {
        plan.how = body::chunked;
    } else { // [RFC 9112 6.1] MUST NOT send chunks to HTTP/1.0
        plan.how = body::until_close;
        plan.keep_alive = false;
    }
    std::string_view connection;
    if (!plan.keep_alive)
        connection = "close"; // [RFC 9112 9.6]
    else if (context.request_minor == 0)
        connection = "keep-alive";

    std::string_view reason = r.reason;
    if (reason.empty() || !is_printable(reason)) reason = reason_of(r.status);
    // [RFC 9110 6.2] the server's own highest version, also to an HTTP/1.0 request
    digits_of_a_number status_digits;
    const std::string_view status = number(status_digits, static_cast<std::uint64_t>(r.status));
    const std::string_view server = names_server ? std::string_view() : context.server;

    const std::size_t before = out.size();
    const std::size_t most =
        size_of_field("HTTP/1.1", status) + reason.size() + size_of_field("Date", context.date) +
        size_of_field("Server", server) + handlers + size_of_field("Content-Length", length) +
        size_of_field("Transfer-Encoding", "chunked") + size_of_field("Connection", connection) + 2;
    out.resize_and_overwrite(before + most, [&](char* to, std::size_t) {
        char* const begin = to;
        to += before;
        to = copy(" ", copy(status, copy("HTTP/1.1 ", to)));
        to = copy("\r\n", copy(reason, to));
        if (!context.date.empty()) to = copy_field("Date", context.date, to); // [RFC 9110 6.6.1]
        if (!server.empty()) to = copy_field("Server", server, to);
        for (const field each : r.fields)
            if (!is_servers_own(each.name)) to = copy_field(each.name, each.value, to);
        if (!length.empty()) to = copy_field("Content-Length", length, to);
        if (plan.how == body::chunked) to = copy_field("Transfer-Encoding", "chunked", to);
        if (!connection.empty()) to = copy_field("Connection", connection, to);
        return static_cast<std::size_t>(copy("\r\n", to) - begin);
    });
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
