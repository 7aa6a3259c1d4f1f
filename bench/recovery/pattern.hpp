// What a bulk transfer carries: bytes that tell their place, so that a receiver notices what is missing,
// doubled or out of place, at the price of a memcmp.
#pragma once

#include <tapir/framework/bytes.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace bench {

class pattern {
  public:
    /// At most so many bytes at once.
    static constexpr std::size_t piece = 64 * 1024;

    pattern() : bytes_(period + piece) {
        std::uint32_t x = 1;
        for (std::size_t i = 0; i < bytes_.size(); ++i) {
            x = x * 1'664'525 + 1'013'904'223;
            bytes_[i] = i < period ? static_cast<std::byte>(x >> 24) : bytes_[i - period];
        }
    }

    /// What stands at `position` of the stream; min(n, piece) bytes.
    tapir::bytes at(std::uint64_t position, std::size_t n) const {
        return tapir::bytes(bytes_).subspan(static_cast<std::size_t>(position % period), std::min(n, piece));
    }
    bool matches(std::uint64_t position, tapir::bytes seen) const {
        while (!seen.empty()) {
            const tapir::bytes expected = at(position, seen.size());
            if (std::memcmp(expected.data(), seen.data(), expected.size()) != 0) return false;
            position += expected.size();
            seen = seen.subspan(expected.size());
        }
        return true;
    }

  private:
    static constexpr std::size_t period = 65'521; // a prime: no segment size divides it
    std::vector<std::byte> bytes_;
};

} // namespace bench
