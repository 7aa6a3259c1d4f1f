#include <tapir/protocols/link/big_segment.hpp>
#include <tapir/protocols/link/offload.hpp>
#include <tapir/protocols/link/vnet_header.hpp>

#include <algorithm>

namespace tapir {
namespace {

/// Where things stand, behind a virtio-net header and an Ethernet header.
struct place {
    static constexpr std::size_t ip = vnet_header::size + 14, ip_length = ip + 2, ip_identification = ip + 4,
                                 ip_checksum = ip + 10, ip_source = ip + 12;
    static constexpr std::size_t tcp = ip + 20, tcp_seq = tcp + 4, tcp_ack = tcp + 8, tcp_flags = tcp + 13,
                                 tcp_window = tcp + 14, tcp_checksum = tcp + 16, tcp_urgent = tcp + 18;
};
constexpr std::uint8_t push_flag = 0x08, ack_flag = 0x10, ece_flag = 0x40;

bool same(bytes a, bytes b, std::size_t from, std::size_t to) {
    return std::ranges::equal(a.subspan(from, to - from), b.subspan(from, to - from));
}

} // namespace

big_segment::big_segment(frame& first) : header_(first.mutable_data()), piece_(0) {
    // All headers and nothing else: what follows is in the tail.
    constexpr std::uint8_t plain = 0x45;
    if (first.meta.gso_type == segmentation::tcp4 && first.meta.csum == checksum_state::partial &&
        header_.size() == vnet_header::size + first.meta.hdr_len &&
        first.meta.csum_start == place::tcp - vnet_header::size && load_u8(header_, place::ip) == plain &&
        (load_u8(header_, place::tcp_flags) & ~(ack_flag | push_flag | ece_flag)) ==
            0) // what concerns all of it
        piece_ = first.meta.gso_size;
    parts_[used_++] = {header_.data(), header_.size()};
    (void)add(first);
}

bool big_segment::append(const frame& next) {
    if (piece_ == 0 || payload_ % piece_ != 0 || !continued_by(next)) return false;
    const std::size_t before = payload_;
    if (!add(next)) return false;
    if (!alone_)
        alone_ = {.length = load_be16(header_, place::ip_length),
                  .ip_checksum = load_be16(header_, place::ip_checksum),
                  .tcp_checksum = load_be16(header_, place::tcp_checksum),
                  .flags = load_u8(header_, place::tcp_flags)};
    // Taken out of the sum that the length was in, and the rest put into the pseudo-header's. [RFC 1624 3]
    store_be16(
        header_, place::ip_checksum,
        folded(std::uint64_t{load_be16(header_, place::ip_checksum)} + load_be16(header_, place::ip_length)));
    store_be16(header_, place::ip_length, 0);
    store_be16(header_, place::tcp_checksum,
               folded(load_be16(header_, place::tcp_checksum) + std::uint64_t{payload_ - before}));
    store_u8(header_, place::tcp_flags,
             static_cast<std::uint8_t>(load_u8(header_, place::tcp_flags) |
                                       (load_u8(next.data(), place::tcp_flags) & push_flag)));
    return true;
}

void big_segment::undo() {
    if (!alone_) return;
    store_be16(header_, place::ip_length, alone_->length);
    store_be16(header_, place::ip_checksum, alone_->ip_checksum);
    store_be16(header_, place::tcp_checksum, alone_->tcp_checksum);
    store_u8(header_, place::tcp_flags, alone_->flags);
}

bool big_segment::continued_by(const frame& next) const {
    const bytes a = header_;
    const bytes b = next.data();
    return b.size() == a.size() &&
           load_be32(b, place::tcp_seq) ==
               static_cast<std::uint32_t>(load_be32(a, place::tcp_seq) + payload_) &&
           ((load_u8(a, place::tcp_flags) ^ load_u8(b, place::tcp_flags)) & ~push_flag) == 0 &&
           same(a, b, 0, place::ip_length) && same(a, b, place::ip_identification, place::ip_checksum) &&
           same(a, b, place::ip_source, place::tcp_seq) && same(a, b, place::tcp_ack, place::tcp_flags) &&
           same(a, b, place::tcp_window, place::tcp_checksum) && same(a, b, place::tcp_urgent, a.size());
}

/// Chunks that adjoin in memory, as those of a stream mostly do, are one part. False: there is no room.
bool big_segment::add(const frame& next) {
    const std::size_t used = used_, payload = payload_, last_length = parts_[used - 1].iov_len;
    for (const chunk& c : next.tail()) {
        const bytes b = c.data();
        iovec& last = parts_[used_ - 1];
        payload_ += b.size();
        if (used_ > 1 && static_cast<const std::byte*>(last.iov_base) + last.iov_len == b.data()) {
            last.iov_len += b.size();
        } else if (used_ < most_parts) {
            parts_[used_++] = {const_cast<std::byte*>(b.data()), b.size()};
        } else {
            used_ = used;
            payload_ = payload;
            parts_[used - 1].iov_len = last_length;
            return false;
        }
    }
    return true;
}

} // namespace tapir
