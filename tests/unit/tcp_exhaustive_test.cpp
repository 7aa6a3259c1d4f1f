// Every state, every kind of segment, every place in and out of the windows: what the code makes of it
// against what RFC 9293 section 3.10.7 says (tcp_oracle.hpp). A difference prints the state, the segment and
// both.

#include <doctest/doctest.h>

#include <array>
#include <cstdio>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/support/sanitized.hpp"
#include "tests/unit/tcp_arcs.hpp"
#include "tests/unit/tcp_oracle.hpp"
#include "tests/unit/tcp_specimen.hpp"

namespace tapir::test {
namespace {

using oracle::offset;
using tcp::opening;
using tcp::state;

constexpr std::array kinds = {
    specimen_kind{"CLOSED: nobody", state::closed},
    specimen_kind{"LISTEN", state::listen},
    specimen_kind{"SYN_SENT", state::syn_sent},
    specimen_kind{"SYN_RECEIVED, active", state::syn_received},
    specimen_kind{"SYN_RECEIVED, passive", state::syn_received, opening::passive},
    specimen_kind{"ESTABLISHED", state::established},
    specimen_kind{"ESTABLISHED, window shut", state::established, opening::passive, false, true},
    specimen_kind{"ESTABLISHED, a hole", state::established, opening::passive, false, false, true, true},
    specimen_kind{"ESTABLISHED, a hole before a FIN", state::established, opening::active, false, false, true,
                  true, true},
    specimen_kind{"FIN_WAIT_1", state::fin_wait_1},
    specimen_kind{"FIN_WAIT_1, window shut", state::fin_wait_1, opening::active, false, true},
    specimen_kind{"FIN_WAIT_1, a hole before a FIN", state::fin_wait_1, opening::passive, false, false, true,
                  true, true},
    specimen_kind{"FIN_WAIT_1 after close()", state::fin_wait_1, opening::passive, false, false, false},
    specimen_kind{"FIN_WAIT_2", state::fin_wait_2, opening::passive},
    specimen_kind{"FIN_WAIT_2, window shut", state::fin_wait_2, opening::active, false, true},
    specimen_kind{"FIN_WAIT_2 after close()", state::fin_wait_2, opening::active, false, false, false},
    specimen_kind{"CLOSE_WAIT", state::close_wait, opening::passive},
    specimen_kind{"CLOSE_WAIT, window shut", state::close_wait, opening::active, false, true},
    specimen_kind{"CLOSING", state::closing},
    specimen_kind{"CLOSING, window shut", state::closing, opening::passive, false, true},
    specimen_kind{"LAST_ACK", state::last_ack},
    specimen_kind{"LAST_ACK, window shut", state::last_ack, opening::passive, false, true},
    specimen_kind{"TIME_WAIT", state::time_wait},
    specimen_kind{"TIME_WAIT, somebody listens", state::time_wait, opening::passive, true},
};

// Both windows lie across 2^32; both lie across 2^31. (A few bytes before, so that states that have received
// a window full of text reach it as well.)
constexpr std::array circles = {numbers{0xfffffffau, 0xffffffd0u}, numbers{0x7ffffffau, 0x7fffffd0u}};

constexpr std::uint16_t segment_window = 500; // another than before: it shows whether it is believed
constexpr offset far = 0x7fff0000;            // nearly half of the circle

/// Places of a segment of `length` in the circle: left of the window, across its left edge, in it, across its
/// right edge, beyond. `window` is RCV.WND.
std::set<offset> places(offset window, offset length) {
    std::set<offset> at = {-far,       -70000,     -window - 1, -1,         0,     1,
                           window / 2, window - 1, window,      window + 1, 70000, far};
    at.insert({-length - 1, -length, -length + 1, -length / 2}); // ends left of it, at it, with a byte in it
    at.insert(
        {window - length, window - length + 1, window - length - 1}); // ends at the edge, over it, before
    at.insert({8, 10, 12, 15}); // a hole, what is held beyond it, and where that ends
    return at;
}

std::set<offset> acknowledgements(const oracle::connection& c) {
    return {-far,
            -70000,
            -c.max_send_window - 1,
            -c.max_send_window,
            -1,
            0,
            c.in_flight / 2,
            c.in_flight - 1,
            c.in_flight,
            c.in_flight + 1,
            70000,
            far};
}

const std::set<offset> nothing = {0}; ///< the ACK field of a segment without ACK

// Sanitizers make it ten times slower; then one in five is tried, on either circle in turn.
constexpr std::size_t one_in = sanitized ? 7 : 1;
static_assert(one_in % circles.size() == 1);

struct tally {
    std::size_t ran = 0;
    std::size_t wrong = 0;
    std::size_t turn = 0;
    std::set<std::string> seen{};

    void meet(const specimen_kind& kind, bool timestamps, const oracle::segment& s, buffer_pool& pool) {
        for (const numbers& n : circles)
            if (turn++ % one_in == 0) meet_on(n, kind, timestamps, s, pool);
    }
    /// Builds the connection, lets the segment arrive and compares.
    void meet_on(const numbers& n, const specimen_kind& kind, bool timestamps, const oracle::segment& s,
                 buffer_pool& pool) {
        specimen one(kind, n, timestamps, pool);
        const oracle::outcome expected = oracle::segment_arrives(one.before(), s);
        one.arrives(s);
        ++ran;
        for (const tcp::edge& e : one.edges()) walked_arcs().add(e, kind.how);
        const std::string different = one.differences(expected);
        if (different.empty()) return;
        ++wrong;
        constexpr std::size_t shown = 40;
        // Of each state the first of each difference.
        if (seen.size() < shown && seen.insert(std::string(kind.name) + different).second)
            FAIL_CHECK(kind.name << ": " << to_string(one.before()) << "\n  gets     " << to_string(s)
                                 << "\n  expected " << to_string(expected) << "\n  but      " << different);
    }
};

void report(const char* what, const tally& t) {
    std::printf("exhaustive, %s: %zu combinations, %zu differ\n", what, t.ran, t.wrong);
    CHECK(t.wrong == 0);
    CHECK(t.ran > 100'000 / one_in);
}

oracle::connection facts(const specimen_kind& kind, bool timestamps, buffer_pool& pool) {
    return specimen(kind, circles[0], timestamps, pool).before();
}

/// f(flags) for every combination of the bits in `mask`.
template <class F>
void each_combination(tcp::flags mask, F f) {
    const auto all = static_cast<unsigned>(mask);
    for (unsigned bits = 0; bits <= all; ++bits)
        if ((bits & ~all) == 0) f(static_cast<tcp::flags>(bits));
}

constexpr tcp::flags four = tcp::flags::fin | tcp::flags::syn | tcp::flags::rst | tcp::flags::ack;

} // namespace

TEST_CASE("exhaustive: every state x every segment x every place in and out of the windows") {
    buffer_pool pool;
    tally t;
    for (const specimen_kind& kind : kinds) {
        CAPTURE(kind.name);
        const oracle::connection c = facts(kind, false, pool);
        each_combination(four | tcp::flags::psh | tcp::flags::urg, [&](tcp::flags f) {
            oracle::segment s;
            s.flags = f;
            s.window = segment_window;
            for (const offset text : {offset{0}, offset{10}, offset{specimen::window + 30}}) {
                s.text = text;
                for (const offset at : places(c.window, s.length())) {
                    s.seq = at;
                    for (const offset ack : s.has(tcp::flags::ack) ? acknowledgements(c) : nothing) {
                        s.ack = ack;
                        t.meet(kind, false, s, pool);
                    }
                }
            }
        });
    }
    report("without options", t);
}

TEST_CASE("exhaustive: every state x every segment x timestamps that are missing, old, the same and new") {
    buffer_pool pool; // [RFC 7323 3.2, 5.3] [RFC 6191 2]
    tally t;
    const std::array<std::optional<offset>, 6> stamps = {std::nullopt, -far, -1, 0, 1, far};
    for (const specimen_kind& kind : kinds) {
        CAPTURE(kind.name);
        const oracle::connection c = facts(kind, true, pool);
        each_combination(four, [&](tcp::flags f) {
            oracle::segment s;
            s.flags = f;
            s.window = segment_window;
            for (const offset text : {offset{0}, offset{10}}) {
                s.text = text;
                for (const offset at : places(c.window, s.length())) {
                    s.seq = at;
                    for (const offset ack : s.has(tcp::flags::ack)
                                                ? std::set<offset>{0, c.in_flight, c.in_flight + 1}
                                                : nothing) {
                        s.ack = ack;
                        for (const auto& stamp : stamps) {
                            s.stamp = stamp;
                            t.meet(kind, true, s, pool);
                        }
                    }
                }
            }
        });
    }
    report("with timestamps", t);
}

} // namespace tapir::test
