#include <tapir/protocols/tcp/mtu_search.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace tapir::tcp {

std::string_view to_string(mtu_state s) {
    switch (s) {
    case mtu_state::disabled: return "disabled";
    case mtu_state::base: return "base";
    case mtu_state::searching: return "searching";
    case mtu_state::complete: return "complete";
    case mtu_state::error: return "error";
    }
    return "unknown";
}

namespace {
// Jumbo frames, FDDI, Ethernet, PPPoE, IP in IP, GRE, VXLAN, WireGuard, various tunnels, IPv6's minimum,
// SLIP.
constexpr std::array<std::uint16_t, 13> common = {9000, 4352, 2002, 1500, 1492, 1480, 1476,
                                                  1450, 1420, 1400, 1280, 1006, 576};
} // namespace

mtu_search::mtu_search(const mtu_limits& l, std::uint16_t size, std::uint16_t most)
    : limits_(l), floor_(size), ceiling_(std::max(size, most)), most_(ceiling_) {}

std::uint16_t mtu_search::next(instant now) {
    if (state_ == mtu_state::complete && floor_ < most_ && now - rests_since_ >= limits_.raise_after) {
        ceiling_ = most_;
        ceiling_asked_ = false;
        tries_ = 0;
        state_ = mtu_state::searching;
    }
    if (state_ != mtu_state::searching || probing_ != 0) return 0;
    if (!ceiling_asked_) return ceiling_;
    const int range = ceiling_ - floor_;
    const int middle = floor_ + (range + 1) / 2;
    int best = middle;
    int distance = range / 4 + 1; // what is farther from the middle does not cut the range in half
    for (const int size : common) {
        const int d = size > middle ? size - middle : middle - size;
        if (size > floor_ && size <= ceiling_ && d < distance) {
            best = size;
            distance = d;
        }
    }
    return static_cast<std::uint16_t>(best);
}

void mtu_search::arrived(instant now) {
    const std::uint16_t size = std::exchange(probing_, std::uint16_t{0});
    if (size > ceiling_) return; // the path has become narrower meanwhile
    floor_ = std::max(floor_, size);
    tries_ = 0;
    settle(now);
}

void mtu_search::lost(instant now) {
    const std::uint16_t size = std::exchange(probing_, std::uint16_t{0});
    if (size == 0 || size > ceiling_ || ++tries_ < limits_.probes) return;
    tries_ = 0;
    ceiling_asked_ = true;
    ceiling_ = std::max<std::uint16_t>(floor_, static_cast<std::uint16_t>(size - 1));
    settle(now);
}

void mtu_search::proven(instant now) {
    if (state_ != mtu_state::base && state_ != mtu_state::error) return;
    state_ = mtu_state::searching;
    settle(now);
}

std::uint16_t mtu_search::size_below() const {
    const std::uint16_t least = std::min(limits_.least, floor_);
    return floor_ > limits_.base ? std::max(limits_.base, least) : least;
}

bool mtu_search::start_low() {
    floor_ = std::min(floor_, limits_.base);
    return ceiling_ - floor_ >= limits_.step;
}

void mtu_search::black_hole() {
    const std::uint16_t below = size_below();
    if (below == floor_) return;
    // What does not arrive may have been lost for other reasons: it is what is asked first.
    ceiling_ = floor_;
    ceiling_asked_ = false;
    floor_ = below;
    probing_ = 0;
    tries_ = 0;
    state_ = floor_ < limits_.base ? mtu_state::error : mtu_state::base;
}

void mtu_search::limit(std::uint16_t mtu, instant now) {
    if (mtu >= ceiling_) return;
    ceiling_ = mtu;
    ceiling_asked_ = false; // it is what a router says that it carries
    floor_ = std::min(floor_, mtu);
    tries_ = 0;
    rests_since_ = now;
    settle(now);
}

void mtu_search::settle(instant now) {
    if (state_ != mtu_state::searching || ceiling_ - floor_ >= std::max<int>(limits_.step, 1)) return;
    state_ = mtu_state::complete;
    rests_since_ = now;
}

} // namespace tapir::tcp
