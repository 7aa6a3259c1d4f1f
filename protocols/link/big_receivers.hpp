// For whom packets of over 64 KiB (big_segment.hpp) may be: for the kernel itself, at whose side of a TAP we
// are, where it knows such packets. Not for who is behind it: a bridge's stations may not know them, and on
// its way to another network the kernel would have to cut them without a network card's help.
//
//     big_receivers who("tapir0");
//     if (who.kernel_is(frame, now)) ...
//
// The kernel is asked (rtnetlink), and what it said holds for a second: its addresses may change. What it
// translates to other addresses (DNAT) looks like its own.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/link/tap_device.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace tapir {

class big_receivers {
  public:
    explicit big_receivers(std::string device) : device_(std::move(device)) {}

    /// `frame` begins with its virtio-net header, and holds an IPv4 packet. False, too, while there is more
    /// to ask than is worth it.
    bool kernel_is(bytes frame, instant now);

  private:
    struct answer {
        instant until{};
        std::uint32_t address = 0;
        bool local = false;
    };
    std::string device_;
    std::optional<tap_device::station> station_; ///< the kernel's
    instant ask_from_{};
    std::array<answer, 16> answers_{};
};

} // namespace tapir
