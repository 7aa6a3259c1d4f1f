// The conversation with one client, without its socket: bytes of a request go in, pieces of the answer come
// out. One line, one answer, and that is the end.
//
//     control::session s(host, config, counters);
//     while (s.wants_input()) s.put(received);              // or put_end() behind the client's last byte
//     std::string piece;
//     while (s.next_piece(piece)) send(piece);              // one in a turn
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/control/config.hpp>
#include <tapir/protocols/control/report.hpp>
#include <tapir/protocols/host/host.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace tapir::control {

class session {
  public:
    /// All three must outlive it. `others_follow`: the answer is without its last line.
    session(host& of, const config& limits, counters& count, bool others_follow = false);

    /// A request is still to come, or its end.
    bool wants_input() const { return !answering_; }
    /// What follows the first line is ignored.
    void put(bytes received);
    /// The client sends no more: what came so far is the request, newline or not. Who says nothing at all
    /// (somebody who looks whether the socket is alive) gets no answer.
    void put_end();
    /// Answers with an error instead, whatever was asked.
    void refuse(const std::string& why);

    /// Puts the next part of the answer into `piece`, which may be nothing yet when there are many empty
    /// places to pass over; false: it is over.
    bool next_piece(std::string& piece);
    /// What was asked, unless the answer is an error.
    const std::optional<request>& asked() const { return asked_; }
    std::uint64_t rows() const { return rows_; } ///< told, when it is over

  private:
    void answer(std::string_view line);
    void answer_malformed(const std::string& why);

    host& host_;
    const config& config_;
    counters& counters_;
    std::string line_;
    std::string error_;
    std::optional<report> report_;
    bool answering_ = false;
    bool others_follow_;
    std::optional<request> asked_;
    std::uint64_t rows_ = 0;
};

} // namespace tapir::control
