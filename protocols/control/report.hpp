// The answer to a request, made piece by piece, so that a host with a hundred thousand connections goes on
// serving them meanwhile.
//
//     control::report r(host, what, process);
//     std::string piece;
//     while (r.append(piece, 64, 4096)) { send(piece); piece.clear(); }       // one piece in a turn
//
// Consistency: each line is true at the moment it was written; the whole is no snapshot. What exists from the
// first piece to the last is told exactly once; what comes or goes meanwhile may be told or not, and one that
// changes its kind meanwhile (half-open to connection to TIME_WAIT) may be told as either, or as both.
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/control/config.hpp>
#include <tapir/protocols/control/request.hpp>
#include <tapir/protocols/control/rows.hpp>
#include <tapir/protocols/host/host.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace tapir::control {

/// Of the answer of a program with several hosts (shards): one after the other tells its own.
struct report_part {
    bool first = true;      ///< with the line of the process, and what the control socket counted
    bool last = true;       ///< with the last line
    std::uint64_t rows = 0; ///< of the parts before
};

class report {
  public:
    /// `of` and `own` (what the control socket itself counted) must outlive it.
    report(host& of, const counters& own, const request& what, process_row who, report_part part = {});

    /// Appends lines: at most `rows`, and no more than `places` empty places of a table passed over. False:
    /// these were the last.
    bool append(std::string& to, std::size_t rows, std::size_t places);
    /// With those of the parts before.
    std::uint64_t rows() const { return rows_; }

  private:
    enum class stage : std::uint8_t {
        process,
        listeners,
        half_open,
        connections,
        time_wait,
        udp,
        counters,
        end
    };

    /// One step; true if it wrote a line.
    bool step(std::string& to);
    void next_stage();
    bool write(std::string& to, row r);
    template <class Look>
    bool step_through(std::size_t positions, Look look);
    bool write_counters(std::string& to);

    tcp_row describe(const tcp::flow_key& flow, tcp::state state) const;
    void tell_owner(tcp_row& r, const tcp::endpoint& e) const;
    tcp_row of_listener(const tcp::listening_endpoint& l) const;
    tcp_row of_half_open(const tcp::flow_key& flow, const tcp::half_open_entry& e) const;
    tcp_row of_connection(const tcp::endpoint& e) const;
    static udp_row of_socket(const udp::binding& b);
    tcp_row of_time_wait(const tcp::flow_key& flow, const tcp::time_wait_entry& e) const;

    instant now() const { return host_.on().now(); }

    host& host_;
    const counters& own_;
    request what_;
    process_row who_;
    report_part part_;
    stage stage_ = stage::process;
    std::size_t position_ = 0; ///< in the table of this stage
    std::optional<tcp::stack::walk> walk_;
    std::optional<ip::endpoint> last_udp_;
    std::uint64_t rows_;
};

} // namespace tapir::control
