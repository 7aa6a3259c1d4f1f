// tapstat: netstat for the TCP/IP inside of running tapir programs. It asks their control sockets, needs no
// TAP and no privilege: it shows the programs of this user, and to root those of everybody.
//
//     tapstat -nap                  every connection, listener and half-open entry, and whose
//     tapstat -e | grep -A1 CLOSE_WAIT       who has not closed: source line and age
//     tapstat -s                    counters of every layer
//     tapstat --json | jq ...       one line of JSON for each (protocols/control/rows.hpp names the fields)

#include <tapir/framework/log.hpp>
#include <tapir/protocols/control/client.hpp>
#include <tapir/protocols/control/columns.hpp>
#include <tapir/protocols/control/printable.hpp>
#include <tapir/protocols/control/socket.hpp>

#include <arpa/inet.h>
#include <cstdio>
#include <netdb.h>
#include <optional>
#include <utility>

#include "samples/support/command_line.hpp"
#include "samples/support/network.hpp"

using namespace tapir;

namespace {

struct wishes {
    bool all = false;
    bool listening = false;
    bool numeric = false;
    bool tcp = false;
    bool udp = false;
    bool counters = false;
    bool json = false;
    std::uint64_t pid = 0;
    std::vector<std::string> paths;
    control::column_options columns;

    control::request request() const {
        control::request r;
        r.counters = counters;
        if (!counters) {
            const bool both = tcp == udp;
            r.listeners = (tcp || both) && (all || listening);
            r.connections = r.half_open = r.time_wait = (tcp || both) && (all || !listening);
            r.udp = udp || both;
        }
        r.owner = columns.owner;
        r.info = columns.info;
        return r;
    }
    const char* title() const {
        if (all) return "Active Internet connections (servers and established)";
        return listening ? "Active Internet connections (only servers)"
                         : "Active Internet connections (w/o servers)";
    }
};

std::string port_name(std::string_view protocol, std::uint16_t port) {
    const servent* found = ::getservbyport(htons(port), std::string(protocol).c_str());
    return found == nullptr ? std::string() : found->s_name;
}

/// A UDP port without a peer is a server's, as netstat has it.
bool is_wanted(const control::udp_row& r, const wishes& w) {
    return w.all || w.listening != r.remote.has_value();
}

/// One program's answer, line by line as it comes.
class printer {
  public:
    /// `titled`: whether somebody has printed the titles already.
    printer(const wishes& w, bool& titled) : wishes_(w), titled_(titled) {}

    void row(const control::row& r, std::string_view line) {
        if (const auto* p = std::get_if<control::process_row>(&r)) of_ = *p;
        if (wishes_.pid != 0 && of_.pid != wishes_.pid) return;
        if (!wishes_.json && !wishes_.counters && !std::exchange(titled_, true))
            print(std::string(wishes_.title()) + "\n" + control::column_titles(wishes_.columns));
        const auto* udp = std::get_if<control::udp_row>(&r);
        if (udp != nullptr && !is_wanted(*udp, wishes_)) return;
        if (wishes_.json) { // each says whose it is, for those who sort and filter
            const bool whose = !std::holds_alternative<control::process_row>(r);
            print((whose ? "{\"pid\":" + std::to_string(of_.pid) + "," : "{") + std::string(line.substr(1)) +
                  "\n");
        } else if (udp != nullptr) {
            print(control::columns_of(*udp, of_, wishes_.columns));
        } else if (const auto* t = std::get_if<control::tcp_row>(&r)) {
            print(control::columns_of(*t, of_, wishes_.columns));
        } else if (const auto* c = std::get_if<control::counters_row>(&r)) {
            sums_.add(*c);
        } else if (wishes_.counters && std::holds_alternative<control::process_row>(r)) {
            print(control::text_of(of_));
        }
    }
    /// What can be told only when all is known.
    void end() const {
        for (const control::counters_row& sum : sums_.rows()) print(control::text_of(sum, wishes_.all));
    }
    bool is_meant() const { return wishes_.pid == 0 || of_.pid == wishes_.pid; }

  private:
    static void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }
    const wishes& wishes_;
    bool& titled_;
    control::process_row of_;
    control::counter_sums sums_; ///< over the shards of the program
};

/// Paths are names that others may have given.
void complain(const std::string& text) {
    log::error(control::printable(text));
}

std::string where_we_looked() {
    std::string all;
    for (const std::string& d : control::directories_searched()) all += (all.empty() ? "" : ", ") + d;
    return all;
}

/// The exit status: 0 if somebody has answered, and nobody whom we asked for has failed to.
task<int> show(const wishes* w) {
    const bool named = !w->paths.empty();
    std::vector<control::found_socket> sockets;
    for (const std::string& path : w->paths) sockets.emplace_back(path, std::nullopt);
    if (!named) sockets = control::find_sockets();
    std::size_t answered = 0;
    bool titled = false;
    int status = 0;
    for (const control::found_socket& socket : sockets) {
        printer out(*w, titled);
        const control::row_handler each = [&out](const control::row& r, std::string_view line) {
            out.row(r, line);
        };
        const auto done =
            co_await control::ask(socket.path, w->request(), each, control::ask_limits(), socket.owner);
        out.end();
        if (done) {
            if (out.is_meant()) ++answered;
        } else if (named || done.error().problem != control::ask_problem::nobody) {
            complain(done.error().text);
            status = 1;
        }
    }
    if (answered == 0 && status == 0) {
        complain(w->pid != 0 ? "no running tapir program has the process id " + std::to_string(w->pid)
                             : "no running tapir program was found; looked into " + where_we_looked());
        status = 1;
    }
    std::fflush(stdout);
    co_return status;
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("tapstat: what the TCP/IP inside of running tapir programs is doing");
    wishes w;
    line.flag("-a,--all", w.all, "connections and listeners; with -s counters that are zero, too");
    line.flag("-l,--listening", w.listening, "listeners only, with their queues");
    line.flag("-n,--numeric", w.numeric, "ports as numbers");
    line.flag("-t,--tcp", w.tcp, "TCP only");
    line.flag("-u,--udp", w.udp, "UDP only");
    line.flag("-p,--program", w.columns.program, "whose: process id and program");
    line.flag("-o,--timers", w.columns.timers, "what each waits for: seconds/retransmissions/probes");
    line.flag("-e,--owner", w.columns.owner,
              "which coroutine has it: where it was opened, its last call, how long in this state");
    line.flag("-i,--info", w.columns.info, "round-trip times, windows, what was sent and lost, as ss -ti");
    line.flag("-s,--statistics", w.counters, "counters of every layer");
    line.flag("--json", w.json, "one line of JSON for each instead");
    line.option("--pid", w.pid, "the program with this process id only (0: all)");
    line.option("--control", w.paths, "the control socket to ask, instead of all that can be found");
    if (const auto status = line.parse(argc, argv)) return *status;
    if (!w.numeric) w.columns.port_name = port_name;
    return samples::run_program([&w] { return show(&w); });
}
