// Idle connections are folded away (dormant.hpp). Whatever comes next, neither peer nor user can tell that
// from the same connection that never lay dormant: both run side by side here, and say the same.

#include <tapir/protocols/tcp/dormant.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <array>
#include <cstring>
#include <numeric>
#include <span>

#include "tests/support/tcp_lab.hpp"

using namespace tapir;
using namespace tapir::test;

namespace {

tcp::config with(duration dormant_after, std::uint32_t most_awake) {
    tcp::config c;
    c.most_awake = most_awake;
    c.dormant_after = dormant_after;
    c.rtt_floor = 1ms;
    return c;
}

std::vector<std::uint32_t> random_words(tapir::random& r, std::size_t size, std::uint32_t alike) {
    std::vector<std::uint32_t> all(size);
    for (auto& w : all) w = r.below(100) < alike ? 7 : r.next_u32();
    return all;
}

/// All that a user can ask for, as one text.
std::string everything(const tcp::endpoint& e) {
    const tcp::info i = e.info();
    std::string text = std::string(name(i.state));
    const auto add = [&](auto... v) { ((text += ' ' + std::to_string(v)), ...); };
    add(i.snd_una.value(), i.snd_nxt.value(), i.rcv_nxt.value(), i.send_queue, i.unsent, i.receive_queue,
        i.receive_memory, i.out_of_order, i.out_of_order_ranges);
    add(i.srtt.count(), i.rttvar.count(), i.min_rtt.count(), i.rto.count(), i.backoff, i.cwnd, i.ssthresh,
        i.pacing_rate, i.in_flight, i.sacked, i.lost, i.in_recovery, i.in_loss, i.reordering_seen,
        i.recoveries_undone);
    add(i.send_mss, i.receive_mss, i.send_window, i.receive_window, i.send_scale, i.receive_scale,
        i.timestamps, i.window_scaling, i.sack_permitted, i.no_delay, i.ecn, i.ecn_echoing, i.path_mtu);
    add(i.bytes_sent, i.bytes_acked, i.bytes_received, i.bytes_retransmitted, i.segments_in, i.segments_out,
        i.retransmits, i.fast_retransmits, i.rto_fired, i.duplicate_acks, i.ce_received, i.ecn_reductions);
    add(i.send_memory, static_cast<int>(i.congestion), i.from_cookie, i.fast_opened, i.orphan,
        static_cast<int>(i.mtu_search), i.mtu_floor, i.mtu_ceiling, i.urgent_segments, i.urgent_ahead);
    add(i.last_send.time_since_epoch().count(), i.last_receive.time_since_epoch().count(),
        i.next_timer.time_since_epoch().count(), static_cast<int>(i.next_timer_id),
        static_cast<int>(i.limited_by), e.writable(), e.unacked(), e.peer_finished(), e.at_end());
    for (const tcp::edge& edge : e.edges())
        add(static_cast<int>(edge.to), static_cast<int>(edge.cause), edge.when.time_since_epoch().count());
    add(e.owned_by().opened.time_since_epoch().count(), e.report().unread, static_cast<int>(e.report().how));
    return text + e.error().message();
}

/// Two of everything: one end never lies dormant, the other whenever it can.
struct twins {
    explicit twins(std::uint32_t most_awake) : sleepy(with(1ns, most_awake)) {}
    tcp_lab wakeful{with(0s, 0)};
    tcp_lab sleepy;
    std::uint32_t ours = 1;   ///< one past what we have sent, as the peer has seen it
    std::uint32_t theirs = 1; ///< and the peer's next
    std::uint32_t stamp = 10'000;

    template <class F>
    void both(F f) {
        f(wakeful);
        f(sleepy);
    }
    void establish(const tcp::connection_options& o, const tcp::options& syn) {
        both([&](tcp_lab& lab) { lab.establish(o, 65535, syn); });
    }
    void in(seg s) {
        both([&](tcp_lab& lab) {
            seg one = s;
            if (lab.stack.configuration().use_timestamps && lab.e->info().timestamps) {
                if (!one.options) one.options.emplace();
                one.options->ts = tcp::timestamps{stamp, lab.timestamp_of_last_segment()};
            }
            lab.in(one);
        });
    }
    void agree() {
        const segs a = wakeful.out();
        const segs b = sleepy.out();
        REQUIRE(a == b);
        for (const seg& s : a)
            ours = std::max(ours, s.seq + static_cast<std::uint32_t>(s.text.size()) +
                                      (has(s.flags, FIN) ? 1u : 0u));
        REQUIRE(everything(*wakeful.e) == everything(*sleepy.e));
    }
};

/// One end of connections that have as little in common as can be.
struct motley final : tcp::output_sink {
    explicit motley(const tcp::config& c) : stack(c, siphash_key{1, 2}, tapir::random(3), pool, wheel) {}

    void open_next(tapir::random& r) {
        now += std::chrono::seconds(r.below(10'000));
        wheel.advance(now);
        const auto some = [&] { return std::chrono::milliseconds(600'000 + r.below(1'000'000)); };
        tcp::connection_options o;
        o.congestion =
            r.below(2) == 0 ? tcp::congestion_algorithm::cubic : tcp::congestion_algorithm::new_reno;
        o.receive_buffer = 50'000 + r.below(50'000);
        o.send_buffer = 50'000 + r.below(50'000);
        o.give_up_after = some();
        o.close_timeout = some();
        o.user_timeout = some();
        o.connect_timeout = some();
        o.keepalive_interval = some();
        auto opened = stack.connect(way, 80, static_cast<std::uint16_t>(20'000 + all.size()), o, now);
        REQUIRE(opened);
        all.push_back(std::move(*opened));
        stack.flush(now, *this);
        theirs = 1;
        in(SYN | ACK, 0, r);
        for (int n = 0; n < 4; ++n) {
            in(ACK, 1 + r.below(1000), r);
            (void)all.back()->read_chunk();
            all.back()->write(as_bytes(std::string(1 + r.below(5'000), 'w')));
            int turns = 0;
            do { // the pacer lets it go bit by bit
                REQUIRE(++turns < 1'000);
                now += 10ms;
                wheel.advance(now);
                stack.flush(now, *this);
                in(ACK, 0, r);
            } while (all.back()->unacked() != 0);
        }
    }
    void in(tcp::flags f, std::uint32_t text, tapir::random& r) {
        now += std::chrono::microseconds(1 + r.below(30'000));
        tcp::segment s;
        s.header.source_port = 80;
        s.header.destination_port = all.back()->local().port;
        s.header.flags = f;
        s.header.seq = tcp::seq(has(f, SYN) ? 0 : theirs);
        s.header.ack = ours;
        s.header.window = static_cast<std::uint16_t>(30'000 + r.below(30'000));
        s.payload = chunk(pool.allocate(1024), 0, text);
        s.arrived = now;
        theirs += text;
        stack.receive(way, s, now);
        stack.flush(now, *this);
    }
    bool ready() override { return true; }
    std::size_t max_payload() override { return 0; }
    void emit(const tcp::path&, const tcp::outgoing_segment& s) override {
        ours = s.header.seq + static_cast<std::uint32_t>(s.payload_size) + (s.header.syn() ? 1u : 0u);
    }

    tcp::path way{ip::address::v4(192, 0, 2, 1), ip::address::v4(192, 0, 2, 2), 0, 1500};
    instant now = instant(100s);
    buffer_pool pool;
    timer_wheel wheel{1us, now};
    tcp::stack stack;
    std::vector<std::unique_ptr<tcp::endpoint>> all;
    std::uint32_t theirs = 1;
    tcp::seq ours;
};

tcp::options generous() {
    tcp::options o;
    o.mss = std::uint16_t{1000};
    o.sack_permitted = true;
    o.window_scale = std::uint8_t{4};
    o.ts = tcp::timestamps{9'000, 0};
    return o;
}

} // namespace

TEST_CASE("dormant: words come back as they were") {
    tapir::random r(5);
    for (int n = 0; n < 2000; ++n) {
        const std::size_t size = 1 + r.below(150);
        const auto alike = r.below(101);
        const auto plain = random_words(r, size, alike);
        const auto common = random_words(r, size, alike);
        std::vector<std::uint32_t> folded(tcp::folded_at_most(size));
        const std::size_t used = tcp::fold(std::as_bytes(std::span(plain)).data(),
                                           std::as_bytes(std::span(common)).data(), size, folded.data());
        REQUIRE(used <= folded.size());
        auto again = common;
        tcp::unfold(folded.data(), std::as_writable_bytes(std::span(again)).data(), size);
        REQUIRE(again == plain);
    }
}

TEST_CASE("dormant: what is in common takes no room") {
    tapir::random r(6);
    const auto plain = random_words(r, 128, 0);
    std::vector<std::uint32_t> folded(tcp::folded_at_most(plain.size()));
    const auto words_for = [&](const std::vector<std::uint32_t>& other) {
        return tcp::fold(std::as_bytes(std::span(other)).data(), std::as_bytes(std::span(plain)).data(),
                         plain.size(), folded.data());
    };
    CHECK(words_for(plain) == 4); // which of the words
    auto other = plain;
    other[100] ^= 1;
    CHECK(words_for(other) == 5);
    for (auto& w : other) w = ~w;
    CHECK(words_for(other) == tcp::folded_at_most(plain.size()));
}

// Or a server that has lived, whose memory has held all kinds of things, would have to keep of each of its
// connections what nobody has written.
TEST_CASE("dormant: a new TCB is the same whatever its memory has held") {
    struct plain : tcp::plain_tcb {
        plain() : plain_tcb(tcp::config(), path(), tcp::connection_options()) {}
        static tcp::path path() {
            return {ip::address::v4(192, 0, 2, 1), ip::address::v4(192, 0, 2, 2), 0, 1500};
        }
    };
    struct alignas(plain) memory {
        std::array<unsigned char, sizeof(plain)> bytes;
    };
    const auto of = [](unsigned char before) {
        memory m;
        m.bytes.fill(before);
        asm volatile("" : : "r"(&m) : "memory"); // or it might be left out
        new (&m) plain;
        return m.bytes;
    };
    CHECK(of(0x00) == of(0xff));
}

TEST_CASE("dormant: after a second of silence, until the next segment") {
    tcp_lab lab;
    lab.establish();
    CHECK(lab.stack.dormant_connections() == 0);
    lab.wait(3s);
    CHECK(lab.stack.dormant_connections() == 1);
    CHECK(lab.stack.connections() == 1);
    CHECK(lab.wheel.armed() == 0); // nothing has to look at it
    CHECK(lab.e->state() == tcp::state::established);
    CHECK(lab.e->info().segments_in == 1);
    CHECK(lab.stack.dormant_connections() == 1); // who only looks wakes nobody
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "hello"});
    CHECK(lab.stack.dormant_connections() == 0);
    CHECK(lab.read() == "hello");
    CHECK(lab.counted().folded == 1);
    CHECK(lab.counted().unfolded == 1);
}

TEST_CASE("dormant: a time that never comes arms no timer that has passed") {
    tcp_lab lab(with(duration::max(), 1000));
    lab.establish();
    CHECK(lab.wheel.next() > lab.now);
}

TEST_CASE("dormant: a call wakes it, and so does the end of its handle") {
    tcp_lab lab;
    lab.establish();
    lab.wait(3s);
    REQUIRE(lab.stack.dormant_connections() == 1);
    CHECK(lab.write("hello") == 5);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1, .text = "hello"}});
    lab.in({.flags = ACK, .seq = 1, .ack = 6});
    lab.wait(3s);
    REQUIRE(lab.stack.dormant_connections() == 1);
    lab.e.reset();
    CHECK(lab.out() == segs{{.flags = RST, .seq = 6}});
    CHECK(lab.stack.connections() == 0);
    CHECK(lab.stack.dormant_connections() == 0);
}

TEST_CASE("dormant: who was woken by a question alone lies down again") {
    tcp_lab lab;
    lab.establish();
    lab.wait(3s);
    REQUIRE(lab.stack.dormant_connections() == 1);
    CHECK(lab.e->writable() > 0);
    CHECK(lab.stack.dormant_connections() == 0);
    lab.wait(3s);
    CHECK(lab.stack.dormant_connections() == 1);
}

TEST_CASE("dormant: who has something unread, queued or under way stays awake") {
    tcp_lab lab;
    lab.establish();
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = "unread"});
    lab.wait(10s);
    CHECK(lab.stack.dormant_connections() == 0);
    CHECK(lab.read() == "unread");
    lab.wait(10s);
    CHECK(lab.stack.dormant_connections() == 1);
    lab.in({.flags = ACK, .seq = 7, .ack = 1, .window = 0});
    lab.write("queued");
    lab.wait(10s);
    CHECK(lab.stack.dormant_connections() == 0);
}

TEST_CASE("dormant: keepalive is due as if nothing had been") {
    tcp::connection_options o = tcp_lab::plain().connections;
    o.keepalive_idle = 60s;
    o.keepalive_interval = 5s;
    o.keepalive_probes = 2;
    tcp_lab lab;
    lab.establish(o);
    lab.wait(59s);
    CHECK(lab.stack.dormant_connections() == 1);
    CHECK(lab.out().empty());
    lab.wait(2s);
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 0, .ack = 1}});
    lab.wait(20s);
    CHECK(lab.e->error() == errc::timed_out);
}

TEST_CASE("dormant: in a crowd who is at rest does not wait") {
    tcp::config c = tcp_lab::plain();
    c.most_awake = 0;
    tcp_lab lab(c);
    lab.establish();
    CHECK(lab.stack.dormant_connections() == 1);
    lab.in({.flags = ACK, .seq = 1, .ack = 1, .text = std::string(1000, 'a')});
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1001}});
    CHECK(lab.stack.dormant_connections() == 0); // with something unread
    CHECK(lab.read().size() == 1000);
    lab.out();
    CHECK(lab.stack.dormant_connections() == 1);
    lab.write("hello");
    CHECK(lab.out() == segs{{.flags = ACK, .seq = 1, .ack = 1001, .text = "hello"}});
    CHECK(lab.stack.dormant_connections() == 0); // with something in flight
    lab.in({.flags = ACK, .seq = 1001, .ack = 6});
    CHECK(lab.out().empty());
    CHECK(lab.stack.dormant_connections() == 1);
}

TEST_CASE("dormant: of many connections one that was silent for long does not wait, but in a conversation") {
    motley many(with(1s, 1));
    tapir::random r(1);
    const auto wait = [&many](duration d) {
        many.now += d;
        many.wheel.advance(many.now);
    };
    for (int n = 0; n < 2; ++n) many.open_next(r);
    wait(3s);
    CHECK(many.stack.dormant_connections() == 2);
    const std::uint64_t before = many.stack.counted().unfolded;
    many.in(ACK, 0, r);
    CHECK(many.stack.counted().unfolded == before + 1);
    CHECK(many.stack.dormant_connections() == 2);
    wait(10ms);
    many.in(ACK, 0, r);
    CHECK(many.stack.dormant_connections() == 1);
    wait(3s);
    CHECK(many.stack.dormant_connections() == 2);
}

TEST_CASE("dormant: the host stops, and the network is said to be unreachable") {
    tcp_lab lab;
    lab.establish();
    lab.wait(3s);
    lab.stack.unreachable(lab.there(), errc::host_unreachable, lab.now);
    CHECK(lab.e->soft_error() == errc::host_unreachable);
    CHECK_FALSE(lab.icmp(tcp::icmp_kind::host_unreachable, 1));
    CHECK(lab.stack.dormant_connections() == 1);
    lab.stack.stop(lab.now);
    CHECK(lab.e->error() == errc::host_stopped);
    CHECK(lab.out() == segs{{.flags = RST, .seq = 1}});
}

TEST_CASE("dormant: those that are like no others come back as they were") {
    motley wakeful(with(0s, 0));
    motley sleepy(with(1s, 0));
    tapir::random r(1), same(1);
    for (int n = 0; n < 40; ++n) {
        wakeful.open_next(r);
        sleepy.open_next(same);
    }
    CHECK(wakeful.stack.dormant_connections() == 0);
    CHECK(sleepy.stack.dormant_connections() == 40);
    for (std::size_t i = 0; i < wakeful.all.size(); ++i)
        CHECK(everything(*wakeful.all[i]) == everything(*sleepy.all[i]));
}

TEST_CASE("dormant: a TCB that has served another connection shows nothing of it") {
    motley wakeful(with(0s, 0));
    motley sleepy(with(1s, 0));
    tapir::random r(2), same(2);
    for (int n = 0; n < 20; ++n) {
        wakeful.open_next(r);
        sleepy.open_next(same);
    }
    REQUIRE(sleepy.stack.dormant_connections() == 20);
    const std::uint64_t before = sleepy.stack.counted().unfolded;
    for (int n = 0; n < 200; ++n) {
        CAPTURE(n);
        const std::uint32_t i = r.below(20);
        const auto timeout = std::chrono::milliseconds(1 + r.below(1'000'000));
        for (motley* m : {&wakeful, &sleepy}) {
            m->all[i]->set_user_timeout(timeout); // wakes it
            m->stack.flush(m->now, *m);
        }
        REQUIRE(wakeful.all[i]->writable() == sleepy.all[i]->writable());
        REQUIRE(everything(*wakeful.all[i]) == everything(*sleepy.all[i]));
        for (motley* m : {&wakeful, &sleepy}) {
            m->now += 3s;
            m->wheel.advance(m->now);
        }
    }
    CHECK(sleepy.stack.counted().unfolded >= before + 200);
    CHECK(sleepy.stack.dormant_connections() == 20);
}

TEST_CASE("dormant: neither the peer nor the user can tell") {
    std::uint64_t folded = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        tapir::random r(seed);
        tcp::connection_options o;
        o.no_delay = r.below(2) == 0;
        o.paced = r.below(2) == 0;
        o.congestion =
            r.below(2) == 0 ? tcp::congestion_algorithm::cubic : tcp::congestion_algorithm::new_reno;
        if (r.below(2) == 0) o.keepalive_idle = 20s;
        if (r.below(2) == 0) o.send_buffer = 20'000;
        if (r.below(2) == 0) o.path_mtu = tcp::mtu_probing::always;
        twins t(seed % 2 == 0 ? 0 : 1000);
        t.establish(o, r.below(2) == 0 ? generous() : tcp_lab::default_options());
        t.agree();
        for (int step = 0; step < 60 && t.wakeful.e->state() == tcp::state::established; ++step) {
            CAPTURE(step);
            t.stamp += 1 + r.below(5);
            const std::uint32_t n = 1 + r.below(r.below(2) == 0 ? 20 : 900);
            switch (r.below(12)) {
            case 0:
            case 1: // data in order
                t.in({.flags = ACK, .seq = t.theirs, .ack = t.ours, .text = std::string(n, 'p')});
                t.theirs += n;
                break;
            case 2: // a hole, which is filled later
                t.in({.flags = ACK, .seq = t.theirs + n, .ack = t.ours, .text = "ahead"});
                if (r.below(2) == 0) break;
                t.agree();
                t.in({.flags = ACK, .seq = t.theirs, .ack = t.ours, .text = std::string(n, 'p')});
                t.theirs += n + 5;
                break;
            case 3:
            case 4:
            case 5: // everything is acknowledged, with one window or another
                t.in({.flags = ACK,
                      .seq = t.theirs,
                      .ack = t.ours,
                      .window = static_cast<std::uint16_t>(r.below(8) == 0 ? 0 : 5'000 + r.below(60'000))});
                break;
            case 6: // a question, or something old
                t.in({.flags = ACK, .seq = t.theirs - 1 - r.below(3), .ack = t.ours});
                break;
            case 7:
                t.both([&](tcp_lab& lab) {
                    lab.write(std::string(n * (1 + static_cast<unsigned>(step) % 7), 'w'));
                });
                break;
            case 8: t.both([&](tcp_lab& lab) { (void)lab.read(); }); break;
            case 9: {
                const bool no_delay = r.below(2) == 0;
                t.both([&](tcp_lab& lab) { lab.e->set_no_delay(no_delay); });
                break;
            }
            default: {
                static constexpr std::array<duration, 5> spans = {1ms, 50ms, 900ms, 4s, 400s};
                const duration d = spans[r.below(4) == 0 ? r.below(5) : r.below(3)];
                t.both([&](tcp_lab& lab) { lab.wait(d); });
                break;
            }
            }
            t.agree();
            t.both([&](tcp_lab& lab) { lab.wait(2ms); });
            t.agree();
        }
        t.both([&](tcp_lab& lab) { lab.e->close(lab.now); });
        t.agree();
        folded += t.sleepy.counted().unfolded;
        CHECK(t.wakeful.counted().folded == 0);
    }
    CHECK(folded > 2'000);
}
