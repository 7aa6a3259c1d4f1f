#include <tapir/protocols/tcp/segment.hpp>

#include <algorithm>

namespace tapir::tcp {

bool segment::operator==(const segment& other) const {
    return header == other.header && std::ranges::equal(payload.data(), other.payload.data());
}

std::string to_string(const segment& s) {
    return to_string(s.header) + " len=" + std::to_string(s.payload.size());
}

std::string to_string(const outgoing_segment& s) {
    return to_string(s.header) + " len=" + std::to_string(s.payload_size);
}

} // namespace tapir::tcp
