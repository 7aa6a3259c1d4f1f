#include <tapir/protocols/ipv4/fragments.hpp>

#include <cassert>

namespace tapir::ipv4 {

fragmenter::fragmenter(const header& whole, bytes options, bytes payload, std::size_t mtu)
    : whole_(whole), first_options_(options), left_(payload), mtu_(mtu),
      later_options_size_(copied_options(options, later_options_)) {
    assert(!whole.dont_fragment && mtu >= min_mtu && !payload.empty());
}

std::optional<fragmenter::piece> fragmenter::next() {
    if (left_.empty()) return std::nullopt;
    piece p;
    p.head = whole_;
    p.options = offset_ == 0 ? first_options_ : bytes(later_options_).first(later_options_size_);
    const std::size_t room = mtu_ - header::size - p.options.size();
    const bool last = left_.size() <= room;
    p.payload = left_.first(last ? left_.size() : room / 8 * 8);
    p.head.fragment_offset = static_cast<std::uint16_t>(whole_.fragment_offset + offset_);
    p.head.more_fragments = !last || whole_.more_fragments;
    p.head.payload_size = p.payload.size();
    left_ = left_.subspan(p.payload.size());
    offset_ += p.payload.size();
    return p;
}

void fragmenter::piece::emit(mutable_bytes out) const {
    head.emit(out, options);
    copy_bytes(out.subspan(header::size + options.size()), payload);
}

} // namespace tapir::ipv4
