// The secret that cookies are sealed with, and the one before it: so that what was sealed just before a
// rotation is still known. Whoever uses it counts generations by its own clock.
#pragma once

#include <tapir/framework/random.hpp>
#include <tapir/framework/siphash.hpp>

#include <cstdint>

namespace tapir::tcp {

class rotating_secret {
  public:
    /// The secret of each generation is a keyed hash of a number from `r` and its own: who knows some of them
    /// knows no other, and all that have the same `master` and `r` have the same secrets.
    rotating_secret(const siphash_key& master, tapir::random r) : master_(master), salt_(r.next()) {}

    /// It is generation `now`; generations do not fall.
    void rotate(std::int64_t now);
    const siphash_key& newest() const { return newest_; }
    const siphash_key& before() const { return before_; }
    const siphash_key& of(std::int64_t generation) const {
        return generation == generation_ ? newest_ : before_;
    }

  private:
    siphash_key secret_of(std::int64_t generation) const;

    siphash_key master_;
    std::uint64_t salt_;
    std::int64_t generation_ = -1; ///< of `newest_`
    siphash_key newest_{};
    siphash_key before_{};
};

} // namespace tapir::tcp
