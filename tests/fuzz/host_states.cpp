// Frames into a live host in each of the 11 states. The first byte chooses the state, the second the options;
// then come segments whose sequence and acknowledgement numbers are near those of the connection, calls, and
// time. Whatever comes: every change of state is one of the table's, every frame that goes out is
// well-formed, answers are bounded by what came in, memory by the configuration, and at the end nothing is
// left.
#include <tapir/protocols/tcp/connection.hpp>

#include <chrono>

#include "tests/fuzz/station.hpp"

using namespace tapir;
using fuzz::must;
using fuzz::script;
using tcp::flags;

extern "C" const int tapir_fuzz_bounded_runs = 2500;

namespace {

constexpr std::uint32_t buffer_bytes = 20'000;

tcp::config limits(std::uint8_t choice) {
    tcp::config c;
    c.max_half_open = 8;
    c.max_time_wait = 4;
    c.max_connections = 8;
    c.max_replies = 16;
    c.max_out_of_order_ranges = 8;
    c.use_timestamps = (choice & 1) != 0;
    c.use_window_scale = (choice & 2) != 0;
    c.connections.receive_buffer = buffer_bytes;
    c.connections.send_buffer = buffer_bytes;
    c.connections.ecn = (choice & 128) != 0;
    if ((choice & 32) != 0) c.most_awake = 0; // whenever it can
    return c;
}

class conversation {
  public:
    conversation(const std::uint8_t* data, std::size_t size)
        : in_{data, data + std::min<std::size_t>(size, 2000)},
          wanted_(static_cast<tcp::state>(in_.u8() % tcp::state_count)), choice_(in_.u8()),
          peer_(limits(choice_)) {}

    void run() {
        auto all = [&](scope& s) -> task<> {
            co_await reach(s);
            while (!in_.done()) {
                co_await step(s);
                check();
            }
            // Time heals what the script has left, or gives it up: a day is more than any timer here.
            co_await peer_.pass(24h);
            check();
            listener_.close();
            mine_ = tcp::connection();
            s.request_stop();
        };
        auto body = [&]() -> task<> { co_await with_scope(all); };
        peer_.run(body);
    }

  private:
    /// A segment of the peer's: `seq_off` and `ack_off` count from what each side expects next.
    void say(flags f, std::uint32_t seq_off = 0, std::uint32_t ack_off = 0, bytes payload = {},
             std::uint16_t window = 8000, ip::ecn ecn = ip::ecn::not_ect) {
        tcp::header h;
        h.source_port = fuzz::station::port;
        h.destination_port = peer_.said().port;
        h.flags = f;
        h.seq = next_ + seq_off;
        h.ack = peer_.said().snd_nxt + ack_off;
        h.window = window;
        if (has(f, flags::syn)) {
            h.options.mss = std::uint16_t{1000};
            if ((choice_ & 4) != 0) h.options.window_scale = std::uint8_t{3};
            if ((choice_ & 128) != 0) h.flags |= tcp::ecn_setup;
        }
        if ((choice_ & 8) != 0) h.options.ts = tcp::timestamps{++clock_, peer_.said().timestamp};
        peer_.send_segment(h, payload, ecn);
    }
    void say_and_count(flags f) {
        say(f);
        next_ += (has(f, flags::syn) ? 1u : 0u) + (has(f, flags::fin) ? 1u : 0u);
    }

    static task<> connecting(conversation* c) {
        auto got =
            co_await c->peer_.host().connect(ip::endpoint(fuzz::station::there(), fuzz::station::port));
        if (got) c->mine_ = std::move(*got);
    }
    static task<> accepting(conversation* c) {
        auto got = co_await c->listener_.accept();
        if (got) c->mine_ = std::move(*got);
    }
    static task<> finishing(conversation* c) { (void)co_await c->mine_.finish(); }
    static task<> closing(conversation* c) { (void)co_await c->mine_.close(); }
    static task<> reading(conversation* c) {
        std::array<std::byte, 700> room;
        (void)co_await c->mine_.read(room);
    }
    static task<> writing(conversation* c) {
        std::array<std::byte, 3000> data{};
        (void)co_await c->mine_.write(bytes(data));
    }

    task<> reach(scope& s) {
        if (wanted_ == tcp::state::closed) co_return;
        if (wanted_ == tcp::state::syn_sent || (wanted_ == tcp::state::syn_received && (choice_ & 16) != 0)) {
            s.spawn(connecting, this);
            co_await peer_.pass(1ms);
            if (wanted_ == tcp::state::syn_received) say_and_count(flags::syn); // both at once
            co_await peer_.pass(1ms);
            co_return;
        }
        auto listening = peer_.host().listen(ip::endpoint({}, 80), listening_options());
        must(listening.has_value());
        listener_ = std::move(*listening);
        if (wanted_ == tcp::state::listen) co_return;
        say_and_count(flags::syn);
        co_await peer_.pass(1ms);
        if (wanted_ == tcp::state::syn_received) co_return;
        s.spawn(accepting, this);
        say(flags::ack);
        co_await peer_.pass(1ms);
        must(mine_.state() == tcp::state::established);
        const bool peer_first = wanted_ == tcp::state::close_wait || wanted_ == tcp::state::last_ack;
        if (peer_first) say_and_count(flags::fin | flags::ack);
        co_await peer_.pass(1ms);
        if (wanted_ == tcp::state::established || wanted_ == tcp::state::close_wait) co_return;
        const tcp::seq before = peer_.said().snd_nxt;
        s.spawn(finishing, this);
        co_await peer_.pass(1ms);
        if (wanted_ == tcp::state::closing) {
            const std::uint32_t fin = peer_.said().snd_nxt - before;
            say(flags::fin | flags::ack, 0, 0u - fin);
            next_ += 1;
        } else if (wanted_ == tcp::state::fin_wait_2) {
            say(flags::ack);
        } else if (wanted_ == tcp::state::time_wait) {
            say_and_count(flags::fin | flags::ack);
        }
        co_await peer_.pass(1ms);
        must(mine_.state() == wanted_);
    }

    tcp::listen_options listening_options() const {
        tcp::listen_options o;
        o.backlog = 3;
        o.accepted = limits(choice_).connections;
        o.accepted.no_delay = (choice_ & 32) != 0;
        o.accepted.path_mtu = (choice_ & 128) != 0 ? tcp::mtu_probing::always : tcp::mtu_probing::black_hole;
        if ((choice_ & 64) != 0) o.accepted.keepalive_idle = 10s;
        return o;
    }

    /// Mostly small and on either side of zero, sometimes a window away, sometimes anywhere.
    std::uint32_t offset() {
        const std::uint8_t kind = in_.u8();
        if (kind < 200) return static_cast<std::uint32_t>(static_cast<std::int32_t>(kind % 16) - 4);
        if (kind < 220) return peer_.said().window + kind % 4 - 2u;
        return kind < 240 ? std::uint32_t{in_.u8()} * 500 : in_.u32();
    }

    task<> step(scope& s) {
        const std::uint8_t kind = in_.u8();
        if (kind < 160) {
            segment();
        } else if (kind < 200) {
            call(s, kind);
            co_await peer_.pass(duration(0));
        } else if (kind < 230) {
            co_await peer_.pass(std::chrono::milliseconds(kind % 30 * 10));
        } else if (kind < 240) {
            co_await peer_.pass(std::chrono::seconds(kind % 10 * 13));
        } else {
            co_await peer_.pass(duration(0)); // a batch ends
        }
    }

    void segment() {
        const std::uint8_t f = in_.u8();
        const std::uint32_t seq_off = offset();
        const std::uint32_t ack_off = offset();
        const std::uint8_t size = in_.u8();
        const std::array<std::byte, 1400> data{};
        const std::size_t length = size < 200 ? size % 8u : size * 5u;
        const auto window = static_cast<std::uint16_t>(in_.u8() * 257);
        const std::uint8_t ecn = (choice_ & 128) != 0 ? in_.u8() : std::uint8_t{0};
        // An ACK is what most segments carry.
        say(static_cast<flags>((f & 0x3f) | (ecn & 0xc0)) | ((f & 0x40) != 0 ? flags::ack : flags::none),
            seq_off, ack_off, bytes(data).first(length), window, static_cast<ip::ecn>(ecn & 3));
        // And the peer goes on from what the host has taken.
        if ((f & 0x80) != 0) next_ = peer_.said().rcv_nxt;
    }

    void call(scope& s, std::uint8_t what) {
        switch (what % 10) {
        case 0: s.spawn(accepting, this); break;
        case 1: s.spawn(finishing, this); break;
        case 2: s.spawn(closing, this); break;
        case 3: mine_.abort(); break;
        case 4:
        case 5: s.spawn(writing, this); break;
        case 6:
        case 7: s.spawn(reading, this); break;
        case 8: s.spawn(connecting, this); break;
        case 9: static_cast<void>(mine_.info()); break;
        }
    }

    void check() {
        tapir::host& h = peer_.host();
        must(h.tcp().connections() <= 8);
        must(h.tcp().half_open() <= 8);
        must(h.tcp().time_waits() <= 4);
        // Each connection's two buffers, each out-of-order range in a block of its own, and frames on their
        // way.
        must(h.pool().live_bytes() <= std::size_t{4} << 20);
        must(mine_.readable() <= buffer_bytes + (1u << 18));
        // No segment draws more than the acknowledgements owed for one batch and what a window holds.
        must(peer_.said().segments <= 2000 + 64 * peer_.sent());
    }

    script in_;
    tcp::state wanted_;
    std::uint8_t choice_;
    fuzz::station peer_;
    tcp::listener listener_;
    tcp::connection mine_;
    tcp::seq next_ = tcp::seq(0xffffff00);
    std::uint32_t clock_ = 0xfffffff0;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    conversation c(data, size);
    c.run();
    return 0;
}
