// Which frames are for this station. A link may deliver more: a bridge floods, a TAP hands over everything.
//
//     ethernet::input in(own_mac);
//     if (auto eth = in.accept(frame.data())) switch (eth->type()) ...
#pragma once

#include <tapir/framework/count_by.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/ethernet/header.hpp>

#include <cstdint>
#include <expected>
#include <string_view>

namespace tapir::ethernet {

enum class drop : std::uint8_t {
    too_short,    ///< no room for the header
    length_field, ///< IEEE 802.3, not Ethernet II
    bad_source,   ///< a group or all zero as the sender
    not_ours,     ///< unicast to another station
};
std::string_view to_string(drop reason);

class input {
  public:
    explicit input(mac_address own) : own_(own) {}

    /// Frames to this station and to groups; to filter groups is for the layers that know which they are in.
    std::expected<view, drop> accept(bytes frame);

    struct counters {
        std::uint64_t received = 0; ///< all, dropped ones too
        count_by<drop, drop::not_ours> dropped;

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("received", c.received);
            f("dropped", c.dropped);
        }
    };
    const counters& count() const { return count_; }

  private:
    std::unexpected<drop> refuse(drop reason);
    mac_address own_;
    counters count_;
};
static_assert(visits_every_counter<input::counters>());

} // namespace tapir::ethernet
