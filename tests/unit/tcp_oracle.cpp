#include "tests/unit/tcp_oracle.hpp"

#include <algorithm>

namespace tapir::test::oracle {

namespace {

constexpr auto FIN = tcp::flags::fin;
constexpr auto SYN = tcp::flags::syn;
constexpr auto RST = tcp::flags::rst;
constexpr auto ACK = tcp::flags::ack;
using tcp::event;
using tcp::state;

/// A segment that belongs to nothing. [RFC 9293 3.10.7.1]
void reset(outcome& o, const segment& s) {
    if (s.has(RST)) return;
    if (s.has(ACK)) {
        o.reply = answer::rst;
        o.seq = s.ack;
    } else {
        o.reply = answer::rst_ack;
        o.seq_from = origin::zero;
        o.ack = s.seq + s.length();
    }
}

void say(outcome& o, answer kind, offset seq, offset ack) {
    o.reply = kind;
    o.seq = seq;
    o.ack = ack;
}

outcome nobody(const segment& s) { // [RFC 9293 3.10.7.1]
    outcome o;
    o.discarded = true;
    reset(o, s);
    return o;
}

outcome listen(const segment& s) { // [RFC 9293 3.10.7.2]
    outcome o;
    if (s.has(RST)) { // first
        o.discarded = true;
    } else if (s.has(ACK)) { // second
        o.discarded = true;
        reset(o, s);
    } else if (s.has(SYN)) { // third; text and FIN may be dropped, being unacknowledged they come again
        o.events = {event::rcv_syn};
        o.reply = answer::syn_ack;
        o.seq_from = origin::fresh;
        o.ack = s.seq + 1;
    } else { // fourth: "should not be possible"
        o.discarded = true;
    }
    return o;
}

outcome syn_sent(const connection& c, const segment& s) { // [RFC 9293 3.10.7.3]
    outcome o;
    o.discarded = true;
    o.send_window = c.send_window;
    if (s.has(ACK) && (s.ack <= 0 || s.ack > c.in_flight)) { // first
        reset(o, s);
        return o;
    }
    if (s.has(RST)) { // second
        if (s.has(ACK)) {
            o.discarded = false;
            o.events = {event::rst};
            o.error = failure::refused;
        }
        return o;
    }
    if (!s.has(SYN)) return o; // fifth
    o.discarded = false;       // fourth
    o.send_window = s.window;
    if (!s.has(ACK)) {
        o.events = {event::rcv_syn};
        say(o, answer::syn_ack, 0, s.seq + 1);
        return o;
    }
    o.acked = s.ack;
    o.events = {event::rcv_syn_ack};
    const offset room = c.window;
    o.delivered = std::min(s.text, room);
    offset rcv_nxt = s.seq + 1 + o.delivered;
    if (s.has(FIN) && s.text <= room) {
        o.events.push_back(event::peer_fin);
        rcv_nxt += 1;
    }
    say(o, answer::ack, c.in_flight, rcv_nxt);
    return o;
}

/// Step one. [RFC 9293 3.4, the four cases]
bool acceptable(const connection& c, const segment& s) {
    const offset length = s.length();
    const auto inside = [&](offset at) { return 0 <= at && at < c.window; };
    // Deviation: an empty segment may stand at the right edge itself. Whoever has filled our window, and lost
    // some of it, speaks from there, and so does its RST.
    if (length == 0) return inside(s.seq) || s.seq == c.window;
    // "special allowance should be made to accept valid ACKs, URGs, and RSTs" when the window is shut
    // [MUST-66]; a FIN without text takes no room, so that a shut window keeps nobody from closing.
    if (c.window == 0) return s.seq == 0;
    return inside(s.seq) || inside(s.seq + length - 1);
}

/// Steps seven and eight where text is still to be expected. Returns whether the peer's FIN is reached.
bool text_and_fin(const connection& c, const segment& s, outcome& o, offset snd_nxt) {
    o.held = static_cast<offset>(c.held.count());
    if (s.length() == 0) return false;
    const offset begin = std::max<offset>(s.seq, 0);
    const offset end = std::min(s.seq + s.text, c.window);
    const bool cut = s.seq + s.text > c.window;
    say(o, answer::ack, snd_nxt, 0);

    if (c.peer_fin && end > *c.peer_fin) return false; // it said it would end earlier: nothing of it counts
    if (!c.reader && end > begin) {                    // [RFC 2525 2.17] [RFC 9293 3.6.1 SHLD-3]
        o.events = {event::call_abort};
        o.error = failure::aborted;
        // The highest that the peer's window admits: it believes a RST only at RCV.NXT. [RFC 5961 3.2]
        say(o, answer::rst, std::min(snd_nxt, o.acked + std::max<offset>(o.send_window, 1)), 0);
        return false;
    }
    std::bitset<largest_window> have = c.held;
    for (offset at = begin; at < end; ++at) have.set(static_cast<std::size_t>(at));
    std::optional<offset> fin = c.peer_fin;
    if (!fin && s.has(FIN) && !cut && s.seq + s.text >= 0) {
        // Of two that contradict each other the first counts: text held beyond a FIN makes it a lie.
        const auto at = static_cast<std::size_t>(s.seq + s.text);
        if ((c.held >> at).none()) fin = s.seq + s.text;
    }
    offset next = 0;
    while (have.test(static_cast<std::size_t>(next))) ++next;
    o.delivered = next;
    o.held = static_cast<offset>(have.count()) - next;
    const bool reached = fin && *fin == next;
    o.ack = next + (reached ? 1 : 0);
    return reached;
}

outcome synchronized(const connection& c, segment s) { // [RFC 9293 3.10.7.4]
    outcome o;
    o.discarded = true;
    o.send_window = c.send_window;
    o.held = static_cast<offset>(c.held.count());
    const bool half_open = c.state == state::syn_received && c.how == tcp::opening::passive;

    // Deviation: the SYN again means that our SYN|ACK was lost, and draws it rather than an ACK.
    if (half_open && s.has(SYN) && !s.has(ACK) && !s.has(RST) && s.seq == -1) {
        o.discarded = false;
        say(o, answer::syn_ack, 0, 0);
        return o;
    }
    // In a simultaneous open the SYN of the peer's SYN|ACK is known already. [figure 8]
    if (c.state == state::syn_received && !half_open && s.has(SYN) && s.has(ACK) && !s.has(RST) &&
        s.seq == -1) {
        s.flags = static_cast<tcp::flags>(static_cast<unsigned>(s.flags) & ~static_cast<unsigned>(SYN));
        s.seq = 0;
    }

    // Deviation: a table entry does not answer what is empty and fits nowhere. Two of them that agree on
    // nothing (two forged SYNs make them) would answer each other's answers for ever.
    const bool unheard = half_open && s.length() == 0;
    if (c.stamped && !s.has(RST)) {
        if (!s.stamp) return o; // [RFC 7323 3.2]
        if (*s.stamp < 0) {     // [RFC 7323 5.3 R1]
            if (!unheard) say(o, answer::ack, c.in_flight, 0);
            return o;
        }
    }
    if (!acceptable(c, s)) { // first
        if (!s.has(RST) && !unheard) say(o, answer::ack, c.in_flight, 0);
        return o;
    }
    if (s.has(RST)) { // second [RFC 5961 3.2]
        if (s.seq != 0) {
            say(o, answer::challenge_ack, c.in_flight, 0);
            return o;
        }
        o.discarded = false;
        o.events = {event::rst};
        if (!half_open) o.error = c.state == state::syn_received ? failure::refused : failure::reset;
        return o;
    }
    if (s.has(SYN)) { // fourth
        if (half_open)
            o.events = {event::rcv_syn}; // "return this connection to the LISTEN state"
        else
            say(o, answer::challenge_ack, c.in_flight, 0); // [RFC 5961 4]
        return o;
    }
    if (!s.has(ACK)) return o; // fifth
    if (c.state == state::syn_received) {
        if (s.ack <= 0 || s.ack > c.in_flight) {
            reset(o, s);
            return o;
        }
        o.events = {event::our_syn_acked};
    } else if (s.ack > c.in_flight || s.ack < -c.max_send_window) { // [RFC 5961 5]
        say(o, answer::challenge_ack, c.in_flight, 0);
        return o;
    }
    o.discarded = false;
    o.acked = std::max<offset>(s.ack, 0);
    if (c.state == state::syn_received) o.send_window = s.window; // whatever came before
    // Deviation: a higher SEG.ACK was sent later and counts wherever its segment stands: a segment sent again
    // may be the only one to tell that the window has opened.
    else if (s.ack >= 0 && (c.wl2 < s.ack || c.wl1 < s.seq || (c.wl1 == s.seq && c.wl2 <= s.ack)))
        o.send_window = s.window;
    const bool fin_acked = c.fin_sent && !c.fin_acked && o.acked == c.in_flight;

    const bool text_expected = c.state == state::syn_received || c.state == state::established ||
                               c.state == state::fin_wait_1 || c.state == state::fin_wait_2;
    bool peer_fin = false;
    if (text_expected) { // seventh, eighth
        peer_fin = text_and_fin(c, s, o, c.in_flight);
        if (o.error != failure::none) return o;
    } else if (s.length() != 0) { // "Ignore the segment text", but say where we stand
        say(o, answer::ack, c.in_flight, 0);
    }
    switch (c.state) {
    case state::syn_received:
    case state::established:
        if (peer_fin) o.events.push_back(event::peer_fin);
        break;
    case state::fin_wait_1:
        if (fin_acked && peer_fin)
            o.events = {event::peer_fin_and_our_fin_acked};
        else if (fin_acked)
            o.events = {event::our_fin_acked};
        else if (peer_fin)
            o.events = {event::peer_fin};
        break;
    case state::fin_wait_2:
        if (peer_fin) o.events = {event::peer_fin};
        break;
    case state::closing:
        if (fin_acked) o.events = {event::our_fin_acked};
        break;
    case state::last_ack:
        if (fin_acked) { // nobody is left to answer
            o.events = {event::our_fin_acked};
            o.reply = answer::none;
        }
        break;
    default: break;
    }
    return o;
}

outcome time_wait(const connection& c, const segment& s) {
    outcome o;
    if (s.has(RST)) { // deviation [RFC 1337 3 F1]
        o.discarded = true;
        o.events = {event::rst};
        return o;
    }
    const bool stamped = c.stamped && s.stamp;
    const bool old = stamped && *s.stamp < 0;       // [RFC 7323 5.3 R1]
    if (s.has(SYN) && !s.has(ACK) && c.listening) { // [RFC 6191 2]
        const bool newer = stamped ? *s.stamp > 0 || (*s.stamp == 0 && s.seq > 0) : s.seq > 0;
        if (newer) {
            o.events = {event::superseded, event::rcv_syn};
            o.reply = answer::syn_ack;
            o.seq_from = origin::fresh;
            o.ack = s.seq + 1;
            return o;
        }
    }
    o.discarded = old;
    // The window is shut, so that nothing is acceptable but what is empty and stands at RCV.NXT, and that
    // says nothing new. Deviation, for the same reason as in SYN_RECEIVED: other empty segments draw no
    // answer.
    if (s.length() == 0) return o;
    say(o, answer::ack, c.in_flight, 0);
    // "The only thing that can arrive in this state is a retransmission of the remote FIN."
    o.restarts_time_wait = s.has(FIN) && s.has(ACK) && !s.has(SYN) && s.seq + s.length() == 0 && !old;
    return o;
}

std::string text(offset n) {
    return n >= 0 ? "+" + std::to_string(n) : std::to_string(n);
}

} // namespace

outcome segment_arrives(const connection& c, const segment& s) {
    switch (c.state) {
    case state::closed: return nobody(s);
    case state::listen: return listen(s);
    case state::syn_sent: return syn_sent(c, s);
    case state::time_wait: return time_wait(c, s);
    default: return synchronized(c, s);
    }
}

std::string to_string(const connection& c) {
    std::string t(tcp::name(c.state));
    if (c.state == state::syn_received) t += c.how == tcp::opening::active ? " (active)" : " (passive)";
    t += ", in flight " + std::to_string(c.in_flight) + (c.fin_sent ? " with FIN" : "") + ", RCV.WND " +
         std::to_string(c.window);
    if (c.held.any()) t += ", " + std::to_string(c.held.count()) + " bytes beyond a hole";
    if (c.peer_fin) t += ", peer's FIN at " + text(*c.peer_fin);
    if (!c.reader) t += ", nobody reads";
    if (c.stamped) t += ", timestamps";
    return t;
}

std::string to_string(const segment& s) {
    std::string t = tcp::to_string(s.flags) + " SEG.SEQ = RCV.NXT" + text(s.seq);
    if (s.has(ACK)) t += " SEG.ACK = SND.UNA" + text(s.ack);
    t += " text " + std::to_string(s.text);
    if (s.stamp) t += " TSval = TS.Recent" + text(*s.stamp);
    return t;
}

std::string to_string(const outcome& o) {
    std::string t;
    for (const event e : o.events) t += std::string(tcp::name(e)) + ", ";
    if (o.discarded) t += "discarded, ";
    constexpr const char* replies[] = {"no answer", "ACK", "challenge ACK", "RST", "RST|ACK", "SYN|ACK"};
    constexpr const char* origins[] = {"SND.UNA", "0", "fresh"};
    t += replies[static_cast<std::size_t>(o.reply)];
    if (o.reply != answer::none)
        t += std::string(" seq ") + origins[static_cast<std::size_t>(o.seq_from)] + text(o.seq) +
             " ack RCV.NXT" + text(o.ack);
    t += ", " + std::to_string(o.delivered) + " bytes delivered, " + std::to_string(o.held) + " held, " +
         std::to_string(o.acked) + " acknowledged, SND.WND " + std::to_string(o.send_window);
    constexpr const char* failures[] = {"", ", refused", ", reset", ", aborted"};
    t += failures[static_cast<std::size_t>(o.error)];
    if (o.restarts_time_wait) t += ", TIME_WAIT starts anew";
    return t;
}

} // namespace tapir::test::oracle
