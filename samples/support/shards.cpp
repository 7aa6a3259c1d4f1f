#include "samples/support/shards.hpp"

#include <tapir/framework/entropy.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/host/shard_link.hpp>

namespace samples {

ethernet::mac_address random_mac(std::uint64_t draw) {
    const auto octet = [&](unsigned i) { return static_cast<std::uint8_t>(draw >> (8 * i)); };
    return {0x02, octet(0), octet(1), octet(2), octet(3), octet(4)};
}

std::unique_ptr<reactor> new_reactor(duration spin) {
    reactor_config config;
    config.seed = os_seed();
    config.spin = spin;
    return std::make_unique<reactor>(make_uring_backend(), config);
}

shard_group::shard_group(std::size_t count, duration spin)
    : threads_(count, [spin] { return new_reactor(spin); }), flows_(os_secret()), secret_(os_secret()),
      mac_(random_mac(os_seed())), between_(std::make_shared<crossing>(count, shard_link::ring_size)) {
    for (std::size_t i = 0; i < count; ++i) members_.push_back(std::make_unique<shard>(*this, i));
}

int shard_group::run(const std::function<task<int>(shard&)>& program) {
    return threads_.run([&](std::size_t number) { return program(*members_[number]); });
}

void shard_group::visit(std::size_t number, std::move_only_function<void(host*)> job) {
    shard& other = *members_[number + 1];
    threads_.post(number + 1, [&other, job = std::move(job)]() mutable { job(other.here); });
}

ip::flow_share shard::share() const {
    return {group_.flows_, static_cast<std::uint32_t>(number_), static_cast<std::uint32_t>(count())};
}

task<> shard::relay_signals() {
    while (const auto signal = co_await group_.signals_.next()) raise(*signal);
}

void shard::raise(int signal) {
    for (std::size_t i = 0; i < count(); ++i)
        group_.threads_.post(i, [&each = *group_.members_[i], signal] { each.deliver(signal); });
}

task<result<int>> shard::next_signal() {
    while (signals_.empty()) {
        signalled_.reset();
        if (const auto waited = co_await signalled_.wait(); !waited) co_return waited.error();
    }
    const int signal = signals_.front();
    signals_.pop_front();
    co_return signal;
}

} // namespace samples
