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
// plain (plain_tcb) and comes back byte by byte, so that neither the peer nor the user can tell. Nothing is
// said twice of what connections have in common, options and times of the same days: some that lay dormant
// are kept as *common grounds*, and only the bytes in which another differs from the one that is most like it
// are stored. What only few have (records of losses, a search for the MTU, a keepalive that is due some day)
// stands apart.
#pragma once

#include <array>
#include <cstddef>
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
    std::array<std::vector<std::byte>, most> grounds; ///< those behind the last are empty
};

/// Of `size` bytes when nothing is in common.
constexpr std::size_t folded_at_most(std::size_t size) {
    return size + (size + 7) / 8 + 1;
}
/// Writes to `to` in which bytes `plain` differs from `common` (of the same size, a multiple of 8), and
/// returns how many bytes that took. `to` has folded_at_most(plain.size()).
std::size_t fold(std::span<const std::byte> plain, std::span<const std::byte> common,
                 std::span<std::byte> to);
void unfold(std::span<const std::byte> folded, std::span<const std::byte> common, std::span<std::byte> plain);

} // namespace tapir::tcp
