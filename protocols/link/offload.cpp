#include <tapir/protocols/link/offload.hpp>

#include <algorithm>

namespace tapir {
namespace {

constexpr std::size_t ip_begin = 14;
constexpr std::size_t min_ip_header = 20;
constexpr std::size_t min_tcp_header = 20;
constexpr std::uint8_t fin = 0x01;
constexpr std::uint8_t psh = 0x08;
constexpr std::uint8_t urg = 0x20;
constexpr std::uint8_t cwr = 0x80;

// 32 bits at a time: their carries collect in the upper half, and 2^16 is 1 here.
std::uint64_t sum_of(bytes b) {
    std::uint64_t sum = 0;
    std::size_t at = 0;
    for (; at + 4 <= b.size(); at += 4) sum += load_be32(b, at);
    if (at + 2 <= b.size()) {
        sum += load_be16(b, at);
        at += 2;
    }
    if (at < b.size()) sum += std::uint64_t{load_u8(b, at)} << 8;
    return sum;
}

void write_ip_checksum(mutable_bytes packet, std::size_t header) {
    store_be16(packet, 10, 0);
    store_be16(packet, 10, static_cast<std::uint16_t>(~folded(sum_of(packet.first(header)))));
}

// [RFC 9293 3.1]
void write_tcp_checksum(mutable_bytes packet, std::size_t header) {
    const mutable_bytes segment = packet.subspan(header);
    store_be16(segment, 16, 0);
    constexpr std::uint64_t tcp = 6;
    const std::uint64_t pseudo = sum_of(packet.subspan(12, 8)) + tcp + segment.size();
    store_be16(segment, 16, static_cast<std::uint16_t>(~folded(pseudo + sum_of(segment))));
}

} // namespace

std::uint16_t folded(std::uint64_t sum) {
    while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

std::optional<tcp4_layout> find_tcp4(bytes frame) {
    constexpr std::uint16_t ipv4 = 0x0800;
    if (frame.size() < ip_begin + min_ip_header + min_tcp_header || load_be16(frame, 12) != ipv4)
        return std::nullopt;
    const unsigned first = load_u8(frame, ip_begin);
    const std::size_t ip_size = std::size_t{4} * (first & 0x0f);
    const std::size_t end = ip_begin + load_be16(frame, ip_begin + 2);
    const bool fragment = (load_be16(frame, ip_begin + 6) & 0x3fff) != 0;
    if (first >> 4 != 4 || ip_size < min_ip_header || fragment || load_u8(frame, ip_begin + 9) != 6)
        return std::nullopt;
    const std::size_t tcp = ip_begin + ip_size;
    if (end > frame.size() || tcp + min_tcp_header > end) return std::nullopt;
    const std::size_t tcp_size = std::size_t{4} * (load_u8(frame, tcp + 12) >> 4);
    if (tcp_size < min_tcp_header || tcp + tcp_size > end) return std::nullopt;
    return tcp4_layout{.tcp = tcp, .payload = tcp + tcp_size, .end = end};
}

std::size_t segments_in(const frame& f) {
    if (f.meta.gso_type == segmentation::none || f.size() <= f.meta.hdr_len) return 1;
    return (f.size() - f.meta.hdr_len + f.meta.gso_size - 1) / f.meta.gso_size;
}

std::size_t largest_packet(const frame& f) {
    return largest_packet(f.meta, f.size() - std::min(f.size(), ip_begin));
}

std::size_t largest_packet(const offload& meta, std::size_t whole) {
    if (meta.gso_type == segmentation::none) return whole;
    return std::min<std::size_t>(whole, meta.hdr_len - ip_begin + meta.gso_size);
}

void complete_checksum(mutable_bytes frame, const offload& meta) {
    const std::size_t field = std::size_t{meta.csum_start} + meta.csum_offset;
    if (meta.csum != checksum_state::partial || field + 2 > frame.size()) return;
    constexpr std::uint16_t udp_field = 6; // where UDP has its checksum, and 0 would mean "none"
    auto complete = static_cast<std::uint16_t>(~folded(sum_of(bytes(frame).subspan(meta.csum_start))));
    if (complete == 0 && meta.csum_offset == udp_field) complete = 0xffff;
    store_be16(frame, field, complete);
}

segment_cutter::segment_cutter(const frame& whole, buffer_pool& pool)
    : whole_(whole), pool_(pool), at_(find_tcp4(whole.data())),
      ended_(!at_ || whole.meta.gso_size < min_gso_size) {}

std::optional<frame> segment_cutter::next() {
    if (ended_) return std::nullopt;
    const bytes all = whole_.data();
    const std::size_t left = at_->end - at_->payload - done_;
    const std::size_t n = std::min<std::size_t>(left, whole_.meta.gso_size);
    ended_ = n == left;

    frame piece(pool_.allocate(frame::default_headroom + at_->payload + n), frame::default_headroom);
    copy_bytes(piece.push_back(at_->payload), all.first(at_->payload));
    copy_bytes(piece.push_back(n), all.subspan(at_->payload + done_, n));
    piece.arrived = whole_.arrived;

    const mutable_bytes packet = piece.mutable_data().subspan(ip_begin);
    const std::size_t ip_size = at_->tcp - ip_begin;
    store_be16(packet, 2, static_cast<std::uint16_t>(packet.size()));
    store_be16(packet, 4, static_cast<std::uint16_t>(load_be16(packet, 4) + number_));
    write_ip_checksum(packet, ip_size);

    const mutable_bytes tcp = packet.subspan(ip_size);
    store_be32(tcp, 4, load_be32(tcp, 4) + static_cast<std::uint32_t>(done_));
    std::uint8_t flags = load_u8(tcp, 13);
    if (!ended_) flags &= static_cast<std::uint8_t>(~(fin | psh));
    if (number_ != 0) flags &= static_cast<std::uint8_t>(~cwr);
    if ((flags & urg) != 0) { // the pointer counts from the segment's own sequence number
        const std::uint16_t pointer = load_be16(tcp, 18);
        const bool ahead = pointer >= done_;
        store_be16(tcp, 18, ahead ? static_cast<std::uint16_t>(pointer - done_) : std::uint16_t{0});
        if (!ahead) flags &= static_cast<std::uint8_t>(~urg);
    }
    store_u8(tcp, 13, flags);
    write_tcp_checksum(packet, ip_size);

    done_ += n;
    ++number_;
    return piece;
}

} // namespace tapir
