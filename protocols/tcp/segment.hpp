// Segments as values. In: header fields, a payload that shares the frame's buffer, the instant it arrived.
// Out: header fields and slices of the send buffer, which who takes longer may share.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/bytes.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/ip/ecn.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tapir::tcp {

/// A segment that came in.
struct segment {
    tcp::header header{};
    chunk payload{};
    instant arrived{};              ///< when it was read from the link
    ip::ecn ecn = ip::ecn::not_ect; ///< of its packet
    std::uint16_t piece = 0;        ///< bytes of text in each packet, when it came in several; else 0

    /// The packets that it came in.
    std::uint32_t packets() const {
        return piece == 0 ? 1 : static_cast<std::uint32_t>((payload.size() + piece - 1) / piece);
    }
    /// SEG.LEN: payload, plus one each for SYN and FIN.
    std::uint32_t length() const {
        return static_cast<std::uint32_t>(payload.size()) + (header.syn() ? 1u : 0u) +
               (header.fin() ? 1u : 0u);
    }
    tcp::seq end() const { return header.seq + length(); }
    /// Equal headers and payload bytes; the time of arrival does not count.
    bool operator==(const segment& other) const;
};

/// A segment that goes out. What `payload` names stays as it is for as long as somebody shares it.
struct outgoing_segment {
    tcp::header header{};
    std::span<const chunk> payload{};
    std::size_t payload_size = 0;
    /// Payload may be larger than this when the sink said so; it is then to be cut into pieces of `mss`.
    std::uint16_t mss = 0;
    ip::ecn ecn = ip::ecn::not_ect; ///< for its packet

    std::size_t size() const { return header.size() + payload_size; }
};

/// Room for the payload of one outgoing segment: 64 KiB out of chunks of 2 KiB.
using gather_list = std::array<chunk, 40>;

/// "SYN|ACK seq=1 ack=2 win=65535 <mss 1460> len=0"
std::string to_string(const segment& s);
std::string to_string(const outgoing_segment& s);

} // namespace tapir::tcp
