#include "tests/unit/tcp_specimen.hpp"

#include <tapir/protocols/ip/checksum.hpp>

#include <algorithm>
#include <chrono>

namespace tapir::test {

namespace {

constexpr auto FIN = tcp::flags::fin;
constexpr auto SYN = tcp::flags::syn;
constexpr auto ACK = tcp::flags::ack;

constexpr std::uint16_t our_port = 80;
constexpr std::uint16_t peer_port = 5000;
constexpr instant earliest = instant(std::chrono::seconds(100));
constexpr siphash_key secret{1, 2};
constexpr std::size_t hole_begin = 10;
constexpr std::size_t hole_text = 5;

ip::address here() {
    return ip::address::v4(192, 0, 2, 1);
}
ip::address there() {
    return ip::address::v4(192, 0, 2, 2);
}

/// The byte of the peer's stream at an offset from RCV.NXT.
constexpr std::size_t period = 26;
char stream_byte(oracle::offset at) {
    constexpr auto n = static_cast<oracle::offset>(period);
    return static_cast<char>('a' + (at % n + n) % n);
}
chunk stream_text(oracle::offset at, std::size_t length, buffer_pool& pool) {
    std::string text;
    for (std::size_t i = 0; i < length; ++i) text += stream_byte(at + static_cast<oracle::offset>(i));
    return chunk(pool.copy_of(as_bytes(text)), 0, length);
}

tcp::config configuration(bool timestamps) {
    tcp::config c;
    c.use_timestamps = timestamps;
    c.use_window_scale = false;
    return c;
}

/// The initial sequence number follows a clock of 4 microseconds [RFC 9293 3.4.1]: there is a time for each.
instant time_for(std::uint32_t iss) {
    static const std::uint32_t at_earliest = [] {
        struct first_syn final : tcp::output_sink {
            bool ready() override { return true; }
            std::size_t max_payload() override { return 0; }
            void emit(const tcp::path&, const tcp::outgoing_segment& s) override {
                iss = s.header.seq.value();
            }
            std::uint32_t iss = 0;
        } out;
        buffer_pool pool;
        timer_wheel wheel(std::chrono::microseconds(1), earliest);
        tcp::stack stack(configuration(false), secret, random(3), pool, wheel);
        const tcp::path way(here(), there(), ip::pseudo_header_sum(here(), there(), ip::protocol::tcp));
        const auto user = stack.connect(way, peer_port, our_port, {}, earliest);
        stack.flush(earliest, out);
        return out.iss;
    }();
    return earliest + std::chrono::microseconds(4) * static_cast<std::int64_t>(iss - at_earliest);
}

} // namespace

specimen::specimen(const specimen_kind& kind, const numbers& n, bool timestamps, buffer_pool& pool)
    : kind_(kind), numbers_(n), timestamps_(timestamps), pool_(pool), now_(time_for(n.iss)),
      wheel_(std::chrono::microseconds(1), now_),
      stack_(configuration(timestamps), secret, random(3), pool, wheel_, this), rcv_nxt_(n.irs),
      snd_una_(n.iss), snd_nxt_(n.iss), right_edge_(n.irs), last_wl1_(n.irs), last_wl2_(n.iss) {
    build();

    before_.state = kind.state;
    before_.how = kind.how;
    before_.listening = kind.listening;
    before_.in_flight = snd_nxt_ - snd_una_;
    before_.fin_sent = kind.state == tcp::state::fin_wait_1 || kind.state == tcp::state::fin_wait_2 ||
                       kind.state == tcp::state::closing || kind.state == tcp::state::last_ack;
    before_.fin_acked = kind.state == tcp::state::fin_wait_2;
    // Before the peer's first segment that counts, nothing is known of its window.
    const bool window_known = tcp::is_synchronized(kind.state) ||
                              (kind.state == tcp::state::syn_received && kind.how == tcp::opening::active);
    before_.send_window = before_.max_send_window = window_known ? peer_window : 0;
    before_.wl1 = static_cast<std::int32_t>(last_wl1_ - rcv_nxt_);
    before_.wl2 = static_cast<std::int32_t>(last_wl2_ - snd_una_);
    before_.window = kind.state == tcp::state::syn_sent ? window : right_edge_ - rcv_nxt_;
    before_.reader = kind.reader;
    before_.stamped = timestamps;
    if (kind.hole)
        for (std::size_t i = 0; i < hole_text; ++i) before_.held.set(hole_begin + i);
    if (kind.hole_fin) before_.peer_fin = hole_begin + hole_text;

    scripted_ = false;
    stack_.for_each_time_wait(
        [this](const tcp::flow_key&, const tcp::time_wait_entry& e) { time_wait_expires_ = e.expires.at(); });
    edges_.clear();
    answers_.clear();
    dropped_.clear();
    unread_before_ = user_ == nullptr ? 0 : user_->readable();
    challengeable_ = stack_.connections() != 0;
    challenges_before_ = stack_.counted().challenge_acks;
}

// What still happens is told to members that must live for it.
specimen::~specimen() {
    user_.reset();
    listener_.reset();
    stack_.stop(now_);
}

tcp::path specimen::way() const {
    static const std::uint16_t sum = ip::pseudo_header_sum(here(), there(), ip::protocol::tcp);
    return {here(), there(), sum};
}

void specimen::receive(tcp::flags f, tcp::seq seq, tcp::seq ack, chunk text, std::uint16_t segment_window,
                       std::optional<std::uint32_t> stamp) {
    tcp::segment s;
    s.header.source_port = peer_port;
    s.header.destination_port = our_port;
    s.header.seq = seq;
    s.header.ack = ack;
    s.header.flags = f;
    s.header.window = segment_window;
    if (has(f, tcp::flags::urg)) s.header.urgent = 1;
    if (stamp) s.header.options.ts = tcp::timestamps{*stamp, 0};
    s.payload = std::move(text);
    s.arrived = now_;
    stack_.receive(way(), s, now_);
}

// The script's peer: numbers from each side's SYN.
void specimen::in(tcp::flags f, std::uint32_t seq, std::uint32_t ack, std::string_view text) {
    const tcp::seq from = tcp::seq(numbers_.irs) + seq;
    const tcp::seq acked = tcp::seq(numbers_.iss) + ack;
    chunk payload;
    if (!text.empty()) payload = chunk(pool_.copy_of(as_bytes(text)), 0, text.size());
    receive(f, from, has(f, ACK) ? acked : tcp::seq(), std::move(payload), peer_window,
            timestamps_ ? std::optional(peer_stamp) : std::nullopt);
    if (has(f, ACK)) {
        snd_una_ = acked;
        last_wl2_ = acked;
    }
    last_wl1_ = from;
    flush();
}

void specimen::emit(const tcp::path&, const tcp::outgoing_segment& s) {
    const tcp::header& h = s.header;
    answers_.push_back({h.flags, h.seq, h.ack, h.window, s.payload_size});
    if (!scripted_) return;
    const auto length =
        static_cast<std::uint32_t>(s.payload_size) + (h.syn() ? 1u : 0u) + (h.fin() ? 1u : 0u);
    if (!h.rst()) snd_nxt_ = tcp::later(snd_nxt_, h.seq + length);
    if (h.has_ack() && !h.rst()) {
        rcv_nxt_ = h.ack;
        right_edge_ = tcp::later(right_edge_, h.ack + h.window);
    }
}

void specimen::flush() {
    stack_.flush(now_, *this);
}

void specimen::wait(duration d) {
    now_ += d;
    wheel_.advance(now_);
    flush();
}

void specimen::open_passive() {
    tcp::listen_options o;
    o.accepted.receive_buffer = window;
    listener_ = std::move(*stack_.listen({here(), our_port}, o, now_));
}

void specimen::open_active() {
    tcp::connection_options o;
    o.receive_buffer = window;
    user_ = std::move(*stack_.connect(way(), peer_port, our_port, o, now_));
    flush();
}

void specimen::peer_acks_all() {
    in(ACK, rcv_nxt_ - tcp::seq(numbers_.irs), snd_nxt_ - tcp::seq(numbers_.iss));
}
void specimen::peer_finishes() {
    in(FIN | ACK, rcv_nxt_ - tcp::seq(numbers_.irs), snd_una_ - tcp::seq(numbers_.iss));
}

void specimen::build() {
    using tcp::state;
    constexpr duration delayed_ack = std::chrono::milliseconds(45);
    if (kind_.state == state::closed) return;
    if (kind_.state == state::listen) return open_passive();
    if (kind_.state == state::syn_sent) return open_active();
    if (kind_.state == state::syn_received) {
        kind_.how == tcp::opening::passive ? open_passive() : open_active();
        return in(SYN, 0, 0);
    }
    if (kind_.how == tcp::opening::passive) {
        open_passive();
        in(SYN, 0, 0);
        in(ACK, 1, 1);
        user_ = listener_->accept();
    } else {
        open_active();
        in(SYN | ACK, 0, 1);
    }
    if (kind_.shut) {
        in(ACK, 1, 1, std::string(window, '.'));
        wait(delayed_ack);
    }
    const auto write = [&] {
        user_->write(as_bytes(std::string_view("0123456789").substr(0, written)));
        flush();
    };
    const auto finish = [&] {
        kind_.reader ? user_->finish(now_) : user_->close(now_);
        flush();
    };
    switch (kind_.state) {
    case state::established: write(); break;
    case state::fin_wait_1:
    case state::closing:
        write();
        finish();
        if (kind_.state == state::closing) peer_finishes();
        break;
    case state::fin_wait_2:
    case state::time_wait:
        finish();
        peer_acks_all();
        if (kind_.state == state::time_wait) {
            peer_finishes();
            if (!kind_.listening) listener_.reset();
            now_ += std::chrono::seconds(1); // so that a new start of the 2 MSL shows
        }
        break;
    case state::close_wait:
    case state::last_ack:
        peer_finishes();
        write();
        if (kind_.state == state::last_ack) finish();
        break;
    default: break;
    }
    if (kind_.hole) {
        const std::uint32_t at = rcv_nxt_ - tcp::seq(numbers_.irs);
        const chunk text = stream_text(hole_begin, hole_text, pool_);
        in(kind_.hole_fin ? FIN | ACK : ACK, at + hole_begin, snd_una_ - tcp::seq(numbers_.iss),
           as_text(text.data()));
    }
}

void specimen::arrives(const oracle::segment& s) {
    const oracle::offset text_at = s.seq + (s.has(SYN) ? 1 : 0);
    text_begin_ = kind_.state == tcp::state::syn_sent ? text_at : 0;
    std::optional<std::uint32_t> stamp;
    if (s.stamp) stamp = peer_stamp + static_cast<std::uint32_t>(*s.stamp);
    receive(s.flags, rcv_nxt_ + static_cast<std::uint32_t>(s.seq),
            s.has(ACK) ? snd_una_ + static_cast<std::uint32_t>(s.ack) : tcp::seq(),
            s.text == 0 ? chunk() : stream_text(text_at, static_cast<std::size_t>(s.text), pool_), s.window,
            stamp);
    flush();
    wait(std::chrono::milliseconds(45)); // a delayed ACK is an ACK; no retransmission is due yet
    if (user_ == nullptr && listener_ != nullptr) user_ = listener_->accept();
}

namespace {

tcp::flags flags_of(oracle::answer a) {
    switch (a) {
    case oracle::answer::none: break;
    case oracle::answer::ack:
    case oracle::answer::challenge_ack: return ACK;
    case oracle::answer::rst: return tcp::flags::rst;
    case oracle::answer::rst_ack: return tcp::flags::rst | ACK;
    case oracle::answer::syn_ack: return SYN | ACK;
    }
    return tcp::flags::none;
}

std::error_code error_of(oracle::failure f) {
    switch (f) {
    case oracle::failure::none: break;
    case oracle::failure::refused: return make_error_code(errc::refused);
    case oracle::failure::reset: return make_error_code(errc::reset);
    case oracle::failure::aborted: return make_error_code(errc::aborted);
    }
    return {};
}

} // namespace

std::string specimen::differences(const oracle::outcome& expected) {
    std::string out;
    const auto differ = [&out](std::string_view what, const auto& is, const auto& should) {
        if (is != static_cast<std::remove_cvref_t<decltype(is)>>(should))
            out += std::string(what) + " is " + std::to_string(is) + ", expected " + std::to_string(should) +
                   "; ";
    };

    // Where it went: arcs of the table, one after the other.
    tcp::state at = kind_.state;
    for (std::size_t i = 0; i < std::max(edges_.size(), expected.events.size()); ++i) {
        if (i >= edges_.size() || i >= expected.events.size() || edges_[i].cause != expected.events[i]) {
            out += "event " + std::to_string(i) + " is " +
                   std::string(i < edges_.size() ? name(edges_[i].cause) : "missing") + "; ";
            break;
        }
        if (expected.events[i] == tcp::event::rcv_syn && at == tcp::state::closed) at = tcp::state::listen;
        const auto to = tcp::next_state(at, expected.events[i], kind_.how);
        if (edges_[i].from != at || !to || edges_[i].to != *to)
            out +=
                std::string(name(edges_[i].from)) + " -> " + std::string(name(edges_[i].to)) + " is no arc; ";
        at = edges_[i].to;
    }

    // What it said.
    differ("answers", answers_.size(), expected.reply == oracle::answer::none ? 0u : 1u);
    if (answers_.size() == 1 && expected.reply != oracle::answer::none) {
        const sent& a = answers_[0];
        differ("answer's flags", static_cast<unsigned>(a.flags),
               static_cast<unsigned>(flags_of(expected.reply)));
        if (expected.seq_from == oracle::origin::snd_una)
            differ("answer's SEQ - SND.UNA", static_cast<std::int32_t>(a.seq - snd_una_), expected.seq);
        else if (expected.seq_from == oracle::origin::zero)
            differ("answer's SEQ", a.seq.value(), 0u);
        else if (kind_.state == tcp::state::time_wait && a.seq <= snd_nxt_)
            out += "the new initial sequence number is not above the old numbers; ";
        if (has(flags_of(expected.reply), ACK)) {
            differ("answer's ACK - RCV.NXT", static_cast<std::int32_t>(a.ack - rcv_nxt_), expected.ack);
            if (tcp::is_synchronized(kind_.state) && kind_.state != tcp::state::time_wait &&
                a.ack + a.window < right_edge_) // [RFC 9293 3.8.6 SHLD-14]
                out += "the answer's window moves the right edge back; ";
        }
        differ("answer's text", a.text, 0u);
        // (Half-open entries answer without counting.)
        if (expected.reply == oracle::answer::challenge_ack && challengeable_)
            differ("challenge ACKs counted", stack_.counted().challenge_acks - challenges_before_, 1u);
    }

    // No segment disappears without a reason.
    differ("reasons counted", dropped_.size(), expected.discarded ? 1u : 0u);

    // What its user sees.
    if (user_ != nullptr) {
        if (user_->error() != error_of(expected.error))
            out += "the error is " + user_->error().message() + "; ";
        std::string text(user_->readable(), '\0');
        user_->read(std::as_writable_bytes(std::span(text)));
        differ("bytes delivered", text.size() - unread_before_, expected.delivered);
        for (std::size_t i = unread_before_; i < text.size(); ++i)
            if (text[i] != stream_byte(text_begin_ + static_cast<oracle::offset>(i - unread_before_))) {
                out += "byte " + std::to_string(i - unread_before_) + " is another; ";
                break;
            }
        const tcp::info info = user_->info();
        if (info.state != tcp::state::closed && info.state != tcp::state::time_wait) {
            differ("bytes held", info.out_of_order, expected.held);
            differ("in flight", info.in_flight, before_.in_flight - expected.acked);
            differ("SND.WND", info.send_window, expected.send_window);
        }
    } else {
        differ("bytes delivered", std::size_t{0}, expected.delivered);
    }
    if (kind_.state == tcp::state::time_wait)
        stack_.for_each_time_wait([&](const tcp::flow_key&, const tcp::time_wait_entry& e) {
            const bool anew = e.expires.at() > time_wait_expires_;
            if (anew != expected.restarts_time_wait)
                out += anew ? "TIME_WAIT starts anew; " : "TIME_WAIT does not start anew; ";
        });
    return out;
}

} // namespace tapir::test
