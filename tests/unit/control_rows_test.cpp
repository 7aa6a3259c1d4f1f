// Requests, rows and columns of the control socket: what people type, what programs read, what people see.
#include <tapir/protocols/control/columns.hpp>
#include <tapir/protocols/control/json.hpp>
#include <tapir/protocols/control/printable.hpp>
#include <tapir/protocols/control/request.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <variant>

using namespace tapir;
using namespace tapir::control;

namespace {

tcp_row established() {
    tcp_row r;
    r.local = "192.0.2.2:80";
    r.remote = "192.0.2.1:40000";
    r.state = "ESTABLISHED";
    r.recv_q = 5;
    r.send_q = 1460;
    return r;
}

process_row server() {
    process_row p;
    p.pid = 17;
    p.program = "http_server";
    p.host = "tapir";
    return p;
}

std::string lines(const tcp_row& r, const column_options& o = column_options()) {
    return columns_of(r, server(), o);
}

} // namespace

TEST_CASE("control request: words in any order, with any spaces between them") {
    request wanted;
    wanted.connections = wanted.owner = true;
    CHECK(parse_request("connections owner") == wanted);
    CHECK(parse_request("  owner   connections \r") == wanted);
    CHECK(parse_request("owner connections owner") == wanted);
    CHECK(parse_request(to_string(wanted)) == wanted);
}

TEST_CASE("control request: what is no request is answered in words") {
    const auto why = [](std::string_view line) {
        const auto r = parse_request(line);
        REQUIRE_FALSE(r);
        return r.error();
    };
    CHECK(why("connection")
              .starts_with("'connection' is no word of a request; these are: listeners half_open "));
    CHECK(why("connections,owner").starts_with("'connections,owner' is no word"));
    CHECK(why("").starts_with("nothing was asked for"));
    CHECK(why("   ").starts_with("nothing was asked for"));
    CHECK(why("owner info").starts_with("nothing was asked for")); // details, but of what?
    CHECK(why(std::string(1000, 'x')).size() < 200);
}

TEST_CASE("control rows: JSON has the documented names, and optional fields only where they mean something") {
    CHECK(to_json(server()) ==
          R"({"type":"process","version":1,"pid":17,"program":"http_server","host":"tapir"})");
    CHECK(to_json(established()) == R"({"type":"tcp","local":"192.0.2.2:80","remote":"192.0.2.1:40000",)"
                                    R"("state":"ESTABLISHED","recv_q":5,"send_q":1460})");
    tcp_row listener;
    listener.local = "0.0.0.0:80";
    listener.state = "LISTEN";
    listener.send_q = 1024;
    queues_row& q = listener.queues.emplace();
    q.backlog = 1024;
    q.half_open = 3;
    q.half_open_max = 512;
    q.counters = {{"established", 9}, {"accept_overflow", 0}};
    CHECK(to_json(listener) ==
          R"({"type":"tcp","local":"0.0.0.0:80","state":"LISTEN","recv_q":0,"send_q":1024,)"
          R"("queues":{"acceptable":0,"backlog":1024,"half_open":3,"half_open_max":512,)"
          R"("counters":{"established":9,"accept_overflow":0}}})");
    error_row e;
    e.error = "a \"quoted\" \xff";
    CHECK(to_json(e) == "{\"type\":\"error\",\"error\":\"a \\\"quoted\\\" \xef\xbf\xbd\"}");
}

TEST_CASE("control rows: what was written is read back, with all its parts") {
    tcp_row r = established();
    r.id = 12;
    r.state_ago_us = 1500;
    r.soft_error = "host unreachable";
    r.timer.emplace().name = "retransmit";
    r.queues.emplace().counters = {{"established", 1}};
    r.owner.emplace().opened_at = "main.cpp:7";
    r.info.emplace().cwnd = 14600;
    r.info->in_recovery = true;
    const auto back = parse_row(to_json(r));
    REQUIRE(back);
    CHECK(std::get<tcp_row>(*back) == r);
    counters_row c;
    c.layer = "arp";
    c.interface = "192.0.2.2/24";
    c.values = {{"z", 1}, {"a", 18446744073709551615u}};
    CHECK(std::get<counters_row>(*parse_row(to_json(c))) == c);
}

TEST_CASE(
    "control rows: lines of a later version are understood as far as they go, and nonsense is malformed") {
    CHECK(std::holds_alternative<std::monostate>(*parse_row(R"({"type":"quic","local":"a"})")));
    CHECK(std::get<end_row>(*parse_row(R"({"type":"end","rows":3,"new":{"x":[1]}})")).rows == 3);
    for (const char* line :
         {"", "{", "[]", "7", "null", R"({"rows":3})", R"({"type":3})", R"({"type":"end"})",
          R"({"type":"end","rows":"3"})", R"({"type":"end","rows":-1})", R"({"type":"end","rows":1.5})",
          R"({"type":"end","rows":1e30})",
          R"({"type":"tcp","local":"a","state":"LISTEN","recv_q":0,"send_q":0,"queues":[]})",
          R"({"type":"counters","layer":"x","values":{"a":"b"}})"}) {
        INFO(line);
        const auto r = parse_row(line);
        REQUIRE_FALSE(r);
        CHECK(r.error() == errc::malformed);
    }
}

TEST_CASE("tapstat columns: as netstat's") {
    column_options o;
    CHECK(column_titles(o) == "Proto Recv-Q Send-Q Local Address           Foreign Address         State\n");
    CHECK(lines(established()) ==
          "tcp        5   1460 192.0.2.2:80            192.0.2.1:40000         ESTABLISHED\n");
    o.program = true;
    CHECK(column_titles(o) ==
          "Proto Recv-Q Send-Q Local Address           Foreign Address         State       "
          "PID/Program name\n");
    CHECK(lines(established(), o) ==
          "tcp        5   1460 192.0.2.2:80            192.0.2.1:40000         ESTABLISHED 17/http_server\n");
    tcp_row half_open = established();
    half_open.state = "SYN_RECEIVED";
    half_open.recv_q = half_open.send_q = 0;
    CHECK(lines(half_open, o) ==
          "tcp        0      0 192.0.2.2:80            192.0.2.1:40000         SYN_RECV    17/http_server\n");
}

TEST_CASE("tapstat columns: states are spelled as netstat does") {
    CHECK(netstat_name("SYN_RECEIVED") == "SYN_RECV");
    CHECK(netstat_name("FIN_WAIT_1") == "FIN_WAIT1");
    CHECK(netstat_name("FIN_WAIT_2") == "FIN_WAIT2");
    CHECK(netstat_name("CLOSED") == "CLOSE");
    for (const char* same :
         {"LISTEN", "SYN_SENT", "ESTABLISHED", "CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT"})
        CHECK(netstat_name(same) == same);
}

TEST_CASE("tapstat columns: a listener shows both queues with their bounds") {
    tcp_row r;
    r.local = "0.0.0.0:80";
    r.state = "LISTEN";
    r.recv_q = 2;
    r.send_q = 1024;
    queues_row& q = r.queues.emplace();
    q.acceptable = 2;
    q.backlog = 1024;
    q.half_open = 3;
    q.half_open_max = 512;
    CHECK(lines(r) == "tcp        2   1024 0.0.0.0:80              0.0.0.0:*               LISTEN      "
                      "accept 2/1024 half-open 3/512\n");
}

TEST_CASE("tapstat columns: timers as netstat -o") {
    column_options o;
    o.timers = true;
    CHECK(column_titles(o).ends_with(" State       Timer\n"));
    const auto shown = [&](const char* name, std::int64_t in_us, std::uint64_t count) {
        tcp_row r = established();
        timer_row& t = r.timer.emplace();
        t.name = name;
        t.in_us = in_us;
        t.count = count;
        const std::string line = lines(r, o);
        return line.substr(line.find("ESTABLISHED ") + 12);
    };
    CHECK(shown("retransmit", 204'000, 2) == "on (0.20/2/0)\n");
    CHECK(shown("syn_ack", 980'000, 0) == "on (0.98/0/0)\n");
    CHECK(shown("persist", 5'000'000, 3) == "probe (5.00/0/3)\n");
    CHECK(shown("keepalive", 7'200'000'000, 0) == "keepalive (7200.00/0/0)\n");
    CHECK(shown("time_wait", 59'309'000, 0) == "timewait (59.30/0/0)\n");
    CHECK(shown("retransmit", -10'000, 0) == "on (-0.01/0/0)\n"); // fires in this very turn
    CHECK(lines(established(), o).ends_with("off (0.00/0/0)\n"));
}

TEST_CASE(
    "tapstat columns: who has forgotten a connection in CLOSE_WAIT is told with source lines and ages") {
    column_options o;
    o.owner = true;
    tcp_row r = established();
    r.state = "CLOSE_WAIT";
    r.state_ago_us = 187'000'000;
    owner_row& w = r.owner.emplace();
    w.task = 9;
    w.opened_at = "server.cpp:40";
    w.opened_ago_us = 7'500'000'000;
    w.last_call_at = "server.cpp:52";
    w.last_call_ago_us = 200'250'000;
    CHECK(lines(r, o) == "tcp        5   1460 192.0.2.2:80            192.0.2.1:40000         CLOSE_WAIT\n"
                         "\tCLOSE_WAIT for 3m07s; opened 2h05m ago at server.cpp:40; last call 3m20s ago at "
                         "server.cpp:52 by task 9\n");
    r.owner.reset();
    r.state_ago_us = 90'000'000'000;
    r.soft_error = "host unreachable";
    CHECK(lines(r, o).ends_with("\tCLOSE_WAIT for 1d01h; nobody has it; last error: host unreachable\n"));
}

TEST_CASE("tapstat columns: details as ss -ti") {
    column_options o;
    o.info = true;
    tcp_row r = established();
    info_row& i = r.info.emplace();
    i.timestamps = i.window_scaling = true;
    i.send_scale = 7;
    i.receive_scale = 2;
    i.rto_us = 204'000;
    i.srtt_us = 3'250;
    i.rttvar_us = 1'000;
    i.send_mss = 1448;
    i.receive_mss = 1460;
    i.cwnd = 14480;
    i.ssthresh = 65535;
    i.bytes_sent = 100;
    i.in_flight = 20;
    i.congestion = "cubic";
    CHECK(lines(r, o) == "tcp        5   1460 192.0.2.2:80            192.0.2.1:40000         ESTABLISHED\n"
                         "\t ts wscale:7,2 cubic rto:204.000 rtt:3.250/1.000 mss:1448 rcvmss:1460 cwnd:14480 "
                         "ssthresh:65535 bytes_sent:100 bytes_acked:0 bytes_received:0 segs_out:0 segs_in:0 "
                         "in_flight:20 snd_wnd:0 rcv_wnd:0\n");
    i.path_mtu = 1500;
    i.send_memory = 4096;
    i.receive_memory = 2048;
    i.out_of_order = 300;
    i.out_of_order_ranges = 2;
    i.urgent_segments = 3;
    i.urgent_ahead = 1;
    i.orphan = i.from_cookie = true;
    CHECK(lines(r, o).find(" mss:1448 pmtu:1500 rcvmss:1460 ") != std::string::npos);
    r.info->mtu_search = "searching";
    r.info->mtu_floor = 1280;
    r.info->mtu_ceiling = 1499;
    CHECK(lines(r, o).find(" pmtu:1500 mtu_search:searching,1280-1499 rcvmss:") != std::string::npos);
    CHECK(
        lines(r, o).ends_with(" rcv_wnd:0 snd_mem:4096 rcv_mem:2048 rcv_ooo:300 rcv_ooo_ranges:2 urg_segs:3 "
                              "urg_ahead:1 orphan cookie\n"));
}

TEST_CASE("tapstat columns: ports have names where somebody knows them, and UDP has no state") {
    column_options o;
    o.port_name = [](std::string_view protocol, std::uint16_t port) {
        return protocol == "udp" && port == 53 ? std::string("domain") : std::string();
    };
    udp_row r;
    r.local = "192.0.2.2:53";
    r.remote = "192.0.2.1:5353";
    r.recv_q = 512;
    r.datagrams = 2;
    CHECK(columns_of(r, server(), o) ==
          "udp      512      0 192.0.2.2:domain        192.0.2.1:5353                      datagrams 2\n");
    r.remote.reset();
    CHECK(columns_of(r, server(), o).find(" 0.0.0.0:* ") != std::string::npos);
    CHECK(lines(established(), o).find("192.0.2.2:80 ") != std::string::npos);
}

TEST_CASE("tapstat columns: names that a terminal would obey are made harmless") {
    column_options o;
    o.program = o.owner = true;
    process_row p;
    p.program = "\x1b[2Jx\n";
    tcp_row r = established();
    r.owner.emplace().opened_at = "\x1b]0;x\x07.cpp:1";
    const std::string text = columns_of(r, p, o);
    CHECK(text.find('\x1b') == std::string::npos);
    CHECK(text.find("0/?[2Jx?\n") != std::string::npos);
    CHECK(text.find("at ?]0;x?.cpp:1;") != std::string::npos);
}

TEST_CASE("tapstat: whose counters they are is told without what a terminal would obey") {
    process_row p = server();
    CHECK(text_of(p) == "17/http_server\n");
    p.program = "\x1b[2J\xc2\x9b"
                "5m\nx";
    CHECK(text_of(p) == "17/?[2J??5m?x\n");
}

TEST_CASE("tapstat --json: a line that a terminal would obey is escaped, and means the same") {
    CHECK(printable("a\x1b]0;\x07\x7f\xff\t") == "a?]0;????");
    const std::string harmless = R"({"type":"end", "rows":3})";
    CHECK(printable_json(harmless) == harmless); // untouched
    error_row e;
    e.error = "\x1b[2J \xc2\x9b"
              "5m \x7f \xc3\xa4";
    const std::string line = "\t" + to_json(e) + "\r"; // U+009B and DEL as they are: JSON lets them
    CHECK(line.find('\x7f') != std::string::npos);
    const std::string safe = printable_json(line);
    CHECK(safe == R"({"type":"error","error":"\u001b[2J \u009b5m \u007f \u00e4"})");
    CHECK(std::get<error_row>(*parse_row(safe)) == e);
    CHECK(printable_json("{\x1b") == "{?");
}

TEST_CASE("tapstat counters: by layer, and those that are zero only when asked for") {
    counters_row c;
    c.layer = "arp";
    c.interface = "192.0.2.2/24";
    c.values = {{"moved", 2}, {"failed", 0}};
    CHECK(text_of(c, false) == "arp 192.0.2.2/24:\n    2 moved\n");
    CHECK(text_of(c, true) == "arp 192.0.2.2/24:\n    2 moved\n    0 failed\n");
}
