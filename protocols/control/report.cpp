#include <tapir/protocols/control/json.hpp>
#include <tapir/protocols/control/report.hpp>

#include <algorithm>
#include <chrono>
#include <source_location>
#include <utility>

namespace tapir::control {

namespace {

std::int64_t microseconds(duration d) {
    return std::chrono::duration_cast<std::chrono::microseconds>(d).count();
}

std::string place(const std::source_location& at) {
    return std::string(at.file_name()) + ":" + std::to_string(at.line());
}

std::string_view name(tcp::timer_id id) {
    switch (id) {
    case tcp::timer_id::retransmit: return "retransmit";
    case tcp::timer_id::persist: return "persist";
    case tcp::timer_id::delayed_ack: return "delayed_ack";
    case tcp::timer_id::keepalive: return "keepalive";
    case tcp::timer_id::give_up: return "give_up";
    case tcp::timer_id::close_deadline: return "close_deadline";
    case tcp::timer_id::reordering: return "reordering";
    case tcp::timer_id::pace: return "pace";
    case tcp::timer_id::tail_probe: return "tail_probe";
    }
    return "unknown";
}

info_row of_info(const tcp::info& i) {
    info_row r;
    r.unsent = i.unsent;
    r.send_memory = i.send_memory;
    r.receive_memory = i.receive_memory;
    r.out_of_order = i.out_of_order;
    r.out_of_order_ranges = i.out_of_order_ranges;
    r.srtt_us = microseconds(i.srtt);
    r.rttvar_us = microseconds(i.rttvar);
    r.min_rtt_us = microseconds(i.min_rtt);
    r.rto_us = microseconds(i.rto);
    r.backoff = i.backoff;
    r.cwnd = i.cwnd;
    r.limited_by = tcp::to_string(i.limited_by);
    r.ssthresh = i.ssthresh;
    r.congestion = to_string(i.congestion);
    r.pacing_rate = i.pacing_rate;
    r.in_flight = i.in_flight;
    r.sacked = i.sacked;
    r.lost = i.lost;
    r.in_recovery = i.in_recovery;
    r.in_loss = i.in_loss;
    r.reordering_seen = i.reordering_seen;
    r.recoveries_undone = i.recoveries_undone;
    r.send_mss = i.send_mss;
    r.receive_mss = i.receive_mss;
    r.path_mtu = i.path_mtu;
    if (i.mtu_search != tcp::mtu_state::disabled) r.mtu_search = to_string(i.mtu_search);
    r.mtu_floor = i.mtu_floor;
    r.mtu_ceiling = i.mtu_ceiling;
    r.send_window = i.send_window;
    r.receive_window = i.receive_window;
    r.send_scale = i.send_scale;
    r.receive_scale = i.receive_scale;
    r.timestamps = i.timestamps;
    r.window_scaling = i.window_scaling;
    r.sack_permitted = i.sack_permitted;
    r.no_delay = i.no_delay;
    r.ecn = i.ecn;
    r.ecn_echoing = i.ecn_echoing;
    r.from_cookie = i.from_cookie;
    r.fast_opened = i.fast_opened;
    r.orphan = i.orphan;
    r.urgent_segments = i.urgent_segments;
    r.urgent_ahead = i.urgent_ahead;
    r.bytes_sent = i.bytes_sent;
    r.bytes_acked = i.bytes_acked;
    r.bytes_received = i.bytes_received;
    r.bytes_retransmitted = i.bytes_retransmitted;
    r.segments_in = i.segments_in;
    r.segments_out = i.segments_out;
    r.retransmits = i.retransmits;
    r.fast_retransmits = i.fast_retransmits;
    r.rto_fired = i.rto_fired;
    r.duplicate_acks = i.duplicate_acks;
    r.ce_received = i.ce_received;
    r.ecn_reductions = i.ecn_reductions;
    return r;
}

template <class Counters>
named_counts values_of(const Counters& c) {
    named_counts values;
    for_each_counter(c, [&](std::string_view what, std::uint64_t n) { values.emplace_back(what, n); });
    return values;
}

template <class Counters>
counters_row of_counters(std::string layer, const Counters& c) {
    counters_row r;
    r.layer = std::move(layer);
    r.values = values_of(c);
    return r;
}

/// Its first address, or its number when it has none.
std::string name_of(const ipv4::routes& routes, std::size_t link) {
    for (const ipv4::own_address& own : routes.addresses())
        if (own.link == link) return own.prefix.to_string();
    return std::to_string(link);
}

} // namespace

report::report(host& of, const counters& own, const request& what, process_row who, report_part part)
    : host_(of), own_(own), what_(what), who_(std::move(who)), part_(part), rows_(part.rows) {}

bool report::append(std::string& to, std::size_t rows, std::size_t places) {
    while (rows > 0 && places > 0) {
        const bool last = stage_ == stage::end;
        if (step(to)) {
            --rows;
        } else {
            --places;
        }
        if (last) return false;
    }
    return true;
}

bool report::write(std::string& to, row r) {
    if (!std::holds_alternative<process_row>(r) && !std::holds_alternative<end_row>(r)) ++rows_;
    if (const auto& share = host_.share(); !share.is_all())
        std::visit(
            [&]<class Row>(Row& any) {
                if constexpr (requires { any.shard; }) any.shard = share.number();
            },
            r);
    to += to_json(r);
    to += '\n';
    return true;
}

void report::next_stage() {
    const bool wanted[] = {
        true, what_.listeners, what_.half_open, what_.connections, what_.time_wait, what_.udp, what_.counters,
        true};
    do {
        stage_ = static_cast<stage>(static_cast<int>(stage_) + 1);
    } while (!wanted[static_cast<std::size_t>(stage_)]);
    position_ = 0;
}

template <class Look>
bool report::step_through(std::size_t positions, Look look) {
    if (position_ < positions) return look(position_++);
    next_stage();
    return false;
}

bool report::step(std::string& to) {
    tcp::stack& tcp = host_.tcp();
    switch (stage_) {
    case stage::process: next_stage(); return part_.first && write(to, who_);
    case stage::listeners:
        return step_through(tcp.listener_positions(), [&](std::size_t at) {
            const tcp::listening_endpoint* l = tcp.listener_at(at);
            return l != nullptr && write(to, of_listener(*l));
        });
    case stage::half_open:
        return step_through(tcp.half_open_positions(), [&](std::size_t at) {
            bool wrote = false;
            tcp.half_open_at(static_cast<std::uint32_t>(at),
                             [&](const tcp::flow_key& flow, const tcp::half_open_entry& e) {
                                 wrote = write(to, of_half_open(flow, e));
                             });
            return wrote;
        });
    case stage::connections: {
        if (!walk_) walk_.emplace(tcp);
        if (const tcp::endpoint* e = walk_->next()) return write(to, of_connection(*e));
        walk_.reset();
        next_stage();
        return false;
    }
    case stage::time_wait:
        return step_through(tcp.time_wait_positions(), [&](std::size_t at) {
            bool wrote = false;
            tcp.time_wait_at(static_cast<std::uint32_t>(at),
                             [&](const tcp::flow_key& flow, const tcp::time_wait_entry& e) {
                                 wrote = write(to, of_time_wait(flow, e));
                             });
            return wrote;
        });
    case stage::udp: {
        const udp::binding* b = host_.udp().next_behind(last_udp_);
        if (b == nullptr) {
            next_stage();
            return false;
        }
        last_udp_ = b->local();
        return write(to, of_socket(*b));
    }
    case stage::counters: return write_counters(to);
    case stage::end: break;
    }
    if (!part_.last) return false;
    end_row end;
    end.rows = rows_;
    return write(to, end);
}

tcp_row report::describe(const tcp::flow_key& flow, tcp::state state) const {
    tcp_row r;
    r.local = flow.local_endpoint().to_string();
    r.remote = flow.remote_endpoint().to_string();
    r.state = tcp::name(state);
    return r;
}

void report::tell_owner(tcp_row& r, const tcp::endpoint& e) const {
    const tcp::owner& o = e.owned_by();
    if (!what_.owner || o.task == 0) return;
    owner_row& owner = r.owner.emplace();
    owner.task = o.task;
    owner.opened_at = place(o.opened_at);
    owner.opened_ago_us = microseconds(now() - o.opened);
    owner.last_call_at = place(o.last_call_at);
    owner.last_call_ago_us = microseconds(now() - o.last_call);
}

tcp_row report::of_listener(const tcp::listening_endpoint& l) const {
    tcp_row r;
    r.local = l.local().to_string();
    r.state = tcp::name(tcp::state::listen);
    queues_row& q = r.queues.emplace();
    r.recv_q = q.acceptable = l.acceptable();
    r.send_q = q.backlog = l.options().backlog;
    q.half_open = l.half_open();
    q.half_open_max = l.options().half_open_max;
    q.counters = values_of(l.counted());
    return r;
}

tcp_row report::of_half_open(const tcp::flow_key& flow, const tcp::half_open_entry& e) const {
    tcp_row r = describe(flow, tcp::state::syn_received);
    r.state_ago_us = microseconds(now() - e.arrived);
    // As half_open_table waits: doubled after each retransmission.
    const tcp::config& c = host_.tcp().configuration();
    duration wait = c.initial_rto;
    for (unsigned i = 0; i < e.retransmits && wait < c.max_rto; ++i) wait *= 2;
    timer_row& timer = r.timer.emplace();
    timer.name = "syn_ack";
    timer.in_us = microseconds(e.last_sent() + std::min(wait, c.max_rto) - now());
    timer.count = e.retransmits;
    return r;
}

tcp_row report::of_connection(const tcp::endpoint& e) const {
    tcp_row r = describe(e.flow(), e.state());
    const tcp::info i = e.info();
    r.recv_q = i.receive_queue;
    r.send_q = i.send_queue;
    r.id = e.id();
    if (!e.edges().empty()) r.state_ago_us = microseconds(now() - e.edges().back().when);
    if (e.soft_error()) r.soft_error = e.soft_error().message();
    if (i.next_timer != never) {
        timer_row& timer = r.timer.emplace();
        timer.name = name(i.next_timer_id);
        timer.in_us = microseconds(i.next_timer - now());
        timer.count = i.backoff;
    }
    tell_owner(r, e);
    if (what_.info) r.info = of_info(i);
    return r;
}

tcp_row report::of_time_wait(const tcp::flow_key& flow, const tcp::time_wait_entry& e) const {
    tcp_row r = describe(flow, tcp::state::time_wait);
    timer_row& timer = r.timer.emplace();
    timer.name = "time_wait";
    timer.in_us = microseconds(e.expires - now());
    if (e.user != nullptr) tell_owner(r, *e.user);
    return r;
}

udp_row report::of_socket(const udp::binding& b) {
    udp_row r;
    r.local = b.local().to_string();
    if (b.peer()) r.remote = b.peer()->to_string();
    r.recv_q = b.queued_bytes();
    r.datagrams = b.waiting();
    r.counters = values_of(b.counted());
    return r;
}

bool report::write_counters(std::string& to) {
    // All of them at once: there is a bounded number, a few for each interface.
    write(to, of_counters("tcp", host_.tcp().counted()));
    write(to, of_counters("udp", host_.udp().counted()));
    write(to, of_counters("host", host_.counted()));
    write(to, of_counters("ipv4", host_.ip_counters()));
    write(to, of_counters("reassembly", host_.reassembly().count()));
    write(to, of_counters("output", host_.output().count()));
    write(to, of_counters("path_mtu", host_.output().paths().count()));
    write(to, of_counters("forwarding", host_.forwarding_counters()));
    write(to, of_counters("icmp", host_.icmp_counters()));
    for (const auto& i : host_.interfaces()) {
        const auto write_one = [&](counters_row r) {
            r.interface = name_of(host_.routes(), i->number());
            write(to, std::move(r));
        };
        write_one(of_counters("interface", i->counted()));
        write_one(of_counters("arp", i->neighbours().count()));
        write_one(of_counters("ethernet", i->ethernet_counters()));
        write_one(of_counters("link", i->over().counters()));
    }
    write(to, of_counters("reactor", host_.on().spun()));
    if (part_.first) write(to, of_counters("control", own_));
    next_stage();
    return true;
}

} // namespace tapir::control
