// RFC 9293 section 3.10.7 written down a second time, as a model of one segment that meets one connection. It
// knows nothing of the code it judges but the names of states and events. It counts on a line where the code
// counts on a circle: every number is an offset, SEG.SEQ from RCV.NXT and SEG.ACK from SND.UNA.
//
//     const outcome expected = segment_arrives(connection, segment);
//
// Where tapir does something else than RFC 9293 the model says so by "deviation", with the reason.
#pragma once

#include <tapir/protocols/tcp/header.hpp>
#include <tapir/protocols/tcp/state.hpp>

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tapir::test::oracle {

using offset = std::int64_t;
inline constexpr std::size_t largest_window = 128;

/// The connection before the segment. Nobody (CLOSED) and LISTEN have no numbers: there offsets count from
/// wherever the test likes.
struct connection {
    tcp::state state = tcp::state::closed;
    tcp::opening how = tcp::opening::active;
    bool listening =
        false; ///< somebody listens at the port: what a TIME_WAIT that is superseded falls back to

    offset in_flight = 0;   ///< SND.NXT - SND.UNA, SYN and FIN counted
    bool fin_sent = false;  ///< then it is the last of what is in flight, or acknowledged
    bool fin_acked = false; ///< our FIN is below SND.UNA
    offset send_window = 0; ///< SND.WND
    offset max_send_window = 0;
    offset wl1 = 0; ///< SND.WL1, from RCV.NXT
    offset wl2 = 0; ///< SND.WL2, from SND.UNA

    offset window = 0;                ///< RCV.WND: the right edge that was ever offered
    bool reader = true;               ///< false after close(): new text draws a RST
    bool stamped = false;             ///< timestamps were agreed on
    std::bitset<largest_window> held; ///< text beyond a hole
    std::optional<offset> peer_fin{}; ///< a FIN beyond a hole
};

struct segment {
    tcp::flags flags = tcp::flags::none;
    offset seq = 0;
    offset ack = 0;
    offset text = 0; ///< bytes
    std::uint16_t window = 0;
    std::optional<offset> stamp{}; ///< TSval, from TS.Recent

    bool has(tcp::flags f) const { return tcp::has(flags, f); }
    offset length() const { return text + (has(tcp::flags::syn) ? 1 : 0) + (has(tcp::flags::fin) ? 1 : 0); }
};

enum class answer : std::uint8_t { none, ack, challenge_ack, rst, rst_ack, syn_ack };
/// What an answer's sequence number is counted from.
enum class origin : std::uint8_t {
    snd_una,
    zero,  ///< the number 0 itself [RFC 9293 3.10.7.1]
    fresh, ///< an initial sequence number; after TIME_WAIT above all that was used
};
enum class failure : std::uint8_t { none, refused, reset, aborted };

struct outcome {
    std::vector<tcp::event> events{}; ///< in order; each must be an arc of the table
    answer reply = answer::none;      ///< one segment draws one answer at most
    origin seq_from = origin::snd_una;
    offset seq = 0;
    offset ack = 0;
    bool discarded = false; ///< steps one to five end it: a counter must tell why
    offset delivered = 0;   ///< bytes that the user can read more than before
    offset held = 0;        ///< bytes kept beyond a hole
    offset acked = 0;       ///< how far SND.UNA moves
    offset send_window = 0;
    failure error = failure::none;
    bool restarts_time_wait = false;
};

outcome segment_arrives(const connection& c, const segment& s);

std::string to_string(const connection& c);
std::string to_string(const segment& s);
std::string to_string(const outcome& o);

} // namespace tapir::test::oracle
