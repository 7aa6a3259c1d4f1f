#include <tapir/protocols/http/fields.hpp>
#include <tapir/protocols/http/url.hpp>

#include <algorithm>
#include <charconv>

namespace tapir::http {

std::optional<url> parse_url(std::string_view text) {
    constexpr std::string_view scheme = "http://";
    if (!equal_without_case(text.substr(0, scheme.size()), scheme)) return std::nullopt;
    text.remove_prefix(scheme.size());
    text = text.substr(0, text.find('#'));
    const bool clean = std::all_of(text.begin(), text.end(), [](char c) {
        const auto u = static_cast<unsigned char>(c);
        return u > 0x20 && u < 0x7f;
    });
    if (!clean) return std::nullopt;

    url out;
    const std::size_t end = std::min(text.find_first_of("/?"), text.size());
    const std::string_view authority = text.substr(0, end);
    const std::string_view rest = text.substr(end);
    out.authority = authority;
    out.target = rest.starts_with('/') ? std::string(rest) : "/" + std::string(rest);

    std::string_view host = authority;
    std::string_view port;
    if (authority.starts_with('[')) {
        const std::size_t close = authority.find(']');
        if (close == std::string_view::npos) return std::nullopt;
        host = authority.substr(1, close - 1);
        port = authority.substr(close + 1);
        if (!port.empty() && !port.starts_with(':')) return std::nullopt;
    } else {
        host = authority.substr(0, authority.find(':'));
        port = authority.substr(host.size());
    }
    if (host.empty() || host.find_first_of("@\\,\"<>^`{|}") != std::string_view::npos) return std::nullopt;
    if (port.size() > 1) { // ":" alone is the default
        port.remove_prefix(1);
        const auto parsed = std::from_chars(port.data(), port.data() + port.size(), out.port);
        if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size() || out.port == 0)
            return std::nullopt;
    }
    out.host = host;
    return out;
}

} // namespace tapir::http
