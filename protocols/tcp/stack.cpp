#include <tapir/framework/prefetch.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/tcp/stack.hpp>
#include <tapir/protocols/tcp/tcb.hpp>

#include <algorithm>
#include <cassert>

namespace tapir::tcp {

stack::stack(const tcp::config& c, const siphash_key& secret, tapir::random r, buffer_pool& pool,
             timer_wheel& wheel, trace_sink* trace)
    : pool_(pool), wheel_(wheel), trace_(trace),
      memory_(std::make_shared<tcp::memory>(c.receive_memory, c.send_memory)), config_(c), secret_(secret),
      random_(r), half_open_(std::max(c.max_half_open, 1u),
                             c.syn_ack_timeout > duration{0} ? c.syn_ack_timeout : c.initial_rto, c.max_rto,
                             [this](const half_open_entry& e) { return hash_of(flow_of(e)); }),
      time_wait_(c.max_time_wait, [this](const time_wait_entry& e) { return hash_of(flow_of(e)); }),
      half_open_timer_(
          *this, [](timer& t, instant now) { static_cast<table_timer&>(t).owner->half_open_timeout(now); }),
      time_wait_timer_(
          *this, [](timer& t, instant now) { static_cast<table_timer&>(t).owner->time_wait_timeout(now); }),
      pressure_timer_(*this,
                      [](timer& t, instant now) { static_cast<table_timer&>(t).owner->ease_pressure(now); }),
      cookies_(secret, random_.fork(), c.syn_cookie_period, c.syn_cookie_secret_periods),
      fast_open_cookies_(secret, random(secret.k0 ^ secret.k1), c.fast_open_cookie_period),
      fast_open_pending_(c.max_fast_opening, c.fast_open_reset_counts_for),
      fast_open_cache_(c.max_fast_open_servers, c.fast_open_retry_after), resets_(c.resets_per_second),
      stateless_acks_(c.stateless_acks_per_second), next_port_(random_.next_u32()) {
    retired_.reserve(most_spare);
    spare_.reserve(most_spare);
}

stack::~stack() {
    stop(now_);
    for (tcb* const c : retired_) drop_tcb(*c);
}

// --- states ------------------------------------------------------------------------------------------------

edge stack::change_state(const flow_key& flow, state from, event cause, opening how, instant now) {
    const std::optional<state> to = next_state(from, cause, how);
    assert(to && "an event that cannot happen in this state");
    edge e;
    e.from = from;
    e.to = to.value_or(from);
    e.cause = cause;
    e.when = now;
    if (trace_ != nullptr) trace_->state_changed(flow, e);
    return e;
}

// --- numbers -----------------------------------------------------------------------------------------------

// A clock of 4 microseconds plus a secret for each flow: later incarnations of one flow go on above earlier
// ones, and nobody can tell the numbers of another flow. [RFC 6528 3] [RFC 9293 3.4.1 MUST-8, SHLD-1]
seq stack::initial_sequence(const flow_key& flow, instant now) const {
    const auto ticks =
        static_cast<std::uint64_t>(now.time_since_epoch() / std::chrono::microseconds(4)) & 0xffffffff;
    return seq(static_cast<std::uint32_t>(ticks) + static_cast<std::uint32_t>(numbers_of(flow)));
}

std::uint32_t stack::timestamp(instant at) {
    return static_cast<std::uint32_t>(
        static_cast<std::uint64_t>(at.time_since_epoch() / std::chrono::milliseconds(1)) & 0xffffffff);
}

std::uint32_t stack::timestamp_offset(const flow_key& flow) const {
    return static_cast<std::uint32_t>(numbers_of(flow) >> 32);
}

// Consecutive ports for one destination, at an offset that only we know. [RFC 6056 3.3.3]
result<std::uint16_t> stack::pick_port(const path& p, std::uint16_t remote_port) {
    const std::uint32_t first = config_.first_ephemeral_port;
    const std::uint32_t count = config_.last_ephemeral_port - first + 1u;
    const auto offset = static_cast<std::uint32_t>(
        hash_flow(secret_, flow_key(p.local, 0, p.remote, remote_port), hash_purpose::port_offset));
    for (std::uint32_t tried = 0; tried < count; ++tried) {
        const auto port = static_cast<std::uint16_t>(first + (next_port_++ + offset) % count);
        const flow_key flow(p.local, port, p.remote, remote_port);
        if (!config_.share.owns(flow.local_endpoint(), flow.remote_endpoint())) continue;
        if (!is_taken(flow) && find_listener(p.local, port) == nullptr) return port;
    }
    return errc::no_ports;
}

result<std::uint16_t> stack::pick_listening_port(const ip::address& local) {
    const std::uint32_t first = config_.first_ephemeral_port;
    const std::uint32_t count = config_.last_ephemeral_port - first + 1u;
    const std::uint32_t start = random_.below(count);
    for (std::uint32_t tried = 0; tried < count; ++tried) {
        const auto port = static_cast<std::uint16_t>(first + (start + tried) % count);
        if (find_listener(local, port) == nullptr) return port;
    }
    return errc::no_ports;
}

std::optional<std::uint16_t> stack::local_index(const ip::address& a) {
    constexpr std::size_t most = 1u << 14; // the bits of time_wait_entry::local_index
    const auto known = std::ranges::find(locals_, a);
    if (known == locals_.end() && locals_.size() == most) return std::nullopt;
    const auto index = static_cast<std::uint16_t>(known - locals_.begin());
    if (known == locals_.end()) locals_.push_back(a);
    return index;
}

// --- demultiplexing ----------------------------------------------------------------------------------------

flow_key stack::flow_of(const half_open_entry& e) const {
    return {locals_[e.local_index], listeners_[e.listener]->local_.port, e.remote, e.remote_port};
}

flow_key stack::flow_of(const time_wait_entry& e) const {
    return {locals_[e.local_index], e.local_port, e.remote, e.remote_port};
}

path stack::path_of(const half_open_entry& e) const {
    const ip::address& local = locals_[e.local_index];
    return {local, e.remote, ip::pseudo_header_sum(local, e.remote, ip::protocol::tcp), e.link_mtu,
            static_cast<std::uint16_t>(e.network_header_20s * 20)};
}

path stack::path_of(const time_wait_entry& e) const {
    const ip::address& local = locals_[e.local_index];
    return {local, e.remote, ip::pseudo_header_sum(local, e.remote, ip::protocol::tcp)};
}

// A slot tells where the endpoint is, and that where the TCB is, if one is awake. Whose connection is known
// needs none of it.
void stack::expect(std::span<const flow_key> flows) {
    assert(flows.size() <= most_expected);
    std::size_t unknown = 0;
    for (const flow_key& flow : flows) {
        const known_flow& k = place_of(flow);
        if (k.connection != nullptr && k.flow == flow) continue;
        const std::uint64_t hash = hash_flow(secret_, flow, hash_purpose::demultiplexing);
        expected_[unknown++] = {flow, hash};
        demux_.prefetch(hash);
    }
    std::array<endpoint*, most_expected> users;
    for (std::size_t i = 0; i < unknown; ++i) users[i] = demux_.likely(expected_[i].hash);
    expect(std::span<endpoint* const>(users).first(unknown));
    expected_count_ = unknown;
}

// The rest comes as it is wanted: a processor fetches some sixteen lines side by side, and waits if it is to
// fetch more.
void stack::expect(std::span<endpoint* const> users) {
    users = users.first(std::min(users.size(), most_expected));
    expected_count_ = 0;
    coming_count_ = users.size();
    come_ = fetched_ = 0;
    for (const endpoint* const user : users)
        if (user != nullptr) prefetch(&user->stack_);
    // Where hardly any is awake, looking at each for its TCB would take longer than it spares.
    const bool some_awake = awake_count() > connection_count_ / 16;
    for (std::size_t i = 0; i < users.size(); ++i)
        coming_[i] = {users[i], users[i] != nullptr && some_awake ? users[i]->tcb_ : nullptr};
    fetch_ahead();
}

// Who was expected may be gone: nothing is read.
void stack::fetch_ahead() const {
    constexpr std::size_t ahead = 4;
    for (; fetched_ < std::min(come_ + ahead, coming_count_); ++fetched_) {
        const auto& [user, awake] = coming_[fetched_];
        if (user != nullptr) user->prefetch_hot_and_folded();
        if (awake != nullptr) prefetch(awake, sizeof(tcb));
    }
}

void stack::has_come(const endpoint& user) const {
    if (come_ != 0 && coming_[come_ - 1].user == &user) return; // a segment for it has
    for (std::size_t i = come_; i < coming_count_; ++i) {
        if (coming_[i].user != &user) continue;
        come_ = i + 1;
        fetch_ahead();
        return;
    }
}

// Segments of one flow may come together: those behind the first ask nothing.
std::uint64_t stack::next_expected(const flow_key& flow) const {
    for (std::size_t i = come_; i < expected_count_; ++i) {
        if (expected_[i].flow != flow) continue;
        come_ = i + 1;
        fetch_ahead();
        return expected_[i].hash;
    }
    return hash_flow(secret_, flow, hash_purpose::demultiplexing);
}

std::uint64_t stack::numbers_of(const flow_key& flow) const {
    known_flow& k = known(flow);
    if (k.numbers == 0) k.numbers = hash_flow(secret_, flow, hash_purpose::numbers);
    return k.numbers;
}

void stack::forget_connection(const tcb& c) {
    if (known_flow& k = place_of(c.flow()); k.connection == &c) k.connection = nullptr;
}

endpoint* stack::find_connection(const flow_key& flow, std::uint64_t hash) const {
    return demux_.find(hash, [&](const endpoint& e) {
        e.prefetch_hot();
        return e.flow() == flow;
    });
}

std::uint32_t stack::find_half_open(const flow_key& flow, std::uint64_t hash) const {
    return half_open_.find(hash, [&](const half_open_entry& e) {
        return e.remote_port == flow.remote_port && flow_of(e) == flow;
    });
}

std::uint32_t stack::find_time_wait(const flow_key& flow, std::uint64_t hash) const {
    return time_wait_.find(hash, [&](const time_wait_entry& e) {
        return e.remote_port == flow.remote_port && flow_of(e) == flow;
    });
}

bool stack::is_taken(const flow_key& flow) const {
    const std::uint64_t hash = hash_of(flow);
    return find_connection(flow, hash) != nullptr || find_half_open(flow, hash) != half_open_table::none ||
           find_time_wait(flow, hash) != time_wait_table::none;
}

listening_endpoint* stack::find_listener(const ip::address& local, std::uint16_t port) const {
    listening_endpoint* any = nullptr;
    for (listening_endpoint* l : listeners_) {
        if (l == nullptr || l->local_.port != port) continue;
        if (l->local_.addr == local) return l;
        if (l->local_.addr.is_unspecified()) any = l;
    }
    return any;
}

// --- calls -------------------------------------------------------------------------------------------------

result<std::unique_ptr<endpoint>> stack::connect(const path& p, std::uint16_t remote_port,
                                                 std::uint16_t local_port, const connection_options& options,
                                                 instant now, bytes first) {
    now_ = std::max(now_, now);
    if (stopped_) return errc::host_stopped;
    // [RFC 9293 3.9.2.3 MUST-46, MUST-57]
    if (remote_port == 0 || !p.remote.is_unicast() || !p.local.is_unicast()) return errc::invalid_argument;
    if (connection_count_ >= config_.max_connections) return errc::no_memory;
    if (!local_index(p.local)) return errc::no_memory;
    if (local_port == 0) {
        const auto picked = pick_port(p, remote_port);
        if (!picked) return picked.error();
        local_port = *picked;
    }
    const flow_key flow(p.local, local_port, p.remote, remote_port);
    if (!config_.share.owns(flow.local_endpoint(), flow.remote_endpoint())) return errc::address_unavailable;
    if (is_taken(flow)) return errc::address_in_use; // [RFC 9293 3.10.1]

    std::unique_ptr<endpoint> user(new endpoint(*this, memory_, flow, state::closed, next_id_++));
    user->last_call_ = now;
    tcb* c = make_tcb(*user, p, options);
    user->tcb_ = c;
    demux_.insert(hash_of(flow), *user);
    all_.push_back(*user);
    ++connection_count_;
    c->open_active(initial_sequence(flow, now), timestamp_offset(flow), now);
    if (c->write(first, now) < first.size()) {
        c->abort(event::call_abort, ending::out_of_memory, make_error_code(errc::no_memory), now);
        settle(*c, now);
        return errc::no_memory;
    }
    settle(*c, now);
    return user;
}

result<std::unique_ptr<listening_endpoint>> stack::listen(const ip::endpoint& local,
                                                          const listen_options& options, instant now) {
    now_ = std::max(now_, now);
    if (stopped_) return errc::host_stopped;
    ip::endpoint at = local;
    if (at.port == 0) {
        if (!config_.share.is_all()) return errc::invalid_argument; // each shard would pick another
        const auto picked = pick_listening_port(at.addr);
        if (!picked) return picked.error();
        at.port = *picked;
    }
    for (const listening_endpoint* other : listeners_)
        if (other != nullptr && other->local_ == at) return errc::address_in_use;
    auto slot = static_cast<std::size_t>(std::ranges::find(listeners_, nullptr) - listeners_.begin());
    if (slot > 0xffff) return errc::no_memory;
    std::unique_ptr<listening_endpoint> l(
        new listening_endpoint(*this, at, options, static_cast<std::uint16_t>(slot)));
    if (slot == listeners_.size()) listeners_.push_back(nullptr);
    listeners_[slot] = l.get();
    change_state(flow_key(at.addr, at.port, {}, 0), state::closed, event::call_listen, opening::passive, now);
    return l;
}

// --- lifetimes ---------------------------------------------------------------------------------------------

void stack::settle(tcb& c, instant now) {
    c.charge(now);
    if (c.state() == state::closed) {
        forget(c);
    } else if (c.state() == state::time_wait) {
        enter_time_wait(c, now);
    } else {
        arm(c);
        if (static_cast<list_hook<dirty_tag>&>(c).linked()) return;
        if (c.output_possible())
            mark_dirty(c);
        else if (may_lie_dormant_now(c))
            mark_drowsy(c);
    }
}

// The window may be worth telling of, and who holds nothing any more may be at rest. Nothing is queued, no
// state is left, no deadline has changed.
void stack::settle_read(tcb& c) {
    c.charge_received();
    if (c.window_update_due())
        mark_dirty(c);
    else if (may_lie_dormant_now(c))
        mark_drowsy(c);
    else
        look_later(c);
}

void stack::after_output(tcb& c, instant now) {
    c.output_done(now);
    if (may_lie_dormant_now(c))
        lie_dormant(c);
    else
        arm(c);
}

void stack::arm(tcb& c) {
    look_later(c);
    const instant next = c.next_deadline();
    if (next < (c.armed() ? c.deadline() : never)) wheel_.arm(c, next);
}

// Somebody has to look whether it may lie dormant; a timer that is set anyway does.
void stack::look_later(tcb& c) {
    const instant look = after(now_, config_.dormant_after);
    if ((!c.armed() || c.deadline() > look) && may_lie_dormant(c)) wheel_.arm(c, look);
}

void stack::timer_fired(tcb& c, instant now) {
    now_ = std::max(now_, now);
    c.on_timer(now);
    if (c.idle_for(now) >= config_.dormant_after && may_lie_dormant(c))
        lie_dormant(c);
    else
        settle(c, now);
}

void stack::mark_dirty(tcb& c) {
    if (static_cast<list_hook<dirty_tag>&>(c).linked()) return;
    dirty_.push_back(c);
    announce_output();
}

void stack::mark_drowsy(tcb& c) {
    if (static_cast<list_hook<drowsy_tag>&>(c).linked()) return;
    drowsy_.push_back(c);
    announce_output();
}

void stack::announce_output() {
    if (announced_) return;
    announced_ = true;
    if (want_flush_ != nullptr) want_flush_(want_flush_context_);
}

void stack::forget(tcb& c) {
    endpoint& user = c.user();
    for (walk& w : walks_)
        if (w.at_ == &user) w.at_ = behind(user);
    demux_.erase(hash_of(user.flow_), user);
    forget_connection(c);
    if (c.opening_ == opening::fast && !c.syn_acked_) fast_opening_ends(c);
    user.last_info_.reset(new info(c.info()));
    user.tcb_ = nullptr;
    user.dormant_.apart.reset();
    c.give_back();
    user.unlink();
    if (!user.accepted_ && !user.unread_.empty()) unaccepted_.push_back(user);
    if (c.orphan_) --orphans_;
    --connection_count_;
    drop_tcb(c);
}

void stack::enter_time_wait(tcb& c, instant now) {
    endpoint& user = c.user();
    time_wait_entry e;
    e.remote = user.flow_.remote;
    e.expires = now + 2 * config_.msl;
    e.user = &user;
    e.snd_nxt = c.snd_nxt_;
    e.rcv_nxt = c.rcv_nxt_;
    e.ts_recent = c.ts_recent_;
    e.local_port = user.flow_.local_port;
    e.remote_port = user.flow_.remote_port;
    e.local_index = *local_index(user.flow_.local) & 0x3fff;
    e.timestamps = c.timestamps_ ? 1 : 0;
    if (c.ack_now_ || c.acks_owed_ != 0) {
        header ack;
        c.make_header(ack, flags::ack, c.snd_nxt_, c.rcv_nxt_, now);
        queue_reply(c.way(), ack);
    }
    forget(c);
    if (time_wait_.full()) {
        ++counters_.time_wait_evicted;
        erase_time_wait(time_wait_.oldest(), event::time_wait_expired, now);
    }
    user.time_wait_ = time_wait_.insert(e, hash_of(user.flow_));
    ++counters_.time_wait_entered;
    arm_tables();
}

void stack::erase_time_wait(std::uint32_t i, event cause, instant now) {
    const time_wait_entry e = time_wait_[i];
    const flow_key flow = flow_of(e);
    time_wait_.erase(i, hash_of(flow));
    const edge last = change_state(flow, state::time_wait, cause, opening::active, now);
    if (e.user == nullptr) return;
    e.user->time_wait_ = endpoint::no_time_wait;
    e.user->path_.append(last.to, last.cause, last.when);
    e.user->notify();
}

void stack::erase_half_open(std::uint32_t i) {
    const half_open_entry& e = half_open_[i];
    --listeners_[e.listener]->half_open_;
    half_open_.erase(i, hash_of(flow_of(e)));
}

void stack::half_open_ends(std::uint32_t i, event cause, instant now) {
    change_state(flow_of(half_open_[i]), state::syn_received, cause, opening::passive, now);
    ++counters_.failed_opens;
    erase_half_open(i);
}

void stack::close_listener(listening_endpoint& l, errc why, instant now) {
    now_ = std::max(now_, now);
    const event cause = why == errc::host_stopped ? event::host_stopped : event::call_close;
    half_open_.for_each([&](std::uint32_t i, const half_open_entry& e) {
        if (e.listener == l.index_)
            half_open_ends(i, cause == event::call_close ? event::call_abort : cause, now);
    });
    listeners_[l.index_] = nullptr;
    l.stack_ = nullptr;
    l.error_ = make_error_code(why);
    change_state(flow_key(l.local_.addr, l.local_.port, {}, 0), state::listen, cause, opening::passive, now);
    while (!l.accept_queue_.empty()) l.accept_queue_.pop_front(); // each aborts its connection
    for (const pressure p : all_pressures) l.events_.ended(p, now);
    l.notify();
}

void stack::stop(instant now) {
    if (stopped_) return;
    now_ = std::max(now_, now);
    for (std::size_t i = 0; i < listeners_.size(); ++i)
        if (listeners_[i] != nullptr) close_listener(*listeners_[i], errc::host_stopped, now);
    while (!all_.empty()) {
        tcb& c = *all_.front().awake();
        c.abort(event::host_stopped, ending::host_stopped, make_error_code(errc::host_stopped), now);
        settle(c, now);
    }
    while (time_wait_.oldest() != time_wait_table::none)
        erase_time_wait(time_wait_.oldest(), event::host_stopped, now);
    wheel_.cancel(half_open_timer_);
    wheel_.cancel(time_wait_timer_);
    wheel_.cancel(pressure_timer_);
    stopped_ = true;
}

// --- timers of the tables ----------------------------------------------------------------------------------

void stack::arm_tables() {
    const auto earlier_of = [this](timer& t, instant next) {
        if (next != never && (!t.armed() || next < t.deadline())) wheel_.arm(t, next);
    };
    earlier_of(half_open_timer_, half_open_.next_deadline());
    earlier_of(time_wait_timer_, time_wait_.next_deadline());
}

void stack::half_open_timeout(instant now) {
    now_ = std::max(now_, now);
    for (std::uint32_t i = half_open_.due(now); i != half_open_table::none; i = half_open_.due(now)) {
        half_open_entry& e = half_open_[i];
        listening_endpoint& l = *listeners_[e.listener];
        const std::size_t retries =
            under_pressure(l) ? std::min(config_.syn_ack_retries, config_.syn_ack_retries_under_pressure)
                              : config_.syn_ack_retries;
        if (e.retransmits >= std::min(retries, half_open_table::max_retries)) {
            ++counters_.half_open_timeouts;
            ++l.counters_.half_open_timeouts;
            half_open_ends(i, event::timeout, now);
            continue;
        }
        half_open_.retransmitted(i, now);
        ++counters_.syn_ack_retransmits;
        reply_syn_ack(e, now);
    }
    arm_tables();
}

void stack::time_wait_timeout(instant now) {
    now_ = std::max(now_, now);
    while (time_wait_.next_deadline() <= now)
        erase_time_wait(time_wait_.oldest(), event::time_wait_expired, now);
    arm_tables();
}

// --- output ------------------------------------------------------------------------------------------------

bool stack::flush(instant now, output_sink& out, bool input_waits) {
    now_ = std::max(now_, now);
    dirty_.splice_back(deferred_);
    outgoing_segment segment;
    while (!replies_.empty()) {
        if (!out.ready()) return false;
        const reply r = replies_.pop_front();
        segment.header = r.header;
        ++counters_.segments_out;
        if (trace_ != nullptr)
            trace_->segment_out(
                flow_key(r.to.local, r.header.source_port, r.to.remote, r.header.destination_port), segment,
                now);
        out.emit(r.to, segment);
    }
    std::size_t sent = 0;
    while (!dirty_.empty()) {
        tcb& c = dirty_.front();
        if (input_waits && c.may_acknowledge_later(now)) {
            dirty_.pop_front();
            deferred_.push_back(c);
            continue;
        }
        const path way = c.way(); // nothing that is sent changes it
        const std::size_t sent_before = sent;
        bool more = true;
        bool ready = true;
        do {
            ready = out.ready();
            if (!ready) break;
            more = c.next_segment(now, out.max_payload(), parts_, segment);
            if (!more) break;
            ++counters_.segments_out;
            if (trace_ != nullptr) trace_->segment_out(c.flow(), segment, now);
            out.emit(way, segment);
            for (chunk& part : std::span(parts_).first(segment.payload.size())) part = chunk();
            sent += segment.payload_size;
            more = c.output_possible();
        } while (more && sent - sent_before < config_.most_in_turn);
        if (ready || sent != sent_before) { // or it has had nothing of its turn
            dirty_.pop_front();
            if (more) dirty_.push_back(c);
        }
        after_output(c, now);
        if (!ready) return false;
        if (sent >= config_.most_per_flush) break;
    }
    while (!drowsy_.empty()) {
        tcb& c = drowsy_.pop_front();
        if (may_lie_dormant(c)) lie_dormant(c);
    }
    announced_ = false;
    if (dirty_.empty() && deferred_.empty()) return true;
    announce_output();
    return false;
}

endpoint* stack::behind(endpoint& e) {
    intrusive_list<endpoint>::iterator at(&e);
    ++at;
    return at == all_.end() ? nullptr : &*at;
}

stack::walk::walk(stack& s) : stack_(&s), at_(s.all_.empty() ? nullptr : &s.all_.front()) {
    s.walks_.push_back(*this);
}

const endpoint* stack::walk::next() {
    if (!linked() || at_ == nullptr) return nullptr;
    const endpoint& found = *at_;
    at_ = stack_->behind(*at_);
    return &found;
}

} // namespace tapir::tcp
