// A request from bytes, in pieces of any size: the same bytes give the same outcome however they are cut.
// Plain and synchronous; the server feeds it, and so does the fuzzer.
//
//     request_parser p(limits{});
//     in.remove_prefix(p.put(in));        // stops behind the head, then behind the message
//     if (p.failure() != problem::none) answer(status_of(p.failure()));
//     if (p.done()) { handle(p.get()); p.reset(); }
#pragma once

#include <tapir/protocols/http/body_decoder.hpp>
#include <tapir/protocols/http/head_scanner.hpp>
#include <tapir/protocols/http/limits.hpp>
#include <tapir/protocols/http/message.hpp>
#include <tapir/protocols/http/problem.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace tapir::http {

class request_parser {
  public:
    /// `require_length`: see request_framing().
    explicit request_parser(const limits& l, bool require_length = true);

    /// Consumes up to the end of the head, then (called again) of the message; never a byte of the next one.
    std::size_t put(std::string_view in);
    /// The stream has ended.
    void put_end();

    /// A first byte has come.
    bool begun() const { return scanner_.begun(); }
    bool head_done() const { return head_done_; }
    bool done() const { return head_done_ && decoder_.done() && failure_ == problem::none; }
    problem failure() const { return failure_; }

    /// Whole when done(); without its body from head_done() on.
    const request& get() const { return request_; }
    /// The client waits for 100 (Continue) before it sends the body.
    bool expects_continue() const { return expects_continue_; }
    /// The connection may carry another request after this one.
    bool persists() const { return persists_; }

    /// Ready for the next request; keeps memory.
    void reset();
    /// The same, for a request that other limits apply to.
    void reset(const limits& l, bool require_length);
    /// Of memory, used or kept.
    std::size_t held_bytes() const;

  private:
    void end_of_head(std::string_view head);
    /// A start line is judged before anything that follows it, so that what is reported does not depend on
    /// how much had arrived.
    void check_start_line(std::string_view text);

    limits limits_;
    bool require_length_;
    head_scanner scanner_;
    body_decoder decoder_;
    request request_;
    std::string head_; ///< while it is not complete
    problem failure_ = problem::none;
    bool start_line_checked_ = false;
    bool head_done_ = false;
    bool expects_continue_ = false;
    bool persists_ = false;
};

} // namespace tapir::http
