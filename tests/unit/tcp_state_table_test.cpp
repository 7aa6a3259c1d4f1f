#include <tapir/protocols/tcp/path_of_states.hpp>
#include <tapir/protocols/tcp/state.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace tapir::tcp {
namespace {

using enum state;

constexpr std::array all_states = {closed,     listen,     syn_sent, syn_received, established, fin_wait_1,
                                   fin_wait_2, close_wait, closing,  last_ack,     time_wait};
static_assert(all_states.size() == state_count);

// What the specification says, written down a second time and in another form: for each state the events it
// knows and where they lead. Everything else must be illegal.
using row = std::map<event, state>;
std::map<std::pair<state, opening>, row> specification() {
    const row endings = {
        {event::rst, closed},
        {event::call_abort, closed},
        {event::timeout, closed},
        {event::host_stopped, closed},
    };
    const auto with = [&endings](row r) {
        r.insert(endings.begin(), endings.end());
        return r;
    };
    std::map<std::pair<state, opening>, row> s;
    for (const opening how : {opening::active, opening::passive}) {
        s[{closed, how}] = {{event::call_open, syn_sent}, {event::call_listen, listen}};
        s[{listen, how}] = {
            {event::rcv_syn, syn_received}, {event::call_close, closed}, {event::host_stopped, closed}};
        s[{syn_sent, how}] = with({{event::rcv_syn, syn_received},
                                   {event::rcv_syn_ack, established},
                                   {event::call_close, closed},
                                   {event::unreachable, closed}});
        s[{established, how}] = with({{event::call_close, fin_wait_1}, {event::peer_fin, close_wait}});
        s[{fin_wait_1, how}] = with({{event::our_fin_acked, fin_wait_2},
                                     {event::peer_fin, closing},
                                     {event::peer_fin_and_our_fin_acked, time_wait}});
        s[{fin_wait_2, how}] = with({{event::peer_fin, time_wait}});
        s[{close_wait, how}] = with({{event::call_close, last_ack}});
        s[{closing, how}] = with({{event::our_fin_acked, time_wait}});
        s[{last_ack, how}] = with({{event::our_fin_acked, closed}});
        s[{time_wait, how}] = {{event::time_wait_expired, closed},
                               {event::superseded, closed},
                               {event::host_stopped, closed},
                               {event::rst, time_wait}};
    }
    s[{syn_received, opening::active}] = with(
        {{event::our_syn_acked, established}, {event::call_close, fin_wait_1}, {event::unreachable, closed}});
    s[{syn_received, opening::passive}] = {{event::our_syn_acked, established},
                                           {event::rst, listen},
                                           {event::rcv_syn, listen},
                                           {event::timeout, listen},
                                           {event::unreachable, listen},
                                           {event::call_abort, closed},
                                           {event::host_stopped, closed}};
    return s;
}

TEST_CASE("every state and every event: the table says what the specification says, and nothing else") {
    const auto wanted = specification();
    for (const state from : all_states) {
        for (const opening how : {opening::active, opening::passive}) {
            const row& known = wanted.at({from, how});
            for (std::size_t i = 0; i < event_count; ++i) {
                const auto cause = static_cast<event>(i);
                INFO(name(from), " ", name(cause), how == opening::passive ? " passive" : " active");
                const auto expected = known.find(cause);
                const auto actual = next_state(from, cause, how);
                REQUIRE(actual.has_value() == (expected != known.end()));
                if (actual) CHECK(*actual == expected->second);
            }
        }
    }
}

TEST_CASE("no arc is listed twice, each names its section, and only RFC 1337 stays where it is") {
    for (std::size_t i = 0; i < arcs.size(); ++i) {
        CHECK(std::string(arcs[i].section).starts_with("RFC "));
        CHECK((arcs[i].from != arcs[i].to || arcs[i].kind == arc_kind::deviation));
        for (std::size_t j = i + 1; j < arcs.size(); ++j)
            CHECK_FALSE((arcs[i].from == arcs[j].from && arcs[i].cause == arcs[j].cause &&
                         (arcs[i].only == arcs[j].only || !arcs[i].only || !arcs[j].only)));
    }
}

std::size_t longest_from(state s, opening how) {
    std::size_t longest = 0;
    for (std::size_t i = 0; i < event_count; ++i) {
        const auto to = next_state(s, static_cast<event>(i), how);
        if (!to || *to == s || *to == listen) continue; // a fall back to LISTEN ends the incarnation
        longest = std::max(longest, 1 + (*to == closed ? 0 : longest_from(*to, how)));
    }
    return longest;
}

TEST_CASE("no life of a connection is longer than path_of_states has room for") {
    CHECK(1 + longest_from(syn_sent, opening::active) == path_of_states::longest);
    CHECK(longest_from(listen, opening::passive) == path_of_states::longest - 1);
}

TEST_CASE("what can still be entered") {
    CHECK(can_still_enter(syn_sent, time_wait));
    CHECK(can_still_enter(established, close_wait));
    CHECK(can_still_enter(fin_wait_1, closing));
    CHECK_FALSE(can_still_enter(fin_wait_2, closing));
    CHECK_FALSE(can_still_enter(close_wait, time_wait));
    CHECK_FALSE(can_still_enter(established, syn_received));
    CHECK_FALSE(can_still_enter(closed, established));
    CHECK_FALSE(can_still_enter(time_wait, established));
    CHECK(can_still_enter(time_wait, closed));
}

TEST_CASE("the drawing has one line for each arc") {
    const std::string all = draw_mermaid(true);
    CHECK(std::ranges::count(all, '\n') == static_cast<long>(arcs.size()) + 1);
    CHECK(all.find("FIN_WAIT_1 --> TIME_WAIT: peer_fin_and_our_fin_acked, RFC 9293 3.3.2 note 2") !=
          std::string::npos);
    CHECK(all.find("TIME_WAIT --> TIME_WAIT: rst, deviation, RFC 1337 3 (F1)") != std::string::npos);
    const std::string figure = draw_mermaid(false);
    CHECK(figure.find("SYN_RECEIVED --> LISTEN: rst (passive open)\n") != std::string::npos);
    CHECK(figure.find("deviation") == std::string::npos);
}

} // namespace
} // namespace tapir::tcp
