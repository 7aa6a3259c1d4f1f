// Most connections of a large server are idle most of the time, and a TCB is much to keep for who only waits:
// seven hundred bytes, and what its queues have grown to. So what an idle connection costs is this:
//
//     endpoint        what its user sees; as long as there is a handle
//     dormant         in it: the TCB, folded to what tells it from others, in 200 bytes
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

namespace tapir::tcp {

/// A folded TCB, in the endpoint itself: between its hot lines and the others, so that a million of them are
/// found, and fetched, in one step.
struct dormant {
    struct rare;
    struct rare_delete {
        void operator()(rare* r) const noexcept;
    };
    static constexpr std::size_t room = 46; ///< in words; nearly all take less

    std::unique_ptr<rare, rare_delete> apart{}; ///< null for most
    std::uint32_t send_bound = 0;
    std::uint8_t size = 0;   ///< in words; those for which there is no room are in `apart`
    std::uint8_t ground = 0; ///< in common_grounds
    bool asleep = false;
    std::array<std::uint32_t, room> words; ///< the first `size` of them
};

/// What many have in common. Another is kept as long as there is room for one that is like none of these:
/// such as have never sent, those with timestamps, those of another listener.
struct common_grounds {
    static constexpr std::size_t most = 6;
    std::array<std::unique_ptr<std::byte[]>, most> grounds; ///< those behind the last are null
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
/// took, of folded_at_most(words). Both are `words` words.
std::size_t fold(const std::byte* plain, const std::byte* common, std::size_t words, std::uint32_t* to);
/// `plain` is a copy of `common`.
void unfold(const std::uint32_t* folded, std::byte* plain, std::size_t words);

} // namespace tapir::tcp
