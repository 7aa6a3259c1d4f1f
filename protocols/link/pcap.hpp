// The file format that Wireshark and tcpdump read: classic pcap with nanosecond stamps, Ethernet frames, in
// network byte order.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/time.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace tapir::pcap {

inline constexpr std::size_t file_header_size = 24;
inline constexpr std::size_t record_header_size = 16;

/// `snap_length`: no record holds more bytes of a frame.
std::array<std::byte, file_header_size> file_header(std::uint32_t snap_length);

/// `since_epoch`: since 1970, not negative. `captured` bytes follow, of a frame of `original`.
std::array<std::byte, record_header_size> record_header(duration since_epoch, std::size_t captured,
                                                        std::size_t original);

} // namespace tapir::pcap
