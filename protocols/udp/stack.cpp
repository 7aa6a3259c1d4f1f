#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/udp/header.hpp>
#include <tapir/protocols/udp/stack.hpp>

#include <algorithm>
#include <array>

namespace tapir::udp {

namespace {

/// The least that a waiting datagram is charged: the smallest block of a buffer pool, and its place in a
/// queue.
constexpr std::size_t min_charge = 256;

/// Before every address in the order of the table.
constexpr ip::address lowest_address{std::array<std::uint8_t, 16>{}};

bool is_one_host(const ip::address& a) {
    return !a.is_unspecified() && !a.is_multicast() && !a.is_broadcast();
}

} // namespace

// --- binding -----------------------------------------------------------------------------------------------

result<std::unique_ptr<binding>> stack::bind(ip::endpoint at, const socket_options& options) {
    if (stopped_) return errc::host_stopped;
    if (options.ttl == 0) return errc::invalid_argument; // [RFC 1122 3.2.1.7 MUST]
    if (bound_.size() >= config_.max_sockets) return errc::no_memory;
    if (at.port == 0) {
        const auto picked = pick_port(at.addr);
        if (!picked) return picked.error();
        at.port = *picked;
    } else if (!config_.share.owns(at.port)) {
        return errc::address_unavailable;
    } else if (!is_free(at)) {
        return errc::address_in_use;
    }
    std::unique_ptr<binding> b(new binding(*this, at, options));
    bound_.emplace(key(at.port, at.addr), b.get());
    return b;
}

bool stack::is_free(const ip::endpoint& at) const {
    const auto first = bound_.lower_bound(key(at.port, lowest_address));
    if (first == bound_.end() || first->first.first != at.port) return true;
    if (at.addr.is_unspecified()) return false;
    return find(at.addr, at.port) == nullptr;
}

// [RFC 6056 3.3.1]
result<std::uint16_t> stack::pick_port(const ip::address& local) {
    const std::uint32_t first = config_.first_ephemeral_port;
    const std::uint32_t count = config_.last_ephemeral_port - first + 1u;
    const std::uint32_t start = random_.below(count);
    for (std::uint32_t tried = 0; tried < count; ++tried) {
        const auto port = static_cast<std::uint16_t>(first + (start + tried) % count);
        if (config_.share.owns(port) && is_free(ip::endpoint(local, port))) return port;
    }
    return errc::no_ports;
}

binding* stack::find(const ip::address& local, std::uint16_t port) const {
    auto found = bound_.find(key(port, local));
    if (found == bound_.end()) found = bound_.find(key(port, ip::address()));
    return found == bound_.end() ? nullptr : found->second;
}

void stack::end(binding& b, errc why) {
    bound_.erase(key(b.local_.port, b.local_.addr));
    b.unlink();
    while (!b.queue_.empty()) {
        uncharge(b, b.queue_.front().payload);
        b.queue_.pop_front();
        ++counters_.dropped[drop::closed];
    }
    b.error_.reset();
    b.ended_ = why;
    b.stack_ = nullptr;
    b.notify();
}

void stack::stop() {
    stopped_ = true;
    while (!bound_.empty()) end(*bound_.begin()->second, errc::host_stopped);
}

// --- in ----------------------------------------------------------------------------------------------------

outcome stack::dropped(drop reason) {
    ++counters_.dropped[reason];
    return outcome::dropped;
}

outcome stack::receive(const arrival& a, const chunk& datagram) {
    ++counters_.datagrams_in;
    const auto v = view::parse(datagram.data());
    if (!v) return dropped(v.error() == malformed::too_short ? drop::too_short : drop::bad_length);
    if (!a.checksum_verified &&
        !v->checksum_ok(ip::pseudo_header_sum(a.source, a.destination, ip::protocol::udp)))
        return dropped(drop::bad_checksum);
    if (!is_one_host(a.source)) return dropped(drop::bad_source);

    binding* b =
        a.to_group ? find(ip::address(), v->destination_port()) : find(a.destination, v->destination_port());
    if (b == nullptr) {
        ++counters_.dropped[drop::no_port];
        return a.to_group ? outcome::dropped : outcome::no_port;
    }
    if (a.to_group && !b->options_.broadcast) return dropped(drop::broadcast);
    if (b->peer_ && *b->peer_ != ip::endpoint(a.source, v->source_port())) return dropped(drop::not_peer);
    return enqueue(*b, a, v->source_port(), datagram.slice(header::size, v->payload().size()));
}

outcome stack::no_room(binding& b, drop reason) {
    ++b.counters_.dropped;
    return dropped(reason);
}

outcome stack::enqueue(binding& b, const arrival& a, std::uint16_t source_port, chunk payload) {
    if (b.queue_.size() >= b.options_.receive_datagrams) return no_room(b, drop::queue_full);
    // What cannot fit is not copied first.
    if (b.queued_bytes_ + payload.size() > b.options_.receive_bytes) return no_room(b, drop::queue_bytes);
    // A few bytes must not keep the whole buffer of a frame.
    if (payload.empty())
        payload = chunk();
    else if (payload.size() * 2 < payload.true_size())
        payload = chunk(pool_.copy_of(payload.data()), 0, payload.size());
    const std::size_t cost = charge(payload);
    if (b.queued_bytes_ + cost > b.options_.receive_bytes) return no_room(b, drop::queue_bytes);
    if (queued_bytes_ + cost > config_.max_queued_bytes) return no_room(b, drop::all_queues_full);

    binding::datagram d;
    d.payload = std::move(payload);
    d.from = ip::endpoint(a.source, source_port);
    d.to = a.destination;
    d.arrived = a.arrived;
    b.queue_.push_back(std::move(d));
    b.queued_bytes_ += cost;
    queued_bytes_ += cost;
    ++counters_.queued;
    b.notify();
    return outcome::queued;
}

std::size_t stack::charge(const chunk& payload) {
    return std::max(payload.true_size(), min_charge);
}

void stack::uncharge(binding& b, const chunk& payload) {
    b.queued_bytes_ -= charge(payload);
    queued_bytes_ -= charge(payload);
}

void stack::icmp_error(std::error_code why, const ip::endpoint& local, const ip::endpoint& remote) {
    binding* b = find(local.addr, local.port);
    if (b == nullptr || !b->sent_to(remote) || (b->peer_ && *b->peer_ != remote)) {
        ++counters_.icmp_ignored;
        return;
    }
    ++counters_.icmp_errors;
    ++b->counters_.errors;
    if (b->error_) ++counters_.icmp_replaced;
    b->error_ = peer_error(remote, why);
    b->notify();
}

// --- out ---------------------------------------------------------------------------------------------------

bool stack::may_send() {
    return sent_this_turn_ < config_.max_sent_per_turn && out_.ready();
}

void stack::flush() {
    sent_this_turn_ = 0;
    flushing_ = true;
    while (!waiting_.empty() && may_send()) {
        binding& b = waiting_.pop_front();
        if (b.observer_ != nullptr) b.observer_->may_send(b);
    }
    flushing_ = false;
    // Those that are left wait for the link, which will tell, or for the next turn.
    if (!waiting_.empty() && out_.ready()) out_.want_flush();
}

} // namespace tapir::udp
