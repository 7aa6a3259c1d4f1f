// Virtual time. Nothing sleeps: when all coroutines wait, time jumps to the next deadline. Files are really
// opened and read, but complete after a delay drawn from the seed, so that the order of completions is part
// of what a seed decides. Sockets of the kernel do not exist here: their operations complete with
// -EOPNOTSUPP.
#pragma once

#include <tapir/framework/backend.hpp>

#include <cstdint>
#include <memory>

namespace tapir {

struct sim_config {
    std::uint64_t seed = 1;
    /// Virtual time at the start.
    instant start = instant(1s);
    /// A file operation completes after up to this long.
    duration max_file_delay = 2ms;
};

std::unique_ptr<backend> make_sim_backend(sim_config config = {});

} // namespace tapir
