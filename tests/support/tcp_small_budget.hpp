// For tests of memory: a TCP that soon has none left, and what fills it.
#pragma once

#include <cstddef>
#include <string>

#include "tests/support/tcp_lab.hpp"

namespace tapir::test {

/// A budget of 40 buffers of 1024 bytes, each full of 1000: tight from the 31st on.
inline tcp::config small_budget() {
    tcp::config c = with_sack();
    c.receive_memory = 40 * 1024;
    return c;
}
inline std::string bulk(std::size_t n) {
    return std::string(n, 'b');
}

} // namespace tapir::test
