// A keyed hash for what strangers choose: demultiplexing keys, initial sequence numbers, port offsets.
// Without the key nobody can aim at one bucket or guess one number. SipHash-2-4 (Aumasson and Bernstein,
// 2012).
//
//     std::uint64_t h = tapir::siphash(key, some_bytes);
#pragma once

#include <tapir/framework/bytes.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>

namespace tapir {

/// 128 secret bits. `k0` holds the first eight bytes of the key, little-endian, `k1` the last eight.
struct siphash_key {
    std::uint64_t k0 = 0;
    std::uint64_t k1 = 0;
};

namespace detail {
struct sip_state {
    std::uint64_t v0, v1, v2, v3;

    void round() {
        v0 += v1;
        v1 = std::rotl(v1, 13) ^ v0;
        v0 = std::rotl(v0, 32);
        v2 += v3;
        v3 = std::rotl(v3, 16) ^ v2;
        v0 += v3;
        v3 = std::rotl(v3, 21) ^ v0;
        v2 += v1;
        v1 = std::rotl(v1, 17) ^ v2;
        v2 = std::rotl(v2, 32);
    }
    void absorb(std::uint64_t word) {
        v3 ^= word;
        round();
        round();
        v0 ^= word;
    }
};
} // namespace detail

inline std::uint64_t siphash(const siphash_key& key, bytes message) {
    detail::sip_state s{key.k0 ^ 0x736f6d6570736575u, key.k1 ^ 0x646f72616e646f6du,
                        key.k0 ^ 0x6c7967656e657261u, key.k1 ^ 0x7465646279746573u};
    const auto little_endian = [&message](std::size_t at, std::size_t count) {
        std::uint64_t word = 0;
        for (std::size_t i = 0; i < count; ++i) word |= std::uint64_t{load_u8(message, at + i)} << (8 * i);
        return word;
    };
    const std::size_t whole = message.size() & ~std::size_t{7};
    for (std::size_t at = 0; at < whole; at += 8) s.absorb(little_endian(at, 8));
    s.absorb((std::uint64_t{message.size()} << 56) | little_endian(whole, message.size() - whole));
    s.v2 ^= 0xff;
    for (int i = 0; i < 4; ++i) s.round();
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

} // namespace tapir
