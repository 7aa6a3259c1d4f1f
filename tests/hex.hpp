// Packets in tests as they stand in RFCs and captures: hex digits, blanks ignored.
//
//     auto b = tapir::test::hex("4500 0014");
#pragma once

#include <tapir/framework/bytes.hpp>

#include <cstddef>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace tapir::test {

inline std::vector<std::byte> hex(std::string_view text) {
    std::vector<std::byte> all;
    int high = -1;
    for (const char c : text) {
        if (c == ' ' || c == '\n') continue;
        const auto at = std::string_view("0123456789abcdef").find(c);
        if (at == std::string_view::npos) throw std::invalid_argument("hex");
        const auto nibble = static_cast<int>(at);
        if (high < 0) {
            high = nibble;
        } else {
            all.push_back(static_cast<std::byte>(high * 16 + nibble));
            high = -1;
        }
    }
    if (high >= 0) throw std::invalid_argument("hex: odd number of digits");
    return all;
}

inline std::vector<std::byte> to_vector(bytes b) {
    return {b.begin(), b.end()};
}

inline bool same(bytes a, bytes b) {
    return to_vector(a) == to_vector(b);
}

} // namespace tapir::test
