// Rows as netstat prints them, so that what people know how to read, grep and awk still works:
//
//     Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
//     tcp        0      0 192.0.2.2:80            192.0.2.1:40000         SYN_RECV    17/http_server
//
// States are spelled as netstat does. A listener's queues stand at the end of its line, and what "owner" and
// "info" add stands on lines of their own, which begin with a tab.
#pragma once

#include <tapir/protocols/control/rows.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tapir::control {

struct column_options {
    column_options() = default;
    bool program = false; ///< PID/Program name
    bool timers = false;
    bool owner = false;
    bool info = false;
    /// Writes a port in words, if it has some: ("tcp", 80) -> "http". Without it, or when it returns nothing,
    /// ports are numbers.
    std::function<std::string(std::string_view protocol, std::uint16_t port)> port_name;
};

std::string column_titles(const column_options& o);
/// One line, and those that belong to it, each with its newline. What is not printable is '?'.
std::string columns_of(const tcp_row& r, const process_row& of, const column_options& o);
std::string columns_of(const udp_row& r, const process_row& of, const column_options& o);

/// "17/http_server\n"
std::string text_of(const process_row& r);
/// "tcp:\n    17 segments_in\n ..."; counters that are zero only if `zeros`.
std::string text_of(const counters_row& r, bool zeros);

/// The counters of one program: those of its shards added up, in the order in which they came first.
class counter_sums {
  public:
    void add(const counters_row& r);
    const std::vector<counters_row>& rows() const { return rows_; }

  private:
    std::vector<counters_row> rows_;
};

/// netstat's spelling of a state: "SYN_RECV" for "SYN_RECEIVED", "FIN_WAIT1" for "FIN_WAIT_1".
std::string_view netstat_name(std::string_view state);

} // namespace tapir::control
