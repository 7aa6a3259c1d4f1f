// Takes large segments and partial checksums for a link that cannot, and sends what they are on a cable.
// Above an impairment, losses then hit packets, not 64 KiB at a time.
//
//     tapir::impair lossy(r, w.left(), {.out = {.loss_ppm = 10'000}});
//     tapir::segmenter cut(lossy);
//     host.add_interface(cut, ...);
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/visit_counters.hpp>
#include <tapir/protocols/link/middleware.hpp>
#include <tapir/protocols/link/offload.hpp>

#include <cstdint>
#include <utility>

namespace tapir {

class segmenter final : public middleware {
  public:
    explicit segmenter(link& below) : middleware(below) {}

    link_capabilities capabilities() const override {
        link_capabilities c = below().capabilities();
        c.checksum = true;
        c.segmentation = true;
        return c;
    }
    void send(frame&& f) override;

    struct counters {
        std::uint64_t cut = 0;       ///< frames
        std::uint64_t pieces = 0;    ///< that they became
        std::uint64_t completed = 0; ///< checksums of frames in one piece

        template <class Self, class F>
        static constexpr void visit(Self& c, F f) {
            f("cut", c.cut);
            f("pieces", c.pieces);
            f("completed", c.completed);
        }
    };
    const counters& count() const { return count_; }

  private:
    buffer_pool pool_;
    counters count_;
};
static_assert(visits_every_counter<segmenter::counters>());

} // namespace tapir
