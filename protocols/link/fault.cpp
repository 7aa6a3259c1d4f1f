#include <tapir/protocols/link/fault.hpp>

namespace tapir {

const char* to_string(fault_kind k) {
    switch (k) {
    case fault_kind::loss: return "loss";
    case fault_kind::duplicate: return "duplicate";
    case fault_kind::corrupt: return "corrupt";
    case fault_kind::reorder: return "reorder";
    case fault_kind::jitter: return "jitter";
    case fault_kind::tail_drop: return "tail drop";
    case fault_kind::too_big: return "too big";
    case fault_kind::outage: return "outage";
    case fault_kind::mark: return "mark";
    case fault_kind::swallowed: return "swallowed";
    }
    return "unknown";
}

std::string fault::to_string() const {
    std::string text = where == direction::out ? "out #" : "in #";
    text += std::to_string(frame) + ' ' + tapir::to_string(kind);
    if (kind != fault_kind::loss) text += ' ' + std::to_string(value);
    return text;
}

fault_counts& fault_counts::operator+=(const fault_counts& other) {
    frames += other.frames;
    for (std::size_t k = 0; k < fault_kinds; ++k) of[k] += other.of[k];
    return *this;
}

std::string fault_counts::to_string() const {
    std::string text = std::to_string(frames) + " frames";
    const char* separator = ": ";
    for (std::size_t k = 0; k < fault_kinds; ++k) {
        if (of[k] == 0) continue;
        text += separator;
        text += tapir::to_string(static_cast<fault_kind>(k));
        text += ' ' + std::to_string(of[k]);
        separator = ", ";
    }
    return text;
}

} // namespace tapir
