// A link around a link, which passes everything on unchanged. What a middleware changes it overrides: capture
// looks at frames, impair loses them. They compose:
//
//     tapir::wire w(r);
//     tapir::impair lossy(r, w.left(), {.out = {.loss_ppm = 10'000}});
//     tapir::capture seen(r, lossy);                // sees what the host above sends, lost or not
//
// A middleware borrows the link below, which must outlive it.
#pragma once

#include <tapir/protocols/link/link.hpp>

#include <cstdint>
#include <utility>

namespace tapir {

/// As the host above sees it.
enum class direction : std::uint8_t {
    out, ///< sent by the host above
    in,  ///< on its way to the host above
};

class middleware : public link, protected frame_receiver {
  public:
    explicit middleware(link& below) : below_(below) { below_.attach(this); }
    ~middleware() override { below_.attach(nullptr); }

    void attach(frame_receiver* to) override { above_ = to; }
    /// Who looks into frames wants them in one piece.
    link_capabilities capabilities() const override {
        link_capabilities c = below_.capabilities();
        c.gather = false;
        return c;
    }
    link_counters counters() const override { return below_.counters(); }
    bool ready() const override { return below_.ready(); }
    void send(frame&& f) override { below_.send(std::move(f)); }
    void flush(instant now) override { below_.flush(now); }

  protected:
    link& below() const { return below_; }
    void pass_up(frame&& f) {
        if (above_ != nullptr) above_->receive(std::move(f));
    }

    void receive(frame&& f) override { pass_up(std::move(f)); }
    void writable() override {
        if (above_ != nullptr) above_->writable();
    }
    void carrier(bool up) override {
        if (above_ != nullptr) above_->carrier(up);
    }

  private:
    link& below_;
    frame_receiver* above_ = nullptr;
};

} // namespace tapir
