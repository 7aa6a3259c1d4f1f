// A tapir host on a TAP, in the program of the test, for what samples do not show.
#pragma once

#include <tapir/framework/reactor.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/host/kernel_side.hpp>
#include <tapir/protocols/link/tap.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"

namespace tapir::test {

/// A tapir host at 192.0.2.2 on the TAP, the kernel at 192.0.2.1.
class tap_host {
  public:
    static constexpr ip::address own = ip::address::v4(192, 0, 2, 2);
    static constexpr ip::address kernels = ip::address::v4(192, 0, 2, 1);

    /// `buffers` as in tap_config.
    explicit tap_host(const std::string& io, tap_offload offload = tap_offload::automatic,
                      std::size_t buffers = 0)
        : tap_host(on_tapir0(io, offload, buffers)) {}
    explicit tap_host(const tap_config& how, const host_config& config = {})
        : reactor_(make_uring_backend()) {
        auto opened = reactor_.run(open_tap(how));
        if (!opened && opened.error() == tap_errc::no_multishot) throw lacking(opened.error().message());
        expect(opened.has_value(), opened ? "" : opened.error().message());
        tap_ = std::move(*opened);
        expect(configure_kernel_side("tapir0", ip::prefix(kernels, 24)).has_value(), "the kernel's side");
        host_ = std::make_unique<tapir::host>(reactor_, config);
        expect(host_->add_interface(*tap_, ethernet::mac_address(2, 0, 0, 0, 0, 2), ip::prefix(own, 24))
                   .has_value(),
               "an interface");
    }
    tapir::host& host() { return *host_; }
    const tapir::tap& device() const { return *tap_; }
    void run(task<> t) { reactor_.run(std::move(t)); }

  private:
    static tap_config on_tapir0(const std::string& io, tap_offload offload, std::size_t buffers) {
        tap_config how("tapir0", io == "poll" ? tap_io::poll : tap_io::multishot);
        how.offload = offload;
        how.buffers = buffers;
        return how;
    }
    reactor reactor_;
    std::unique_ptr<tap> tap_;
    std::unique_ptr<tapir::host> host_;
};

} // namespace tapir::test
