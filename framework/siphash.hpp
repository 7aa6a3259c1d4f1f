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
    explicit sip_state(const siphash_key& key)
        : v0(key.k0 ^ 0x736f6d6570736575u), v1(key.k1 ^ 0x646f72616e646f6du),
          v2(key.k0 ^ 0x6c7967656e657261u), v3(key.k1 ^ 0x7465646279746573u) {}

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
    std::uint64_t finish() {
        v2 ^= 0xff;
        for (int i = 0; i < 4; ++i) round();
        return v0 ^ v1 ^ v2 ^ v3;
    }

  private:
    std::uint64_t v0, v1, v2, v3;
};
} // namespace detail

inline std::uint64_t siphash(const siphash_key& key, bytes message) {
    detail::sip_state s(key);
    const auto little_endian = [&message](std::size_t at, std::size_t count) {
        std::uint64_t word = 0;
        for (std::size_t i = 0; i < count; ++i) word |= std::uint64_t{load_u8(message, at + i)} << (8 * i);
        return word;
    };
    const std::size_t whole = message.size() & ~std::size_t{7};
    for (std::size_t at = 0; at < whole; at += 8) s.absorb(little_endian(at, 8));
    s.absorb((std::uint64_t{message.size()} << 56) | little_endian(whole, message.size() - whole));
    return s.finish();
}

/// The same of a message of 8 bytes and `size` more, 7 at most, each as a number in little endian.
inline std::uint64_t siphash(const siphash_key& key, std::uint64_t eight, std::uint64_t rest,
                             std::size_t size) {
    detail::sip_state s(key);
    s.absorb(eight);
    s.absorb((std::uint64_t{8 + size} << 56) | rest);
    return s.finish();
}

} // namespace tapir
