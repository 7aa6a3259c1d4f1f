// What is left to be done about a frame's checksum and segmentation, done in software: for a link that
// cannot, and for whoever needs the frames as they will be on the cable.
//
//     finish(std::move(f), pool, [&](frame&& piece) { below.send(std::move(piece)); });
//
// A frame here begins with its Ethernet header.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/link/frame.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace tapir {

/// Smaller pieces than this nobody makes: an MSS of 48 with full options leaves 8 bytes. Without a bound a
/// frame of 64 KiB could be made to mean as many packets.
inline constexpr std::uint16_t min_gso_size = 8;
/// The largest frame that means several packets: the IPv4 header has 16 bits for its length.
inline constexpr std::size_t max_large_frame = 14 + 65'535;

/// Where the parts of a TCP segment in an IPv4 packet begin that is no fragment.
struct tcp4_layout {
    std::size_t tcp = 0;     ///< the TCP header
    std::size_t payload = 0; ///< behind both headers
    std::size_t end = 0;     ///< of the packet; padding may follow
};
/// Nothing when it is none, or does not lie inside the frame.
std::optional<tcp4_layout> find_tcp4(bytes frame);

/// Whether `meta` leaves nothing to be done.
inline bool finished(const offload& meta) {
    return meta.csum != checksum_state::partial && meta.gso_type == segmentation::none;
}

/// Packets that the frame means.
std::size_t segments_in(const frame& f);
/// The length of the largest of them, without the Ethernet header.
std::size_t largest_packet(const frame& f);
/// The same when all of it, as one packet, would have `whole` bytes.
std::size_t largest_packet(const offload& meta, std::size_t whole);

/// The carries of a sum of 16-bit words added back in. [RFC 1071 1]
std::uint16_t folded(std::uint64_t sum);

/// Writes the checksum that checksum_state::partial left to the link (the Internet checksum from csum_start
/// to the end of the frame, over the pseudo-header's sum that the field already holds). Offsets outside of
/// the frame leave it as it is.
void complete_checksum(mutable_bytes frame, const offload& meta);

/// Cuts a large segment in pieces of meta.gso_size, each with its own headers and complete checksums: PSH and
/// FIN only in the last, CWR only in the first, identifications counting up. [RFC 9293 3.7] [RFC 3168 6.1.2]
class segment_cutter {
  public:
    /// `whole` is in one piece, and must outlive it.
    segment_cutter(const frame& whole, buffer_pool& pool);
    /// Nothing behind the last piece, nor when `whole` is no TCP segment over IPv4.
    std::optional<frame> next();

  private:
    const frame& whole_;
    buffer_pool& pool_;
    std::optional<tcp4_layout> at_;
    std::size_t done_ = 0; ///< bytes of payload
    std::uint16_t number_ = 0;
    bool ended_ = false;
};

/// f(frame&&) for what `whole` is on a cable: itself with its checksum completed, or its pieces.
template <class F>
void finish(frame&& whole, buffer_pool& pool, F f) {
    if (whole.meta.gso_type != segmentation::none) {
        const frame all = std::move(whole).in_one_piece(pool);
        segment_cutter pieces(all, pool);
        while (auto piece = pieces.next()) f(std::move(*piece));
        return;
    }
    if (whole.meta.csum == checksum_state::partial) {
        frame own = std::move(whole).owned(pool);
        complete_checksum(own.mutable_data(), own.meta);
        own.meta = {};
        f(std::move(own));
        return;
    }
    f(std::move(whole));
}

} // namespace tapir
