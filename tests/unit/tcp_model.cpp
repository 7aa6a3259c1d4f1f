#include "tests/unit/tcp_model.hpp"

#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>
#include <chrono>
#include <span>

namespace tapir::tcp {

/// Reads what a connection is, for the digest. What only counts or measures is left out: it changes nothing
/// that can happen in a model (a congestion window of one segment is more than its few bytes, and its
/// retransmission time-out is one constant).
struct tcb_inspection {
    /// Segments take no time, but for the tick that a SYN takes: that far, times are the same.
    static std::uint64_t coarse(duration d) {
        constexpr duration grain = std::chrono::milliseconds(10);
        return static_cast<std::uint64_t>((d + grain / 2) / grain);
    }
    template <class F>
    static void absorb(const tcb& c, instant now, F f) {
        const auto ours = [&](seq s) { f(s - c.iss_); };
        const auto theirs = [&](seq s) { f(s - c.irs_); };
        f(static_cast<std::uint64_t>(c.state_), static_cast<std::uint64_t>(c.opening_));
        for (const seq s : {c.snd_una_, c.snd_nxt_, c.snd_wl2_, c.recover_}) ours(s);
        for (const seq s : {c.snd_wl1_, c.rcv_nxt_, c.rcv_adv_, c.last_ack_sent_}) theirs(s);
        if (c.peer_fin_known_) theirs(c.peer_fin_);
        f(c.snd_wnd_, c.max_snd_wnd_);
        f(static_cast<std::uint64_t>(c.phase_), c.acks_owed_);
        f(c.board_.lost(), c.board_.in_flight(), c.board_.was_resent(c.snd_una_, c.snd_nxt_));
        if (c.recovery_) {
            const recovery& r = *c.recovery_;
            f(r.duplicates, r.presumed, static_cast<std::uint64_t>(r.spurious_timeout));
        }
        const bool bits[] = {c.fin_queued_,     c.fin_sent_,     c.close_pending_, c.ack_now_,
                             c.peer_fin_known_, c.nobody_reads_, c.syn_due_,       c.probe_,
                             c.has_read_,       c.syn_acked_,    c.una_timed_out_, c.syn_retransmitted_};
        std::uint64_t word = 0;
        for (const bool b : bits) word = word << 1 | (b ? 1 : 0);
        f(word, c.buffer_.size());
        if (c.ahead_ && !c.ahead_->empty()) {
            f(c.ahead_->size(), c.ahead_->ranges());
            for (std::uint32_t n = 1; n <= 8; ++n) f(c.ahead_->reaches_beyond(c.rcv_nxt_ + n));
        }
        for (std::size_t i = 0; i < timer_count; ++i) {
            const instant at = c.timers_.deadline(static_cast<timer_id>(i));
            f(at == never ? ~std::uint64_t{0} : coarse(at - now));
        }
        f(static_cast<std::uint64_t>(c.current_rto().count()));
    }
    static const tcb* of(const endpoint& e) { return e.tcb_; }
};

} // namespace tapir::tcp

namespace tapir::test::model {

namespace {

using namespace std::chrono_literals;

constexpr std::uint16_t a_port = 4000;
constexpr std::uint16_t b_port = 80;
constexpr duration syn_tick = 100us;
constexpr duration silence = 10s; ///< after which a connection is given up; two faults cost less

tcp::config configuration() {
    tcp::config c;
    // One time-out for all: how it is estimated is not what is modelled, and would make many states of one.
    c.initial_rto = c.min_rto = c.max_rto = 1s;
    c.persist_min = c.persist_max = 1s;
    c.use_timestamps = false; // the time would be in every segment, and no two states the same
    c.use_window_scale = false;
    c.use_sack = false;
    c.dormant_after = 0s; // nothing that a digest could tell, but one more timer
    return c;
}

ip::address address_of(unsigned end) {
    return ip::address::v4(192, 0, 2, static_cast<std::uint8_t>(1 + end));
}
std::uint16_t port_of(unsigned end) {
    return end == 0 ? a_port : b_port;
}
char byte_of(unsigned end, unsigned i) {
    return static_cast<char>((end == 0 ? 'a' : 'A') + static_cast<int>(i));
}

/// Endings that one's own side has brought about.
bool own_doing(tcp::ending how) {
    switch (how) {
    case tcp::ending::aborted:
    case tcp::ending::unread_data:
    case tcp::ending::data_after_close:
    case tcp::ending::close_timeout:
    case tcp::ending::host_stopped:
    case tcp::ending::unreachable: return true;
    case tcp::ending::open:
    case tcp::ending::orderly:
    case tcp::ending::reset:
    case tcp::ending::out_of_memory:
    case tcp::ending::timed_out: break;
    }
    return false;
}

void mix(std::uint64_t& h, std::uint64_t v) { // the finaliser of splitmix64
    h = (h ^ v) + 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    h ^= h >> 31;
}

} // namespace

bool is_fault(act what) {
    return what == act::lose || what == act::repeat || what == act::reorder || what == act::late;
}

std::string to_string(step s) {
    const std::string who = s.who == 0 ? "A" : "B";
    switch (s.what) {
    case act::open: return who + " opens";
    case act::send: return who + " sends";
    case act::read: return who + " reads";
    case act::finish: return who + " finishes";
    case act::close: return who + " closes";
    case act::abort: return who + " aborts";
    case act::unlisten: return who + " closes its listener";
    case act::stop: return who + "'s host stops";
    case act::unreachable: return who + " hears that the other is unreachable";
    case act::deliver: return who + "'s oldest segment arrives";
    case act::lose: return who + "'s oldest segment is LOST";
    case act::repeat: return who + "'s oldest segment arrives, and is REPEATED";
    case act::reorder: return who + "'s second segment OVERTAKES and arrives";
    case act::wait: return "time passes";
    case act::late: return "time passes, the segments under way are LATE";
    case act::cut: return "the network is CUT";
    }
    return "?";
}

// --- one end -----------------------------------------------------------------------------------------------

machine::party::party(machine& of, std::uint8_t index)
    : m(of), self(index), wheel(1us, start),
      stack(configuration(), siphash_key{7, index}, random(index), of.pool_, wheel, this) {}

machine::party::~party() {
    user.reset();
    former.reset();
    listener.reset();
    stack.stop(m.now_);
}

void machine::party::emit(const tcp::path&, const tcp::outgoing_segment& s) {
    packet p;
    p.header = s.header;
    for (const bytes part : s.payload) p.text += as_text(part);
    if (p.header.syn()) isn = p.header.seq;
    ++m.sent_;
    if (m.keep_ladder_) m.note(std::string("    ") + (self == 0 ? "A" : "B") + " sends " + to_string(s));
    if (!m.cut_) m.under_way_[self].push_back(std::move(p));
}

void machine::party::state_changed(const tcp::flow_key&, const tcp::edge& e) {
    const tcp::opening how = listener || unlistened ? tcp::opening::passive : tcp::opening::active;
    m.edges_.emplace_back(e, how);
    if (tcp::next_state(e.from, e.cause, how) != e.to)
        m.broken_ = "no arc of the table: " + std::string(name(e.from)) + " -> " + std::string(name(e.to));
    if (m.keep_ladder_)
        m.note(std::string("    ") + (self == 0 ? "A: " : "B: ") + std::string(name(e.from)) + " -> " +
               std::string(name(e.to)) + " by " + std::string(name(e.cause)));
}

// --- the machine -------------------------------------------------------------------------------------------

machine::machine(const rules& r, buffer_pool& pool)
    : rules_(r), pool_(pool), ends_{std::make_unique<party>(*this, std::uint8_t{0}),
                                    std::make_unique<party>(*this, std::uint8_t{1})} {}

machine::~machine() = default;

void machine::note(std::string line) {
    ladder_ += line + '\n';
}

tcp::path machine::way(const party& from) const {
    static const std::uint16_t sum = ip::pseudo_header_sum(address_of(0), address_of(1), ip::protocol::tcp);
    return {address_of(from.self), address_of(1u - from.self), sum};
}

bool machine::live(const party& p) const {
    return p.user != nullptr && p.user->state() != tcp::state::closed &&
           p.user->state() != tcp::state::time_wait;
}

bool machine::timers_run() const {
    return std::ranges::any_of(ends_, [this](const auto& end) {
        return end->stack.half_open() != 0 || end->stack.time_waits() != 0 ||
               (live(*end) && end->user->info().next_timer != never);
    });
}

void machine::choices(std::vector<step>& out, std::vector<step>& faults) const {
    out.clear();
    faults.clear();
    for (const auto& end : ends_) {
        const party& p = *end;
        const auto offer = [&](act what) { out.push_back({what, p.self}); };
        if (p.stopped) continue;
        if (p.opened == 0) {
            offer(act::open);
            continue;
        }
        if (p.opened < rules_.opens[p.self] && p.user != nullptr && p.user->state() == tcp::state::closed)
            offer(act::open);
        const auto& calls = rules_.calls[p.self];
        const auto may = [&](act what) { return std::ranges::find(calls, what) != calls.end(); };
        if (may(act::stop)) offer(act::stop);
        if (p.listener && may(act::unlisten)) offer(act::unlisten);
        if (may(act::unreachable) && !p.told_unreachable) offer(act::unreachable);
        if (p.user == nullptr || p.gone) continue;
        if (p.user->readable() != 0) offer(act::read);
        if (!live(p)) continue;
        if (p.written < rules_.sends[p.self] && p.user->writable() != 0) offer(act::send);
        if (may(act::finish) && !p.finished) offer(act::finish);
        if (may(act::close)) offer(act::close);
        if (may(act::abort)) offer(act::abort);
    }
    for (std::uint8_t who = 0; who < 2; ++who) {
        const auto& segments = under_way_[who];
        if (segments.empty()) continue;
        out.push_back({act::deliver, who});
        for (const act fault : rules_.faults)
            if (fault != act::late && (fault != act::reorder || segments.size() > 1))
                faults.push_back({fault, who});
    }
    const bool timers = timers_run();
    if (timers && quiet()) out.push_back({act::wait, 0});
    if (timers && !quiet() && std::ranges::find(rules_.faults, act::late) != rules_.faults.end())
        faults.push_back({act::late, 0});
    if (rules_.may_be_cut && !cut_) out.push_back({act::cut, 0});
}

void machine::take(step s) {
    if (keep_ladder_) note(to_string(s));
    auto& segments = under_way_[s.who];
    party& there = *ends_[1u - s.who];
    const auto next = [&segments](std::size_t i) {
        packet p = std::move(segments[i]);
        segments.erase(segments.begin() + static_cast<std::ptrdiff_t>(i));
        return p;
    };
    switch (s.what) {
    case act::deliver: arrive(there, next(0)); break;
    case act::lose: next(0); break;
    case act::repeat: {
        packet p = next(0);
        segments.push_back(p);
        arrive(there, p);
        break;
    }
    case act::reorder: arrive(there, next(1)); break;
    case act::wait:
    case act::late: pass_time(); break;
    case act::cut:
        cut_ = true;
        for (auto& all : under_way_) all.clear();
        break;
    default: call(s.what, *ends_[s.who]); break;
    }
    flush();
    accept();
}

void machine::flush() {
    for (auto& end : ends_) end->stack.flush(now_, *end);
}

void machine::accept() {
    for (auto& end : ends_) {
        party& p = *end;
        while (p.listener && p.listener->acceptable() != 0) {
            if (p.user != nullptr && (other(p).opened == 1 || live(p))) {
                broken_ = "a second connection was accepted";
                return;
            }
            p.former = std::move(p.user);
            p.user = p.listener->accept();
            p.finished = p.gone = false;
        }
    }
}

void machine::arrive(party& at, const packet& p) {
    if (at.opened == 0) at.was_not_there = true;
    // No two SYNs of one flow meet the same tick of the clock that initial sequence numbers follow.
    if (p.header.syn()) now_ += syn_tick;
    tcp::segment s;
    s.header = p.header;
    if (!p.text.empty()) s.payload = chunk(pool_.copy_of(as_bytes(p.text)), 0, p.text.size());
    s.arrived = now_;
    at.stack.receive(way(at), s, now_);
}

// Timers that are found to have nothing to do any more are no event.
void machine::pass_time() {
    const std::size_t sent = sent_;
    const std::size_t edges = edges_.size();
    while (sent_ == sent && edges_.size() == edges) {
        const instant next = std::min(ends_[0]->wheel.next(), ends_[1]->wheel.next());
        if (next == never) return;
        now_ = std::max(now_, next);
        for (auto& end : ends_) end->wheel.advance(now_);
        flush();
    }
}

void machine::call(act what, party& p) {
    switch (what) {
    case act::open: {
        ++p.opened;
        p.finished = p.gone = false;
        tcp::connection_options o;
        o.receive_buffer = rules_.receive_buffer;
        o.no_delay = true;
        o.give_up_after = o.connect_timeout = silence;
        o.close_timeout = silence;
        if (p.self == 0 || rules_.both_connect) {
            p.former = std::move(p.user);
            p.user = std::move(*p.stack.connect(way(p), port_of(1u - p.self), port_of(p.self), o, now_));
        } else {
            tcp::listen_options l;
            l.accepted = o;
            p.listener = std::move(*p.stack.listen({address_of(p.self), port_of(p.self)}, l, now_));
        }
        break;
    }
    case act::send: {
        const char byte = byte_of(p.self, p.written);
        p.user->write(as_bytes(std::string_view(&byte, 1)));
        ++p.written;
        break;
    }
    case act::read: {
        std::string text(p.user->readable(), '\0');
        p.user->read(std::as_writable_bytes(std::span(text)));
        for (const char c : text)
            if (c != byte_of(1u - p.self, p.read++)) broken_ = "another byte was read than was sent";
        break;
    }
    case act::finish:
        p.finished = true;
        p.user->finish(now_);
        break;
    case act::close:
        p.finished = p.gone = true;
        p.user->close(now_);
        break;
    case act::abort:
        p.finished = p.gone = true;
        p.user->abort(now_);
        break;
    case act::unlisten:
        p.unlistened = true;
        p.listener->close(now_);
        p.listener.reset();
        break;
    case act::stop:
        p.stopped = true;
        p.stack.stop(now_);
        break;
    case act::unreachable:
        p.told_unreachable = true;
        p.stack.unreachable(address_of(1u - p.self), errc::host_unreachable, now_);
        break;
    default: break;
    }
}

// --- what must be ------------------------------------------------------------------------------------------

std::string machine::wrong_acknowledgements(const party& from, const party& to) const {
    // After a second opening the two ends may speak of different connections for a while; then no data is
    // sent.
    if (from.user == nullptr || from.opened > 1 || to.opened > 1) return {};
    const std::uint64_t received = to.user == nullptr ? 0 : to.user->info().bytes_received;
    if (received > from.written) return "more was received than sent";
    if (from.written - from.user->unacked() > received)
        return "a byte counts as delivered that never arrived";
    if (from.user->fin_acked() && !(to.user && to.user->peer_finished()))
        return "a FIN counts as delivered that never arrived";
    if (to.user && to.user->peer_finished() && received != from.written) return "the FIN has overtaken data";
    if (to.user && to.user->peer_finished() && !from.finished) return "a FIN that nobody sent";
    return {};
}

// Nothing is under way and no timer runs: only the users can go on, so all must be said and done.
std::string machine::stalled() const {
    if (!quiet() || cut_ || timers_run()) return {};
    for (const auto& end : ends_) {
        const party& p = *end;
        if (!live(p)) continue;
        if (!tcp::is_synchronized(p.user->state())) return "an open connection waits for nothing";
        if (p.user->unacked() != 0) return "data waits for nothing";
        if (p.finished && !p.user->fin_acked()) return "a FIN waits for nothing";
        const party& o = other(p);
        if (!live(o)) {
            // An end that lost its peer without hearing of it has nothing to send: half-open in the sense of
            // RFC 9293 3.5.1, found out when it next sends.
            if (o.user != nullptr && o.opened == 1 && o.user->report().how == tcp::ending::orderly)
                return "one end is open and the other has ended in order";
        }
    }
    return {};
}

std::string machine::wrong_end() const {
    bool blame = cut_;
    for (const auto& end : ends_) {
        const party& p = *end;
        if (p.unlistened || p.stopped || p.was_not_there || p.told_unreachable || p.opened > 1) blame = true;
        if (p.user == nullptr) continue;
        if (p.user->state() != tcp::state::closed) return "a run has ended and a connection has not";
        if (own_doing(p.user->report().how)) blame = true;
        if (p.user->report().how == tcp::ending::timed_out && !cut_)
            return "gave up though the network was there";
    }
    for (const auto& end : ends_) {
        const party& p = *end;
        if (p.stack.connections() != 0 || p.stack.half_open() != 0 || p.stack.time_waits() != 0)
            return "a run has ended and something is left in a table";
        if (blame) continue;
        if (p.user == nullptr) return "the other end never had a connection";
        if (p.user->report().how != tcp::ending::orderly)
            return "nobody is to blame, and yet a connection broke";
        if (p.user->error()) return "an orderly end with an error";
        if (p.read != other(p).written) return "a byte was never read, and nobody is to blame";
    }
    return {};
}

std::string machine::violation(bool at_end) const {
    if (!broken_.empty()) return broken_;
    for (const auto& end : ends_) {
        std::string wrong = wrong_acknowledgements(*end, other(*end));
        if (!wrong.empty()) return (end->self == 0 ? "A to B: " : "B to A: ") + wrong;
        if (end->user && end->user->report().how == tcp::ending::orderly && end->user->unacked() != 0)
            return "an orderly end with data that is not acknowledged";
    }
    std::string wrong = stalled();
    if (wrong.empty() && at_end) wrong = wrong_end();
    return wrong;
}

// --- what state it is --------------------------------------------------------------------------------------

void machine::absorb_party(std::uint64_t& h, const machine& m, const party& p) {
    const bool bits[] = {p.finished,
                         p.gone,
                         p.stopped,
                         p.unlistened,
                         p.told_unreachable,
                         p.was_not_there,
                         p.listener != nullptr,
                         p.user != nullptr};
    std::uint64_t word = 0;
    for (const bool b : bits) word = word << 1 | (b ? 1 : 0);
    mix(h, word);
    mix(h, p.opened);
    mix(h, p.written);
    mix(h, p.read);
    const auto coarse = tcp::tcb_inspection::coarse;
    const auto add = [&h](auto... v) { (mix(h, static_cast<std::uint64_t>(v)), ...); };
    if (p.user != nullptr) {
        const tcp::endpoint& e = *p.user;
        add(e.state(), e.readable(), e.report().how, e.peer_finished(), e.fin_acked(), e.error().value(),
            e.info().bytes_received, e.unacked());
        if (const tcp::tcb* c = tcp::tcb_inspection::of(e)) tcp::tcb_inspection::absorb(*c, m.now_, add);
    }
    auto& stack = const_cast<tcp::stack&>(p.stack); // looking
    stack.for_each_half_open([&](const tcp::flow_key&, const tcp::half_open_entry& e) {
        add(2, e.retransmits, e.repeated, coarse(m.now_ - e.last_sent()), e.iss - p.isn,
            e.irs - m.other(p).isn);
    });
    stack.for_each_time_wait([&](const tcp::flow_key&, const tcp::time_wait_entry& e) {
        add(3, coarse(e.expires - m.now_), e.snd_nxt - p.isn, e.rcv_nxt - m.other(p).isn);
    });
}

std::uint64_t machine::digest() const {
    std::uint64_t h = cut_ ? 1 : 0;
    for (const auto& end : ends_) {
        absorb_party(h, *this, *end);
        for (const packet& p : under_way_[end->self]) {
            mix(h, static_cast<std::uint64_t>(p.header.flags));
            mix(h, p.header.seq - end->isn);
            mix(h, p.header.has_ack() ? p.header.ack - other(*end).isn : 0);
            mix(h, p.header.window);
            mix(h, p.text.size());
        }
        mix(h, under_way_[end->self].size());
    }
    return h;
}

} // namespace tapir::test::model
