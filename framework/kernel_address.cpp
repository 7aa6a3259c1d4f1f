#include <tapir/framework/kernel_address.hpp>

#include <arpa/inet.h>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <netinet/in.h>
#include <sys/un.h>

namespace tapir::kernel {

namespace {

constexpr std::size_t path_at = offsetof(sockaddr_un, sun_path);

sockaddr_in inet(const sockaddr_storage& raw) {
    sockaddr_in in{};
    std::memcpy(&in, &raw, sizeof in);
    return in;
}

/// The bytes of sun_path that count, without a path's closing zero.
std::string_view name_of(const sockaddr_storage& raw, socklen_t size) {
    if (size <= path_at) return {};
    const char* begin = reinterpret_cast<const char*>(&raw) + path_at;
    const std::size_t n = size - path_at;
    return *begin == '\0' ? std::string_view(begin, n) : std::string_view(begin, ::strnlen(begin, n));
}

} // namespace

address address::ipv4(std::array<std::uint8_t, 4> octets, std::uint16_t port) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    std::memcpy(&in.sin_addr, octets.data(), octets.size());
    address a;
    std::memcpy(&a.raw_, &in, sizeof in);
    a.size_ = sizeof in;
    return a;
}

result<address> address::parse(std::string_view text) {
    if (text.starts_with("unix:")) {
        const std::string_view name = text.substr(5);
        if (name.empty() || name == "@" || name.size() >= sizeof(sockaddr_un::sun_path) ||
            name.find('\0') != std::string_view::npos)
            return errc::invalid_argument;
        sockaddr_un un{};
        un.sun_family = AF_UNIX;
        std::memcpy(un.sun_path, name.data(), name.size());
        const bool abstract = name.front() == '@';
        if (abstract) un.sun_path[0] = '\0';
        address a;
        std::memcpy(&a.raw_, &un, sizeof un);
        a.size_ = static_cast<socklen_t>(path_at + name.size() + (abstract ? 0 : 1));
        return a;
    }
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return errc::invalid_argument;
    const std::string host(text.substr(0, colon));
    const std::string_view digits = text.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc{} || end != digits.data() + digits.size()) return errc::invalid_argument;
    std::array<std::uint8_t, 4> octets{};
    if (::inet_pton(AF_INET, host.c_str(), octets.data()) != 1) return errc::invalid_argument;
    return ipv4(octets, port);
}

address address::from(const sockaddr_storage& raw, socklen_t size) {
    address a;
    if (raw.ss_family != AF_INET && raw.ss_family != AF_UNIX) return a;
    a.raw_ = raw;
    a.size_ = size;
    return a;
}

std::uint16_t address::port() const {
    return family() == AF_INET ? ntohs(inet(raw_).sin_port) : std::uint16_t{0};
}

std::string address::path() const {
    if (!is_unix()) return {};
    const std::string_view name = name_of(raw_, size_);
    return name.empty() || name.front() == '\0' ? std::string() : std::string(name);
}

std::string address::to_string() const {
    if (family() == AF_INET) {
        std::array<char, INET_ADDRSTRLEN> text{};
        const sockaddr_in in = inet(raw_);
        ::inet_ntop(AF_INET, &in.sin_addr, text.data(), text.size());
        return std::string(text.data()) + ":" + std::to_string(port());
    }
    std::string name(name_of(raw_, size_));
    if (!name.empty() && name.front() == '\0') name.front() = '@';
    return "unix:" + name;
}

bool address::operator==(const address& other) const {
    return size_ == other.size_ && std::memcmp(&raw_, &other.raw_, size_) == 0;
}

} // namespace tapir::kernel
