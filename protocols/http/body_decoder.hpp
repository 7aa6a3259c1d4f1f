// Frees a body of its framing, in pieces of any size, without holding any of it: the caller gets views into
// what it passed in.
//
//     while (!in.empty() && !decoder.done() && decoder.failure() == problem::none) {
//         std::string_view piece;
//         in.remove_prefix(decoder.put(in, piece));
//         body += piece;
//     }
#pragma once

#include <tapir/protocols/http/framing.hpp>
#include <tapir/protocols/http/limits.hpp>
#include <tapir/protocols/http/problem.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tapir::http {

class body_decoder {
  public:
    /// No body: done at once.
    body_decoder() = default;
    body_decoder(framing f, const limits& l);

    /// Consumes up to the end of one piece of the body, the end of the body, or the byte that breaks it.
    std::size_t put(std::string_view in, std::string_view& piece);
    /// The stream has ended: the end of a body until close, problem::incomplete for any other.
    void put_end();

    bool done() const { return state_ == state::done; }
    problem failure() const { return failure_; }

  private:
    enum class state : std::uint8_t {
        data,
        until_close,
        size_begin, // no digit yet
        size,       // at least one
        before_ext, // white space after the size
        extension,
        size_lf,
        chunk_data,
        data_cr,
        data_lf,
        trailer_begin, // at the start of a line
        trailer_name,
        trailer_value,
        trailer_lf,
        end_lf,
        done,
    };
    void step(char c);
    void end_of_size_line();
    void spend(problem on_overflow);

    state state_ = state::done;
    problem failure_ = problem::none;
    std::uint64_t left_ = 0;   ///< of the body, or of the chunk
    std::uint64_t budget_ = 0; ///< of limits::body_bytes
    std::size_t overhead_ = 0; ///< of limits::chunk_overhead_bytes
};

} // namespace tapir::http
