#include <tapir/protocols/tcp/listener_events.hpp>

#include <algorithm>

namespace tapir::tcp {

std::string_view name(pressure p) {
    switch (p) {
    case pressure::syn_cookies: return "SYN cookies";
    case pressure::half_open_overflow: return "SYN queue overflow";
    case pressure::accept_overflow: return "accept queue overflow";
    }
    return "unknown";
}

bool listener_events::happened(pressure p, instant now) {
    episode& e = episodes_[static_cast<std::size_t>(p)];
    e.newest = now;
    ++e.count;
    if (e.active) return false;
    e.active = true;
    e.count = 1;
    add(p, true, now, 0);
    return true;
}

void listener_events::ended(pressure p, instant now) {
    episode& e = episodes_[static_cast<std::size_t>(p)];
    if (!e.active) return;
    e.active = false;
    add(p, false, now, e.count);
}

bool listener_events::any_active() const {
    return std::ranges::any_of(episodes_, &episode::active);
}

void listener_events::add(pressure p, bool began, instant now, std::uint64_t count) {
    events_[next_ % kept] = listener_event(next_, p, began, now, count);
    ++next_;
}

} // namespace tapir::tcp
