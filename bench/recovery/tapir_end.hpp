// tapir's end of a transfer: a host at the end of a link, in the process that is the path. It sends or
// receives what the kernel's end (bulk.cpp) does, and says the same of it.
#pragma once

#include <tapir/framework/task.hpp>
#include <tapir/protocols/host/host.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/link/link.hpp>

#include <cstdint>
#include <memory>

#include "bench/recovery/tally.hpp"

namespace bench {

/// A host with one interface; null, and what is wrong printed, when it cannot have that address.
std::unique_ptr<tapir::host> make_host(tapir::reactor& on, tapir::link& over, const tapir::ip::prefix& own,
                                       std::uint32_t buffer);

/// Connects, sends, finishes and waits for the peer's end, then prints one line; stopped, it prints it then.
tapir::task<> send_bulk(tapir::host* from, tapir::ip::endpoint to, std::uint64_t bytes, std::uint32_t buffer);

/// Accepts one connection, receives until the limits say that it is over, and prints one line.
tapir::task<> receive_bulk(tapir::tcp::listener* at, tally_limits limits);

/// tapir's defaults, but for the buffers where `buffer` is not 0.
tapir::tcp::connection_options options_with(std::uint32_t buffer);

} // namespace bench
