// Streams of bytes that look random and are known by their number: whoever gets a piece can tell, without a
// copy of what was sent, whether it is what stands at that place of that stream and of no other.
#pragma once

#include <tapir/framework/bytes.hpp>

#include <cstddef>
#include <cstdint>

namespace tapir::test {

class pattern {
  public:
    explicit pattern(std::uint64_t which);
    /// What stands at `offset`: at most `most` bytes, at least one.
    bytes at(std::uint64_t offset, std::size_t most) const;
    bool matches(std::uint64_t offset, bytes got) const;

  private:
    std::uint64_t shift_;
};

} // namespace tapir::test
