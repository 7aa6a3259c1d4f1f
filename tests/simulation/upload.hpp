// A pattern of bytes from the first host of a topology to the last, each of them checked, and what both ends
// say of it.
//
//     upload x(t, 1'000'000);
//     x.run();
//     CHECK(x.took < 2s);
#pragma once

#include <tapir/framework/task.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/config.hpp>
#include <tapir/protocols/tcp/counters.hpp>
#include <tapir/protocols/tcp/endpoint.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/simulation/topology.hpp"

namespace tapir::test {

struct upload {
    upload(topology& in, std::uint64_t bytes) : t(&in), size(bytes) {}
    /// Until both ends have closed; nothing is left of it anywhere.
    void run();

    topology* t;
    std::uint64_t size;
    tcp::listen_options options; ///< of the receiver
    duration look_every{0};      ///< at the sender's state; zero: only when all is done

    duration connecting{};
    duration took{}; ///< from then on to the last byte read
    tcp::info sender;
    tcp::info receiver;
    std::vector<tcp::info> seen; ///< of the sender

    const tcp::counters& sent() const { return t->first().host().tcp().counted(); }
    const tcp::counters& received() const { return t->last().host().tcp().counted(); }
    std::uint64_t faults(fault_kind k, std::size_t link) const { return t->link_at(link).path().faults()[k]; }

  private:
    task<> take(tcp::listener* on);
    task<> give();
    task<> look(tcp::connection* c);

    instant began_{};
    bool done_ = false;
};

} // namespace tapir::test
