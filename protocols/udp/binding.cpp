#include <tapir/protocols/udp/binding.hpp>
#include <tapir/protocols/udp/header.hpp>
#include <tapir/protocols/udp/stack.hpp>

#include <algorithm>
#include <cassert>
#include <utility>

namespace tapir::udp {

binding::~binding() {
    observer_ = nullptr;
    close();
}

void binding::close() {
    if (stack_ != nullptr) stack_->end(*this, errc::closed);
}

result<> binding::connect(ip::endpoint to) {
    if (ended_) return ended_;
    if (to.port == 0 || to.addr.is_unspecified() || to.addr.is_multicast()) return errc::invalid_argument;
    const auto way = stack_->out_.route_to(to.addr);
    if (!way) return way.error();
    if (way->broadcast) return errc::invalid_argument; // nobody answers from that address
    peer_ = to;
    error_.reset();
    std::erase_if(queue_, [&](const datagram& d) {
        if (d.from == to) return false;
        stack_->uncharge(*this, d.payload);
        ++stack_->counters_.dropped[drop::not_peer];
        return true;
    });
    return {};
}

received binding::receive(mutable_bytes to) {
    assert(!queue_.empty());
    const datagram d = std::move(queue_.front());
    queue_.pop_front();
    stack_->uncharge(*this, d.payload);
    const std::size_t n = std::min(d.payload.size(), to.size());
    copy_bytes(to, d.payload.data().first(n));
    const bool cut = n < d.payload.size();
    ++counters_.received;
    ++stack_->counters_.received;
    if (cut) ++stack_->counters_.truncated;
    return received(d.from, d.to, n, cut, d.arrived);
}

result<bool> binding::send(bytes payload, ip::endpoint to, ip::address from) {
    if (ended_) return ended_;
    if (to.port == 0 || to.addr.is_unspecified() || to.addr.is_multicast()) return errc::invalid_argument;
    if (payload.size() > header::max_payload) return errc::too_large;
    // [RFC 1122 4.1.3.6 MUST]: a source must be an address of this host.
    if (from.is_unspecified()) {
        from = local_.addr;
    } else if ((!local_.addr.is_unspecified() && from != local_.addr) || !stack_->out_.is_own(from)) {
        return errc::invalid_argument;
    }
    const auto way = stack_->out_.route_to(to.addr);
    if (!way) return way.error();
    if (way->broadcast && !options_.broadcast) return errc::invalid_argument;
    if (payload.size() > way->max_payload) return errc::too_large;
    if (!stack_->may_send() || !stack_->has_turn()) {
        ++stack_->counters_.send_waits;
        if (!linked()) stack_->waiting_.push_back(*this);
        stack_->out_.want_flush();
        return false;
    }
    outgoing o;
    o.header.source_port = local_.port;
    o.header.destination_port = to.port;
    o.source = from.is_unspecified() ? way->source : from;
    o.destination = to.addr;
    o.ttl = options_.ttl;
    o.type_of_service = options_.type_of_service;
    o.payload = payload;
    remember(to);
    ++counters_.sent;
    ++stack_->counters_.datagrams_out;
    ++stack_->sent_this_turn_;
    stack_->out_.emit(o); // may report at once that nobody is there
    stack_->out_.want_flush();
    return true;
}

std::error_code binding::take_failure() {
    if (!has_failure()) return {};
    return std::exchange(error_, std::nullopt)->why;
}

std::optional<peer_error> binding::take_error() {
    return std::exchange(error_, std::nullopt);
}

void binding::remember(const ip::endpoint& to) {
    if (sent_to(to)) return;
    sent_to_[oldest_] = to;
    oldest_ = (oldest_ + 1) % remembered;
}

bool binding::sent_to(const ip::endpoint& peer) const {
    return peer.port != 0 && std::ranges::find(sent_to_, peer) != sent_to_.end();
}

} // namespace tapir::udp
