#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/tcp/fast_open_cookies.hpp>
#include <tapir/protocols/tcp/flow.hpp>

namespace tapir::tcp {

namespace {

fast_open_cookie seal(const siphash_key& secret, const ip::address& server, const ip::address& client) {
    const std::uint64_t sum = hash_flow(secret, flow_key(server, 0, client, 0), hash_purpose::fast_open);
    fast_open_cookie made;
    made.size = 8;
    store_be32(made.octets, 0, static_cast<std::uint32_t>(sum >> 32));
    store_be32(made.octets, 4, static_cast<std::uint32_t>(sum));
    return made;
}

} // namespace

fast_open_cookie fast_open_cookies::make(const ip::address& server, const ip::address& client, instant now) {
    secrets_.rotate(now.time_since_epoch() / period_);
    return seal(secrets_.newest(), server, client);
}

fast_open_cookies::verdict fast_open_cookies::check(const fast_open_cookie& shown, const ip::address& server,
                                                    const ip::address& client, instant now) {
    secrets_.rotate(now.time_since_epoch() / period_);
    if (shown == seal(secrets_.newest(), server, client)) return verdict::good;
    return shown == seal(secrets_.before(), server, client) ? verdict::old : verdict::wrong;
}

} // namespace tapir::tcp
