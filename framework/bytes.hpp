// Bytes, and numbers in network byte order inside them. Wire formats read and write through these, never
// through pointer casts.
#pragma once

#include <bit>
#include <cassert>
#include <concepts>
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

namespace detail {
/// One check and one instruction or two for the whole number: the headers of every packet are read by these.
template <std::unsigned_integral T>
T load_be(bytes b, std::size_t at) {
    assert(at <= b.size() && sizeof(T) <= b.size() - at);
    T v;
    std::memcpy(&v, b.data() + at, sizeof v);
    if constexpr (std::endian::native == std::endian::little) v = std::byteswap(v);
    return v;
}
template <std::unsigned_integral T>
void store_be(mutable_bytes b, std::size_t at, T v) {
    assert(at <= b.size() && sizeof(T) <= b.size() - at);
    if constexpr (std::endian::native == std::endian::little) v = std::byteswap(v);
    std::memcpy(b.data() + at, &v, sizeof v);
}
} // namespace detail

inline std::uint16_t load_be16(bytes b, std::size_t at) {
    return detail::load_be<std::uint16_t>(b, at);
}
inline std::uint32_t load_be32(bytes b, std::size_t at) {
    return detail::load_be<std::uint32_t>(b, at);
}

inline void store_u8(mutable_bytes b, std::size_t at, std::uint8_t v) {
    assert(at < b.size());
    b[at] = static_cast<std::byte>(v);
}
inline void store_be16(mutable_bytes b, std::size_t at, std::uint16_t v) {
    detail::store_be(b, at, v);
}
inline void store_be32(mutable_bytes b, std::size_t at, std::uint32_t v) {
    detail::store_be(b, at, v);
}

inline void copy_bytes(mutable_bytes to, bytes from) {
    assert(to.size() >= from.size());
    if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

} // namespace tapir
