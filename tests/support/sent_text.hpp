// Large segments of one stream, as a host hands them to a TAP with offload that gathers.
//
//     sent_text text(64 * 1024, 8);                                     // in chunks of 64 KiB, 8 of them
//     frame f = text.segment(0, 45 * sent_text::mss);                   // the first 65160 bytes
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/ipv4/header.hpp>
#include <tapir/protocols/link/frame.hpp>
#include <tapir/protocols/tcp/header.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tapir::test {

/// A stream of bytes, n % 253 at n, in chunks as a send queue holds them.
class sent_text {
  public:
    explicit sent_text(std::size_t chunk_size, std::size_t count) : size_(chunk_size) {
        std::uint32_t n = 0;
        for (std::size_t i = 0; i < count; ++i) {
            buffer b = pool_.allocate(chunk_size);
            for (std::byte& at : b.span().first(chunk_size)) at = static_cast<std::byte>(n++ % 253);
            chunks_.emplace_back(std::move(b), 0, chunk_size);
        }
    }

    frame segment(std::size_t at, std::size_t n, tcp::flags flags = tcp::flags::ack) {
        frame f(pool_.allocate(frame::default_headroom), frame::default_headroom);
        for (std::size_t left = n, from = at; left != 0;) {
            const std::size_t inside = from % size_, here = std::min(left, size_ - inside);
            f.share_back(chunks_[from / size_].slice(inside, here));
            from += here;
            left -= here;
        }
        tcp::header t;
        t.source_port = 80;
        t.destination_port = 4000;
        t.seq = tcp::seq(first + static_cast<std::uint32_t>(at));
        t.ack = tcp::seq(77);
        t.flags = flags;
        t.window = 500;
        t.options.ts = tcp::timestamps{.value = 5, .echo = 6};
        const std::size_t header = t.size();
        const std::uint16_t pseudo = ip::pseudo_header_sum(source, destination, ip::protocol::tcp);
        tcp::emit(f.push_front(header), t, pseudo, f.tail(), tcp::checksum_mode::partial);
        f.meta.csum = checksum_state::partial;
        f.meta.csum_start = 34;
        f.meta.csum_offset = 16;
        if (n > mss) {
            f.meta.gso_type = segmentation::tcp4;
            f.meta.gso_size = mss;
            f.meta.hdr_len = static_cast<std::uint16_t>(34 + header);
        }
        ipv4::header i;
        i.protocol = ip::protocol::tcp;
        i.source = source;
        i.destination = destination;
        i.payload_size = f.size();
        i.emit(f.push_front(ipv4::header::size));
        ethernet::header e;
        e.destination = station;
        e.source = ethernet::mac_address(2, 0, 0, 0, 0, 2);
        e.type = ethernet::ether_type::ipv4;
        e.emit(f.push_front(ethernet::header::size));
        return f;
    }

    static constexpr std::uint16_t mss = 1448;
    static constexpr std::uint32_t first = 0xffff'8000; ///< sequence number; it wraps
    static constexpr ip::address source = ip::address::v4(192, 0, 2, 2);
    static constexpr ip::address kernels = ip::address::v4(192, 0, 2, 1);

    ethernet::mac_address station = ethernet::mac_address(2, 0, 0, 0, 0, 1); ///< to which they go
    ip::address destination = kernels;

  private:
    std::size_t size_;
    buffer_pool pool_;
    std::vector<chunk> chunks_;
};

} // namespace tapir::test
