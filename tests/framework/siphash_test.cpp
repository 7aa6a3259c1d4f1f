#include <tapir/framework/siphash.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tapir {
namespace {

TEST_CASE("SipHash-2-4 gives the reference implementation's numbers") {
    // Key 00 01 .. 0f; message i is 00 01 .. (i - 1). (vectors.h of the reference implementation)
    const siphash_key key{0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    std::array<std::byte, 64> message;
    for (std::size_t i = 0; i < message.size(); ++i) message[i] = static_cast<std::byte>(i);
    const std::span all(message);
    CHECK(siphash(key, all.first(0)) == 0x726fdb47dd0e0e31u);
    CHECK(siphash(key, all.first(1)) == 0x74f839c593dc67fdu);
    CHECK(siphash(key, all.first(7)) == 0xab0200f58b01d137u);
    CHECK(siphash(key, all.first(8)) == 0x93f5f5799a932462u);
    CHECK(siphash(key, all.first(15)) == 0xa129ca6149be45e5u); // the example of the paper
    CHECK(siphash(key, all.first(63)) == 0x958a324ceb064572u);
    CHECK(siphash(key, 0x0706050403020100u, 0x0e0d0c0b0a0908u, 7) == siphash(key, all.first(15)));
    CHECK(siphash(key, 0x0706050403020100u, 0, 0) == siphash(key, all.first(8)));
}

} // namespace
} // namespace tapir
