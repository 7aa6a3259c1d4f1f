// How often strangers may draw an answer from us that no connection stands for: RSTs, and the ACKs of
// half-open and TIME_WAIT entries. Without a limit a flood with forged sources makes us a reflector.
//
// One limit for everybody would be a lever: whoever uses it up silences us towards others, and whoever
// watches what is left of it from outside learns whether somebody else's segment drew an answer, hence
// whether a 4-tuple is in use (CVE-2016-5696 was this). So there are 64 buckets, chosen by a keyed hash of
// the remote address or of the flow: strangers cannot tell who shares theirs, and all of them together bound
// the total.
#pragma once

#include <tapir/framework/token_bucket.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tapir::tcp {

class reply_limit {
  public:
    static constexpr std::size_t buckets = 64;

    /// `per_second` for each bucket, and as many at once; 0 is taken as 1.
    explicit reply_limit(std::uint32_t per_second)
        : buckets_(buckets, token_bucket(std::max(per_second, 1u), std::max(per_second, 1u))) {}

    /// `hash` is keyed and of whom the answer is for.
    bool take(std::uint64_t hash, instant now) { return buckets_[hash % buckets].take(now); }

  private:
    std::vector<token_bucket> buckets_;
};

} // namespace tapir::tcp
