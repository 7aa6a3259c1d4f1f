#include <tapir/protocols/link/segmenter.hpp>

namespace tapir {

void segmenter::send(frame&& f) {
    const link_capabilities can = below().capabilities();
    const bool large = f.meta.gso_type != segmentation::none;
    const bool partial = f.meta.csum == checksum_state::partial;
    if ((!large || can.segmentation) && (!partial || can.checksum)) {
        below().send(std::move(f));
        return;
    }
    large ? ++count_.cut : ++count_.completed;
    finish(std::move(f), pool_, [&](frame&& piece) {
        if (large) ++count_.pieces;
        below().send(std::move(piece));
    });
}

} // namespace tapir
