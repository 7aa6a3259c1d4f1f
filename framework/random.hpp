// Randomness comes in as an argument. One seed decides everything that a run draws: same seed, same run, on
// every compiler. (xoshiro256**; for secrets, the seed itself must come from the operating system.)
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstdint>

namespace tapir {

class random {
  public:
    explicit random(std::uint64_t seed) {
        for (auto& word : state_) { // splitmix64
            seed += 0x9e3779b97f4a7c15u;
            std::uint64_t z = seed;
            z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
            z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
            word = z ^ (z >> 31);
        }
    }

    std::uint64_t next() {
        const std::uint64_t drawn = std::rotl(state_[1] * 5, 7) * 9;
        const std::uint64_t t = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= t;
        state_[3] = std::rotl(state_[3], 45);
        return drawn;
    }

    std::uint32_t next_u32() { return static_cast<std::uint32_t>(next() >> 32); }

    /// Uniform in [0, bound), bound > 0. (The bias of the multiplication is below bound / 2^32.)
    std::uint32_t below(std::uint32_t bound) {
        assert(bound > 0);
        return static_cast<std::uint32_t>((std::uint64_t{next_u32()} * bound) >> 32);
    }

    /// True once in `million / parts` draws on average: parts per million.
    bool chance_ppm(std::uint32_t parts) { return below(1'000'000) < parts; }

    /// An independent stream, for a part of the world whose number of draws must not disturb the others.
    random fork() { return random(next()); }

  private:
    std::array<std::uint64_t, 4> state_{};
};

} // namespace tapir
