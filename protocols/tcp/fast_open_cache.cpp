#include <tapir/protocols/tcp/fast_open_cache.hpp>

#include <algorithm>

namespace tapir::tcp {

namespace {

// Looking at all of them is bearable once for each that is met for the first time. Null if none may be kept.
template <class Key, class T>
T* room_for(std::map<Key, T>& known, const Key& key, std::size_t bound) {
    if (const auto at = known.find(key); at != known.end()) return &at->second;
    if (bound == 0) return nullptr;
    if (known.size() >= bound)
        known.erase(std::ranges::min_element(known, {}, [](const auto& one) { return one.second.asked; }));
    return &known[key];
}

} // namespace

std::optional<fast_open_cache::cookie_of_server> fast_open_cache::for_syn(const flow_key& flow, instant now) {
    if (const auto at = doubts_.find(service(flow)); at != doubts_.end()) {
        at->second.asked = now;
        if (now < at->second.not_before) return std::nullopt;
    }
    const auto at = cookies_.find(pair_of_addresses(flow));
    if (at == cookies_.end()) return cookie_of_server{};
    at->second.asked = now;
    return at->second;
}

void fast_open_cache::learn(const flow_key& flow, const fast_open_cookie& cookie, std::uint16_t mss,
                            instant now) {
    if (cookie.size == 0 && !knows(flow)) return;
    cookie_of_server* const of = room_for(cookies_, pair_of_addresses(flow), bound_);
    if (of == nullptr) return;
    if (cookie.size != 0) of->cookie = cookie;
    of->mss = mss;
    of->asked = now;
}

bool fast_open_cache::knows(const flow_key& flow) const {
    return cookies_.contains(pair_of_addresses(flow));
}

// One that was put off has no more than one chance when its time is over. [RFC 7413 4.1.3.1]
void fast_open_cache::conclude(const flow_key& flow, fast_open_outcome outcome, instant now) {
    switch (outcome) {
    case fast_open_outcome::granted:
    case fast_open_outcome::taken: doubts_.erase(service(flow)); return;
    case fast_open_outcome::accepted: return;
    case fast_open_outcome::in_vain:
    case fast_open_outcome::no_cookie:
    case fast_open_outcome::failed: break;
    }
    doubt* const of = room_for(doubts_, service(flow), bound_);
    if (of == nullptr) return;
    of->asked = now;
    if (outcome == fast_open_outcome::in_vain && ++of->in_vain < most_in_vain) return;
    of->in_vain = most_in_vain - 1;
    of->not_before = after(now, retry_after_);
}

} // namespace tapir::tcp
