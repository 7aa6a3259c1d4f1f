// Any bytes as a frame: Ethernet header and station filter.
#include <tapir/protocols/ethernet/header.hpp>
#include <tapir/protocols/ethernet/input.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/fuzz/must.hpp"
#include "tests/hex.hpp"

using namespace tapir;
using fuzz::must;

namespace {

void round_trip(const ethernet::view& v, bytes frame) {
    const auto h = ethernet::header::of(v);
    std::vector<std::byte> again(ethernet::header::size + v.payload().size());
    h.emit(again);
    copy_bytes(mutable_bytes(again).subspan(ethernet::header::size), v.payload());
    must(test::same(again, frame));
    const auto w = ethernet::view::parse(again);
    must(w.has_value() && ethernet::header::of(*w) == h);
    const auto mac = ethernet::parse_mac_address(h.source.to_string());
    must(mac.has_value() && *mac == h.source);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const bytes frame = std::as_bytes(std::span(data, size));
    if (const auto v = ethernet::view::parse(frame))
        round_trip(*v, frame);
    else
        must(size < ethernet::header::size || load_be16(frame, 12) < ethernet::first_ether_type);

    const ethernet::mac_address own(0x02, 0, 0, 0, 0, 0x02);
    ethernet::input in(own);
    const auto accepted = in.accept(frame);
    must(in.count().received == 1 && in.count().dropped.total() == (accepted ? 0 : 1));
    if (accepted)
        must(accepted->destination() == own || accepted->destination().is_multicast());
    else
        must(!ethernet::to_string(accepted.error()).empty());
    return 0;
}
