// Options of IPv4 and of TCP, near what is valid and far from it, in a SYN and then in the segments of a live
// connection. Whatever they say: only what RFC 9293 and RFC 7323 allow takes effect, the connection still
// carries its data, and what was understood can be written and read again.
#include <tapir/protocols/tcp/connection.hpp>

#include <string_view>
#include <vector>

#include "tests/fuzz/station.hpp"

using namespace tapir;
using fuzz::must;
using fuzz::script;
using tcp::flags;

extern "C" const int tapir_fuzz_bounded_runs = 4000;

namespace {

/// Forty bytes at most. Each byte of the script is a known kind with its right length, the same with a wrong
/// one, or raw bytes.
std::vector<std::byte> soup(script& in, bool of_tcp) {
    static constexpr std::uint8_t tcp_kinds[][2] = {{0, 1},  {1, 1},  {2, 4},  {3, 3},   {4, 2},
                                                    {5, 10}, {5, 18}, {8, 10}, {30, 12}, {254, 4}};
    static constexpr std::uint8_t ip_kinds[][2] = {{0, 1},   {1, 1},   {7, 11},   {68, 12}, {131, 7},
                                                   {137, 7}, {148, 4}, {130, 11}, {136, 4}, {222, 5}};
    std::vector<std::byte> out;
    for (std::uint8_t n = in.u8() % 12; n > 0 && !in.done() && out.size() < 40; --n) {
        const std::uint8_t choice = in.u8();
        const auto& [kind, length] = of_tcp ? tcp_kinds[choice % 10] : ip_kinds[choice % 10];
        if (choice >= 240) { // raw
            out.push_back(std::byte{in.u8()});
            continue;
        }
        out.push_back(std::byte{kind});
        if (length == 1) continue;
        out.push_back(std::byte{choice >= 200 ? in.u8() : length});
        for (std::uint8_t i = 2; i < length; ++i) out.push_back(std::byte{in.u8()});
    }
    out.resize(std::min<std::size_t>(out.size(), 40));
    return out;
}

/// A TCP segment with raw options, and its checksum.
std::vector<std::byte> segment(const tcp::header& h, bytes options, bytes payload) {
    tcp::header plain = h;
    plain.options = {};
    const std::size_t size = tcp::header_size + (options.size() + 3) / 4 * 4;
    std::vector<std::byte> out(size + payload.size());
    const std::vector<bytes> none;
    tcp::emit(mutable_bytes(out).first(tcp::header_size), plain, 0, none);
    copy_bytes(mutable_bytes(out).subspan(tcp::header_size), options);
    copy_bytes(mutable_bytes(out).subspan(size), payload);
    store_u8(out, 12, static_cast<std::uint8_t>(size / 4 << 4));
    store_be16(out, 16, 0);
    // Over the pseudo-header's sum and the segment, length included. [RFC 9293 3.1]
    std::vector<std::byte> summed(4 + out.size());
    store_be16(summed, 0,
               ip::pseudo_header_sum(fuzz::station::there(), fuzz::station::here(), ip::protocol::tcp));
    store_be16(summed, 2, static_cast<std::uint16_t>(out.size()));
    copy_bytes(mutable_bytes(summed).subspan(4), out);
    store_be16(out, 16, static_cast<std::uint16_t>(~ip::ones_complement_sum(summed)));
    must(tcp::checksum_ok(
        out, ip::pseudo_header_sum(fuzz::station::there(), fuzz::station::here(), ip::protocol::tcp)));
    return out;
}

/// What is understood survives being written and read again.
void round_trip(bytes raw) {
    const auto parsed = tcp::parse(raw);
    must(parsed.has_value());
    const tcp::options& o = parsed->header.options;
    must(o.sack_count <= o.sack.size());
    must(o.size() % 4 == 0);
}

task<> conversation(fuzz::station* peer, script in) {
    auto listening = peer->host().listen(ip::endpoint({}, 80));
    must(listening.has_value());
    auto& counted = peer->host().tcp().counted();

    tcp::header syn;
    syn.source_port = fuzz::station::port;
    syn.destination_port = 80;
    syn.seq = tcp::seq(1000);
    syn.flags = flags::syn;
    syn.window = 60000;
    const auto syn_options = soup(in, true);
    const auto raw_syn = segment(syn, syn_options, {});
    round_trip(raw_syn);
    peer->send_packet(soup(in, false), raw_syn);
    co_await peer->pass(1ms);
    if (peer->said().segments == 0) co_return; // dropped for its IP options: those are counted below
    must(peer->host().tcp().half_open() == 1);

    const auto understood = tcp::parse(raw_syn)->header.options;
    tcp::header ack = syn;
    ack.flags = flags::ack;
    ack.seq = tcp::seq(1001);
    ack.ack = peer->said().snd_nxt;
    const bool stamped = understood.ts.has_value();
    if (stamped) ack.options.ts = tcp::timestamps{understood.ts->value, peer->said().timestamp};
    peer->send_segment(ack, {});
    auto accepted = co_await listening->accept();
    must(accepted.has_value());
    tcp::connection c = std::move(*accepted);
    const tcp::info i = c.info();
    const tcp::config& config = peer->host().tcp().configuration();
    must(i.send_mss >= config.min_mss - 12u && i.send_mss <= 1460);
    must(i.send_scale <= 14 && i.window_scaling == understood.window_scale.has_value());
    must(i.timestamps == stamped && i.sack_permitted == understood.sack_permitted);

    // Segments with any options: each carries one byte, and is taken or not.
    for (int n = 0; n < 50 && !in.done(); ++n) {
        tcp::header data = ack;
        data.seq = peer->said().rcv_nxt;
        data.ack = peer->said().snd_nxt;
        const auto options = soup(in, true);
        const std::array payload = {std::byte{7}};
        const auto raw = segment(data, options, payload);
        round_trip(raw);
        peer->send_packet(soup(in, false), raw);
        co_await peer->pass(100ms);
        must(c.state() == tcp::state::established);
        must(c.readable() <= static_cast<std::size_t>(n) + 1);
    }
    // And one with the right ones still arrives.
    const std::size_t before = c.readable();
    tcp::header last = ack;
    last.seq = peer->said().rcv_nxt;
    last.ack = peer->said().snd_nxt;
    if (stamped)
        last.options.ts = tcp::timestamps{understood.ts->value + 0x40000000u, peer->said().timestamp};
    const std::array payload = {std::byte{9}};
    const std::uint64_t old = counted.paws_rejected;
    peer->send_segment(last, payload);
    co_await peer->pass(100ms);
    // Unless a timestamp of the soup has come from the future: then it is an old duplicate. [RFC 7323 5.3]
    must(c.readable() == before + 1 || counted.paws_rejected == old + 1);
    c.abort();
}

// Not in the function below: g++ 12 gives coroutines in an extern "C" function one name for all.
void run(const script& in) {
    fuzz::station peer((tcp::config()));
    auto body = [&]() -> task<> { co_await conversation(&peer, in); };
    peer.run(body);
    const auto& ip = peer.host().ip_counters();
    must(ip.received == ip.accepted + ip.dropped.total());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    run(script{data, data + std::min<std::size_t>(size, 2000)});
    return 0;
}
