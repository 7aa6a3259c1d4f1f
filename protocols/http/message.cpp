#include <tapir/protocols/http/message.hpp>

#include <algorithm>

namespace tapir::http {
namespace {

/// Origin form of the target: absolute form loses its scheme and authority.
std::string_view origin_form(std::string_view target) {
    const std::size_t scheme = target.starts_with('/') ? std::string_view::npos : target.find("://");
    if (scheme == std::string_view::npos) return target;
    target.remove_prefix(scheme + 3);
    target.remove_prefix(std::min(target.find_first_of("/?"), target.size()));
    return target;
}

} // namespace

std::string_view request::path() const {
    const std::string_view origin = origin_form(target);
    const std::string_view path = origin.substr(0, origin.find('?'));
    return path.empty() ? "/" : path; // [RFC 9110 4.2.3] http://host is http://host/
}

std::string_view request::query() const {
    const std::string_view origin = origin_form(target);
    const std::size_t mark = origin.find('?');
    return mark == std::string_view::npos ? std::string_view() : origin.substr(mark + 1);
}

void request::clear() {
    method.clear();
    target.clear();
    minor = 1;
    fields.clear();
    body.clear();
}

std::string_view response::text() const {
    if (const auto* own = std::get_if<std::string>(&body_)) return *own;
    if (const auto* shared = std::get_if<std::shared_ptr<const std::string>>(&body_); shared && *shared)
        return **shared;
    return {};
}

std::string_view reason_of(int status) {
    switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "";
    }
}

response error_response(int status) {
    return response(status, "text/plain; charset=utf-8",
                    std::to_string(status) + " " + std::string(reason_of(status)) + "\n");
}

} // namespace tapir::http
