// The header that stands before each frame of a TAP opened with IFF_VNET_HDR: what is left to be done about
// checksum and segmentation, in ten little-endian bytes (virtio 1.2 5.1.6, struct virtio_net_hdr).
//
//     vnet_header::emit(f.push_front(vnet_header::size), f.meta);
//     if (const auto meta = vnet_header::parse(read)) ...                  // header and frame
//
// The kernel passes on what others made of it (a virtual machine on the same bridge), so nothing is believed.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/link/frame.hpp>

#include <cstddef>
#include <optional>

namespace tapir::vnet_header {

inline constexpr std::size_t size = 10;

void emit(mutable_bytes room, const offload& meta);

/// What the header in front of `header_and_frame` says. hdr_len is taken from the packet: that of the header
/// is only a hint. Nothing when it is cut off, names places outside of the frame, or asks for a segmentation
/// other than that of TCP over IPv4, or of what is no such segment.
std::optional<offload> parse(bytes header_and_frame);

} // namespace tapir::vnet_header
