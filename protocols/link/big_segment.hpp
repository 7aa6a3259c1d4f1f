// Large segments of one connection that follow each other, handed to the kernel as one packet of more than 64
// KiB ("BIG TCP"): what the kernel spends on a packet on its way to a socket is then spent on a few of them
// at once.
//
//     big_segment big(first);
//     while (!queue.empty() && big.append(queue.front())) ...              // first's header now tells of all
//     writev(fd, big.parts().data(), big.parts().size());
//
// The length in an IPv4 header has 16 bits. Linux knows larger packets, of TCP segments that are still to be
// cut, by a length of 0; no wire carries them like that. [Linux 6.3, skb_ip_totlen()] Its own receive
// offload makes such ones only if asked to, since not all that a packet may meet has heard of them; so they
// are for the kernel alone (big_receivers.hpp).
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/link/frame.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <sys/uio.h>

namespace tapir {

class big_segment {
  public:
    /// The kernel copies so many pieces of a vectored write without allocating (UIO_FASTIOV).
    static constexpr std::size_t most_parts = 8;
    static_assert(most_parts > frame::most_parts);

    /// `first` begins with its virtio-net header (vnet_header.hpp), in a buffer that is nobody else's. It and
    /// what is appended must outlive the use of parts().
    explicit big_segment(frame& first);

    /// True when `next` continues what there is, its headers telling the same: it is part of it now. False
    /// leaves all as it was.
    bool append(const frame& next);
    /// The header tells of `first` alone again; there is nothing more to be done with this.
    void undo();

    /// The header and all payloads.
    std::span<const iovec> parts() const { return std::span(parts_).first(used_); }
    /// Of all parts, in bytes.
    std::size_t size() const { return header_.size() + payload_; }

  private:
    bool continued_by(const frame& next) const;
    bool add(const frame& next);

    mutable_bytes header_;
    std::uint16_t piece_; ///< of what the kernel cuts; 0: nothing may be appended
    /// What the header said of `first`, once something was appended.
    struct told {
        std::uint16_t length, ip_checksum, tcp_checksum;
        std::uint8_t flags;
    };
    std::optional<told> alone_;
    std::size_t payload_ = 0; ///< in bytes
    std::size_t used_ = 0;
    std::array<iovec, most_parts> parts_;
};

} // namespace tapir
