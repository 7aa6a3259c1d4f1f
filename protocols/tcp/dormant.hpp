// Most connections of a large server are idle most of the time, and a TCB is much to keep for who only waits:
// seven hundred bytes, and what its queues have grown to. So what an idle connection costs is this:
//
//     endpoint        what its user sees; as long as there is a handle
//     dormant         the TCB, folded to what tells it from others: some 150 bytes
//     one slot        of the demultiplexer
//
// A connection is *at rest* when nothing is in flight, queued, unread, held ahead of a hole, owed or waited
// for but the next keepalive (tcb::at_rest). Once it has been silent for config::dormant_after, it is folded;
// the next segment, call or keepalive unfolds it before anything else happens. All but pointers of a TCB is
// plain (plain_tcb) and comes back as it was, so that neither the peer nor the user can tell. Nothing is said
// twice of what connections have in common, options and whatever is as it began: some that lay dormant are
// kept as *common grounds*, and only the words in which another differs from one of them are stored. What
// only few have (records of losses, a search for the MTU, a keepalive that is due some day) stands apart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace tapir::tcp {

struct dormant;
struct dormant_delete {
    void operator()(dormant* d) const noexcept;
};
using dormant_ptr = std::unique_ptr<dormant, dormant_delete>;

/// What many have in common. Another is kept as long as there is room for one that is like none of these:
/// such as have never sent, those with timestamps, those of another listener.
struct common_grounds {
    static constexpr std::size_t most = 6;
    std::array<std::vector<std::uint32_t>, most> grounds; ///< those behind the last are empty
};

/// Which of so many words differ from a ground, a bit for each.
constexpr std::size_t words_of_bits(std::size_t words) {
    return (words + 31) / 32;
}
/// At most so much is folded from `words` words: all of them, and which.
constexpr std::size_t folded_at_most(std::size_t words) {
    return words_of_bits(words) + words;
}
/// Writes to `to` in which words `plain` differs from `common`, and those words; returns how many words that
/// took, of folded_at_most(plain.size()).
std::size_t fold(std::span<const std::uint32_t> plain, std::span<const std::uint32_t> common,
                 std::span<std::uint32_t> to);
void unfold(std::span<const std::uint32_t> folded, std::span<const std::uint32_t> common,
            std::span<std::uint32_t> plain);

} // namespace tapir::tcp
