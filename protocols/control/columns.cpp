#include <tapir/protocols/control/columns.hpp>
#include <tapir/protocols/control/printable.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <utility>

namespace tapir::control {

namespace {

using names = std::pair<std::string_view, std::string_view>;

constexpr std::size_t address_width = 23;
constexpr std::size_t state_width = 11;
constexpr std::size_t program_width = 20;

/// At least `width` wide, and one space behind it.
std::string left(std::string text, std::size_t width) {
    if (text.size() < width) text.append(width - text.size(), ' ');
    return text + ' ';
}

std::string right(std::uint64_t number, std::size_t width) {
    std::string text = std::to_string(number);
    if (text.size() < width) text.insert(0, width - text.size(), ' ');
    return text + ' ';
}

void end_line(std::string& text) {
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
}

/// `number` of `unit`s, with so many digits of the thousandths (or hundredths ...) behind the point.
std::string decimal(std::int64_t number, std::int64_t unit, int digits) {
    const bool negative = number < 0;
    const std::uint64_t n =
        negative ? -static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
    const auto u = static_cast<std::uint64_t>(unit);
    std::string text = (negative ? "-" : "") + std::to_string(n / u) + ".";
    std::uint64_t rest = n % u;
    for (std::uint64_t part = u / 10; digits > 0; --digits, part /= 10) {
        text += static_cast<char>('0' + rest / part);
        rest %= part;
    }
    return text;
}

std::string in_seconds(std::int64_t us) {
    return decimal(us, 1'000'000, 2);
}
std::string in_milliseconds(std::int64_t us) {
    return decimal(us, 1'000, 3);
}

/// "0.25s", "3m07s", "2h05m", "4d01h"
std::string age(std::int64_t us) {
    const auto two_digits = [](std::int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
    const std::int64_t seconds = us / 1'000'000;
    if (seconds < 60) return in_seconds(us) + "s";
    if (seconds < 3600) return std::to_string(seconds / 60) + "m" + two_digits(seconds % 60) + "s";
    if (seconds < 86400) return std::to_string(seconds / 3600) + "h" + two_digits(seconds / 60 % 60) + "m";
    return std::to_string(seconds / 86400) + "d" + two_digits(seconds / 3600 % 24) + "h";
}

std::string address(const std::string& endpoint, std::string_view protocol, const column_options& o) {
    const std::size_t colon = endpoint.rfind(':');
    if (!o.port_name || colon == std::string::npos) return printable(endpoint);
    std::uint16_t port = 0;
    const char* const end = endpoint.data() + endpoint.size();
    const auto [at, error] = std::from_chars(endpoint.data() + colon + 1, end, port);
    if (error != std::errc() || at != end) return printable(endpoint);
    const std::string name = o.port_name(protocol, port);
    return printable(name.empty() ? endpoint : endpoint.substr(0, colon + 1) + name);
}

std::string first_columns(std::string_view protocol, std::uint64_t recv_q, std::uint64_t send_q,
                          const std::string& local, const std::optional<std::string>& remote,
                          std::string_view state, const process_row& of, const column_options& o) {
    std::string text = left(std::string(protocol), 5) + right(recv_q, 6) + right(send_q, 6);
    text += left(address(local, protocol, o), address_width);
    text += left(remote ? address(*remote, protocol, o) : "0.0.0.0:*", address_width);
    text += left(printable(state), state_width);
    if (o.program) text += left(std::to_string(of.pid) + "/" + printable(of.program), program_width);
    return text;
}

std::string timer(const std::optional<timer_row>& t) {
    if (!t) return "off (0.00/0/0)";
    static constexpr std::array spellings = {
        names("retransmit", "on"),          names("syn_ack", "on"),         names("persist", "probe"),
        names("delayed_ack", "delack"),     names("time_wait", "timewait"), names("give_up", "giveup"),
        names("close_deadline", "closing"),
    };
    const auto* known = std::ranges::find(spellings, t->name, &names::first);
    const std::string name = known == spellings.end() ? printable(t->name) : std::string(known->second);
    // Seconds, retransmissions, probes: as netstat -o.
    const bool probes = t->name == "persist" || t->name == "keepalive";
    return name + " (" + in_seconds(t->in_us) + "/" + std::to_string(probes ? 0 : t->count) + "/" +
           std::to_string(probes ? t->count : 0) + ")";
}

std::string owner_line(const tcp_row& r) {
    std::string text = "\t" + std::string(netstat_name(printable(r.state)));
    if (r.state_ago_us) text += " for " + age(*r.state_ago_us);
    if (r.shard) text += " on shard " + std::to_string(*r.shard);
    if (r.owner) {
        text += "; opened " + age(r.owner->opened_ago_us) + " ago at " + printable(r.owner->opened_at);
        text += "; last call " + age(r.owner->last_call_ago_us) + " ago at " +
                printable(r.owner->last_call_at) + " by task " + std::to_string(r.owner->task);
    } else if (!r.queues) {
        text += "; nobody has it";
    }
    if (r.soft_error) text += "; last error: " + printable(*r.soft_error);
    return text + "\n";
}

/// The spelling of ss -ti, where it has one; windows and cwnd are bytes.
std::string info_line(const info_row& i) {
    std::string text = "\t";
    if (i.timestamps) text += " ts";
    if (i.sack_permitted) text += " sack";
    if (i.ecn) text += " ecn";
    if (i.window_scaling)
        text += " wscale:" + std::to_string(i.send_scale) + "," + std::to_string(i.receive_scale);
    if (!i.congestion.empty()) text += " " + i.congestion;
    text += " rto:" + in_milliseconds(i.rto_us);
    if (i.backoff != 0) text += " backoff:" + std::to_string(i.backoff);
    if (i.srtt_us != 0) text += " rtt:" + in_milliseconds(i.srtt_us) + "/" + in_milliseconds(i.rttvar_us);
    const auto add = [&](const char* name, std::uint64_t value) {
        text += std::string(" ") + name + ":" + std::to_string(value);
    };
    const auto add_unless_zero = [&](const char* name, std::uint64_t value) {
        if (value != 0) add(name, value);
    };
    add("mss", i.send_mss);
    add_unless_zero("pmtu", i.path_mtu);
    if (!i.mtu_search.empty())
        text += " mtu_search:" + printable(i.mtu_search) + "," + std::to_string(i.mtu_floor) + "-" +
                std::to_string(i.mtu_ceiling);
    add("rcvmss", i.receive_mss);
    add("cwnd", i.cwnd);
    add("ssthresh", i.ssthresh);
    add("bytes_sent", i.bytes_sent);
    add_unless_zero("bytes_retrans", i.bytes_retransmitted);
    add("bytes_acked", i.bytes_acked);
    add("bytes_received", i.bytes_received);
    add("segs_out", i.segments_out);
    add("segs_in", i.segments_in);
    add_unless_zero("pacing_rate", i.pacing_rate);
    add_unless_zero("in_flight", i.in_flight);
    add_unless_zero("sacked", i.sacked);
    add_unless_zero("lost", i.lost);
    add_unless_zero("notsent", i.unsent);
    add_unless_zero("retrans", i.retransmits);
    add_unless_zero("rto_fired", i.rto_fired);
    add_unless_zero("fast_retrans", i.fast_retransmits);
    add_unless_zero("dupacks", i.duplicate_acks);
    add("snd_wnd", i.send_window);
    add("rcv_wnd", i.receive_window);
    add_unless_zero("snd_mem", i.send_memory);
    add_unless_zero("rcv_mem", i.receive_memory);
    add_unless_zero("rcv_ooo", i.out_of_order);
    add_unless_zero("rcv_ooo_ranges", i.out_of_order_ranges);
    add_unless_zero("urg_segs", i.urgent_segments);
    add_unless_zero("urg_ahead", i.urgent_ahead);
    add_unless_zero("undone", i.recoveries_undone);
    add_unless_zero("ce_in", i.ce_received);
    add_unless_zero("ecn_reduced", i.ecn_reductions);
    if (i.limited_by != "application") text += " limited_by:" + i.limited_by;
    if (i.ecn_echoing) text += " ecn_echo";
    if (i.reordering_seen) text += " reord_seen";
    if (i.in_recovery) text += " recovery";
    if (i.in_loss) text += " loss";
    if (i.orphan) text += " orphan";
    if (i.from_cookie) text += " cookie";
    if (i.fast_opened) text += " fastopen";
    if (i.no_delay) text += " nodelay";
    if (i.min_rtt_us != 0) text += " minrtt:" + in_milliseconds(i.min_rtt_us);
    return text + "\n";
}

} // namespace

std::string_view netstat_name(std::string_view state) {
    static constexpr std::array differ = {names("SYN_RECEIVED", "SYN_RECV"), names("FIN_WAIT_1", "FIN_WAIT1"),
                                          names("FIN_WAIT_2", "FIN_WAIT2"), names("CLOSED", "CLOSE")};
    const auto* found = std::ranges::find(differ, state, &names::first);
    return found == differ.end() ? state : found->second;
}

std::string column_titles(const column_options& o) {
    std::string text = "Proto Recv-Q Send-Q " + left("Local Address", address_width) +
                       left("Foreign Address", address_width) + left("State", state_width);
    if (o.program) text += left("PID/Program name", program_width);
    if (o.timers) text += "Timer";
    end_line(text);
    return text;
}

std::string columns_of(const tcp_row& r, const process_row& of, const column_options& o) {
    std::string text =
        first_columns("tcp", r.recv_q, r.send_q, r.local, r.remote, netstat_name(r.state), of, o);
    if (o.timers) text += timer(r.timer) + " ";
    if (r.queues)
        text += "accept " + std::to_string(r.queues->acceptable) + "/" + std::to_string(r.queues->backlog) +
                " half-open " + std::to_string(r.queues->half_open) + "/" +
                std::to_string(r.queues->half_open_max);
    end_line(text);
    if (o.owner) text += owner_line(r);
    if (o.info && r.info) text += info_line(*r.info);
    return text;
}

std::string columns_of(const udp_row& r, const process_row& of, const column_options& o) {
    std::string text = first_columns("udp", r.recv_q, 0, r.local, r.remote, "", of, o);
    if (r.datagrams != 0) text += "datagrams " + std::to_string(r.datagrams);
    end_line(text);
    return text;
}

std::string text_of(const process_row& r) {
    return std::to_string(r.pid) + "/" + printable(r.program) + "\n";
}

void counter_sums::add(const counters_row& r) {
    const auto known = std::ranges::find_if(
        rows_, [&](const counters_row& sum) { return sum.layer == r.layer && sum.interface == r.interface; });
    if (known == rows_.end()) {
        rows_.push_back(r);
        rows_.back().shard.reset();
        return;
    }
    for (const auto& [name, value] : r.values) {
        const auto sum = std::ranges::find(known->values, name, &named_counts::value_type::first);
        if (sum != known->values.end()) {
            sum->second += value;
        } else {
            known->values.emplace_back(name, value);
        }
    }
}

std::string text_of(const counters_row& r, bool zeros) {
    std::string text = printable(r.layer);
    if (r.interface) text += " " + printable(*r.interface);
    text += ":\n";
    for (const auto& [name, value] : r.values)
        if (zeros || value != 0) text += "    " + std::to_string(value) + " " + printable(name) + "\n";
    return text;
}

} // namespace tapir::control
