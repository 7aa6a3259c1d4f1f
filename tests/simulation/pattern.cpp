#include "tests/simulation/pattern.hpp"

#include <tapir/framework/random.hpp>

#include <algorithm>
#include <vector>

namespace tapir::test {

namespace {

// A prime, so that no power of two of lost or repeated bytes goes unseen.
constexpr std::size_t period = 65'521;

const std::vector<std::byte>& table() {
    static const std::vector<std::byte> bytes_of_a_period = [] {
        std::vector<std::byte> t(period);
        random draw(0x7061747465726e);
        for (std::byte& b : t) b = static_cast<std::byte>(draw.next() & 0xff);
        return t;
    }();
    return bytes_of_a_period;
}

} // namespace

pattern::pattern(std::uint64_t which) : shift_(random(which).next() % period) {}

bytes pattern::at(std::uint64_t offset, std::size_t most) const {
    const auto begin = static_cast<std::size_t>((shift_ + offset) % period);
    return bytes(table()).subspan(begin, std::min(most, period - begin));
}

bool pattern::matches(std::uint64_t offset, bytes got) const {
    while (!got.empty()) {
        const bytes expected = at(offset, got.size());
        if (!std::ranges::equal(expected, got.first(expected.size()))) return false;
        got = got.subspan(expected.size());
        offset += expected.size();
    }
    return true;
}

} // namespace tapir::test
