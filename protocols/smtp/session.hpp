// The server's side of one SMTP conversation (RFC 5321) as a plain object: what the client sends goes in,
// replies and messages come out. It reads nothing, waits for nothing and knows no clock; server.hpp does.
//
//     smtp::text_memory texts;                            // of all sessions
//     smtp::session s(config, "192.0.2.1:40000", texts);
//     s.greet();
//     std::size_t used = s.put(input);                    // stops behind a whole message
//     write(s.take_replies());
//     if (s.waits_for() == smtp::expecting::verdict) s.decide(keep(s.received()));
//
// Commands may come many at once (RFC 2920): replies gather until they are taken.
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/protocols/smtp/command.hpp>
#include <tapir/protocols/smtp/config.hpp>
#include <tapir/protocols/smtp/message.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tapir::smtp {

enum class expecting : std::uint8_t {
    command,
    text,    ///< of a message, after 354
    verdict, ///< a message is whole: decide() what becomes of it
    nothing, ///< it is over: take the replies, and close
};

/// The memory that the messages of all sessions take, config::total_message_bytes at most. It must outlive
/// them.
class text_memory {
  public:
    std::size_t held() const { return held_; }
    /// Whether `bytes` more fit below `limit`; then they are taken.
    bool take(std::size_t bytes, std::size_t limit) {
        if (bytes > limit - std::min(limit, held_)) return false;
        held_ += bytes;
        return true;
    }
    void give_back(std::size_t bytes) { held_ -= bytes; }

  private:
    std::size_t held_ = 0;
};

class session {
  public:
    session(const config& c, std::string client, text_memory& of_all);
    session(const session&) = delete;
    session& operator=(const session&) = delete;
    ~session() { drop_text(); }

    /// 220. Once, before anything else.
    void greet();
    /// Takes what the client has sent, and returns how much of it: all, unless a message is whole or the
    /// session is over.
    std::size_t put(bytes input);
    expecting waits_for() const { return expecting_; }
    /// The message that waits for its verdict.
    const message& received() const { return message_; }
    void decide(const result<>& taken);

    /// 421: the client was too slow.
    void time_out();
    /// 421: we are ending. [RFC 5321 3.8]
    void shut_down();
    /// 421: there are too many others.
    void refuse();

    /// What is to be sent now; empty afterwards.
    std::string take_replies() { return std::exchange(replies_, std::string()); }

    struct counters {
        std::size_t messages = 0; ///< taken, by decide()
        std::size_t refused = 0;  ///< messages that came whole and were answered with an error
        std::size_t errors = 0;   ///< commands answered with 5xx
    };
    const counters& counted() const { return count_; }

  private:
    void reply(std::string_view code_and_text);
    /// A 5xx: too many of them end the session.
    void reply_error(std::string_view code_and_text);
    void end(std::string_view code_and_text);
    void reset();

    void command_line(std::string_view line);
    void on_ehlo(std::string_view argument);
    void on_helo(std::string_view argument);
    void on_mail(std::string_view argument);
    void on_rcpt(std::string_view argument);
    void on_data(std::string_view argument);

    void put_command_byte(char c);
    void put_text_byte(char c);
    void text_line();
    void end_of_text();
    /// The message will be refused: nothing of it needs to be kept.
    bool is_doomed() const { return too_large_ || bad_line_ || bare_break_ || no_room_; }
    void keep(std::string_view line);
    void drop_text();

    const config& config_;
    text_memory& of_all_;
    std::size_t charged_ = 0; ///< to of_all_, for message_.text
    expecting expecting_ = expecting::command;
    bool extended_ = false; ///< EHLO, not HELO
    bool in_mail_ = false;  ///< between MAIL and the end of its transaction
    message message_;
    std::string line_;        ///< what has come of a line, CR included
    bool too_long_ = false;   ///< the line is; the rest of it is thrown away
    bool bare_break_ = false; ///< a CR or LF that stood alone has come, in the line or in the message
    bool bad_line_ = false;   ///< some line of the message was too long
    bool too_large_ = false;  ///< the message is; the rest of it is thrown away
    bool no_room_ = false;    ///< the messages of all sessions take what they may
    std::size_t text_bytes_ = 0;
    std::size_t messages_begun_ = 0;
    std::string replies_;
    counters count_;
};

} // namespace tapir::smtp
