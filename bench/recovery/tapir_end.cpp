#include "bench/recovery/tapir_end.hpp"

#include <tapir/framework/entropy.hpp>
#include <tapir/framework/log.hpp>
#include <tapir/framework/sleep.hpp>

#include <algorithm>
#include <string>
#include <vector>

using namespace tapir;

namespace bench {

std::unique_ptr<host> make_host(reactor& on, tapir::link& over, const ip::prefix& own, std::uint32_t buffer) {
    host_config config;
    config.secret = os_secret();
    config.tcp.connections = options_with(buffer);
    auto made = std::make_unique<host>(on, config);
    const ethernet::mac_address mac(0x02, 0x74, 0x61, 0x70, 0x69, 0x72);
    if (const auto added = made->add_interface(over, mac, own); !added) {
        log::error("tapir cannot have the address " + own.addr.to_string() + ": " + added.error().message());
        return nullptr;
    }
    return made;
}

tcp::connection_options options_with(std::uint32_t buffer) {
    tcp::connection_options o;
    if (buffer != 0) o.send_buffer = o.receive_buffer = buffer;
    return o;
}

task<> send_bulk(host* from, ip::endpoint to, std::uint64_t bytes, std::uint32_t buffer) {
    const tcp::connection_options options = options_with(buffer);
    auto connected = co_await from->connect(to, options);
    if (!connected) {
        log::error("tapir cannot connect to " + to.to_string() + ": " + connected.error().message());
        co_return;
    }
    tcp::connection peer = std::move(*connected);
    const pattern content;
    std::uint64_t sent = 0;
    std::string ended = "complete";
    while (sent < bytes) {
        const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(bytes - sent, pattern::piece));
        const write_result w = co_await peer.write(content.at(sent, piece));
        sent += w.taken();
        if (w) continue;
        ended = w.error() == errc::cancelled ? "stopped" : "by_the_receiver"; // which had enough
        break;
    }
    if (ended == "complete") {
        const result<> finished = co_await peer.finish();
        if (!finished) ended = finished.error() == errc::cancelled ? "stopped" : "by_the_receiver";
    }
    const tcp::info i = peer.info();
    std::printf("sent %llu ended %s mss %u retransmits %u fast_retransmits %u rto_fired %u cwnd %u\n",
                static_cast<unsigned long long>(sent), ended.c_str(), unsigned{i.send_mss}, i.retransmits,
                i.fast_retransmits, i.rto_fired, i.cwnd);
    std::fflush(stdout);
    if (ended != "complete") {
        peer.abort();
        co_return;
    }
    (void)co_await peer.close();
}

namespace {
task<result<std::size_t>> read_some(tcp::connection* from, mutable_bytes to) {
    co_return co_await from->read(to);
}
task<result<tcp::connection>> accept_one(tcp::listener* at) {
    co_return co_await at->accept();
}
} // namespace

task<> receive_bulk(tcp::listener* at, tally_limits limits) {
    promise_base& self = co_await this_coroutine;
    reactor& on = self.reactor();
    tally seen(limits);
    const auto patience = std::chrono::duration_cast<duration>(tally::seconds(limits.stalled));
    auto accepted = co_await with_timeout(patience, accept_one(at));
    if (!accepted) {
        seen.print();
        co_return;
    }
    tcp::connection peer = std::move(*accepted);
    const instant begin = on.now();
    const auto since = [&] { return tally::seconds(on.now() - begin); };
    std::vector<std::byte> buffer(pattern::piece);
    while (!seen.over(since())) {
        constexpr duration look = 50ms; // so often the limits are looked at when nothing comes
        const auto n = co_await with_timeout(look, read_some(&peer, buffer));
        if (!n) {
            if (n.error() == errc::cancelled) break;
            if (n.error() != errc::deadline_exceeded) seen.broken(std::to_string(n.error().value()));
        } else if (*n == 0) {
            seen.end_of_stream();
        } else {
            seen.received(bytes(buffer).first(*n), since());
        }
    }
    seen.print();
    if (seen.complete()) {
        (void)co_await peer.close();
    } else {
        peer.abort();
    }
}

} // namespace bench
