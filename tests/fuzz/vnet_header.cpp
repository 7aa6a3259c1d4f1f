// Any bytes as what a TAP with a virtio-net header hands over: what is believed of it can be cut, completed
// and written again.
#include <tapir/framework/buffer.hpp>
#include <tapir/protocols/link/offload.hpp>
#include <tapir/protocols/link/vnet_header.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "tests/fuzz/must.hpp"
#include "tests/hex.hpp"

using namespace tapir;
using fuzz::must;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const bytes all = std::as_bytes(std::span(data, std::min<std::size_t>(size, 65'536)));
    const auto meta = vnet_header::parse(all);
    if (!meta) return 0;
    must(all.size() >= vnet_header::size);
    buffer_pool pool;
    frame f(pool.allocate(all.size()), vnet_header::size);
    copy_bytes(f.push_back(all.size() - vnet_header::size), all.subspan(vnet_header::size));
    f.meta = *meta;

    if (!finished(f.meta)) { // what is forwarded is written again
        frame again = f.copy(pool);
        vnet_header::emit(again.push_front(vnet_header::size), f.meta);
        const auto same = vnet_header::parse(again.data());
        if (f.meta.csum == checksum_state::partial)
            must(same.has_value() && same->gso_type == f.meta.gso_type && same->gso_size == f.meta.gso_size);
    }
    if (f.meta.gso_type == segmentation::none) {
        complete_checksum(f.mutable_data(), f.meta);
        return 0;
    }
    const std::size_t headers = f.meta.hdr_len;
    must(headers >= 54 && headers < f.size());
    const std::size_t most = segments_in(f); // padding counts, too
    std::size_t pieces = 0;
    std::size_t text = 0;
    segment_cutter cutter(f, pool);
    while (const auto piece = cutter.next()) {
        must(++pieces <= most && piece->size() > headers);
        must(piece->size() - headers <= f.meta.gso_size && finished(piece->meta));
        must(largest_packet(*piece) <= largest_packet(f));
        text += piece->size() - headers;
    }
    must(pieces > 1 && text + headers <= f.size());
    return 0;
}
