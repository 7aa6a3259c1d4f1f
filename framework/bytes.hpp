// Bytes, and numbers in network byte order inside them. Wire formats read and write through these, never
// through pointer casts.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace tapir {

using bytes = std::span<const std::byte>;
using mutable_bytes = std::span<std::byte>;

inline bytes as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(bytes b) {
    return {reinterpret_cast<const char*>(b.data()), b.size()};
}

inline std::uint8_t load_u8(bytes b, std::size_t at) {
    assert(at < b.size());
    return static_cast<std::uint8_t>(b[at]);
}
inline std::uint16_t load_be16(bytes b, std::size_t at) {
    return static_cast<std::uint16_t>((load_u8(b, at) << 8) | load_u8(b, at + 1));
}
inline std::uint32_t load_be32(bytes b, std::size_t at) {
    return (std::uint32_t{load_be16(b, at)} << 16) | load_be16(b, at + 2);
}

inline void store_u8(mutable_bytes b, std::size_t at, std::uint8_t v) {
    assert(at < b.size());
    b[at] = static_cast<std::byte>(v);
}
inline void store_be16(mutable_bytes b, std::size_t at, std::uint16_t v) {
    store_u8(b, at, static_cast<std::uint8_t>(v >> 8));
    store_u8(b, at + 1, static_cast<std::uint8_t>(v & 0xff));
}
inline void store_be32(mutable_bytes b, std::size_t at, std::uint32_t v) {
    store_be16(b, at, static_cast<std::uint16_t>(v >> 16));
    store_be16(b, at + 2, static_cast<std::uint16_t>(v & 0xffff));
}

inline void copy_bytes(mutable_bytes to, bytes from) {
    assert(to.size() >= from.size());
    if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

} // namespace tapir
