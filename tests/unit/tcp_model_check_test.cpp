// A bounded model check: two TCPs, a network that loses, repeats and reorders, and users that open, send,
// read, half-close, close and abort, in every order that can be. Each state that any run can come to is
// visited once; in each the properties of tcp_model.cpp hold, and from each the connection can still end in
// order.
//
// It prints how many states there are. One fault more in each run takes minutes and gigabytes; less is for
// who waits:  TAPIR_MODEL_MORE_FAULTS=1 ./run tests model
// What another compiler or a sanitizer makes of them shows in the first states of each number of faults:
// TAPIR_MODEL_STATES=2000 goes no further.

#include <doctest/doctest.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/support/sanitized.hpp"
#include "tests/unit/tcp_model.hpp"

namespace tapir::test {
namespace {

using namespace model;

std::size_t number_of(const char* variable, std::size_t otherwise) {
    const char* text = std::getenv(variable);
    if (text == nullptr) return otherwise;
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), number);
    if (error != std::errc() || *end != 0)
        throw std::invalid_argument(std::string(variable) + " is no number: " + text);
    return number;
}

/// Sanitizers make it ten times slower.
std::size_t most_states() {
    static const std::size_t most =
        number_of("TAPIR_MODEL_STATES", sanitized ? 2000 : std::numeric_limits<std::uint32_t>::max());
    return most;
}

/// First all states that are reached without a fault, then those with one, and so on: a state that was met
/// with fewer faults behind it has more before it, and need not be followed again.
class exploration {
  public:
    explicit exploration(const rules& r) : rules_(r) {}

    void run() {
        auto first = again();
        may_reach_ = most_states();
        meet(first->digest(), {});
        follow(std::move(first), 0);
        for (unsigned faults = 0; failure_.empty(); ++faults) {
            states_.push_back(reached_by_.size());
            if (faults == rules_.fault_budget) break;
            const std::vector<branch> now = std::exchange(later_, {});
            may_reach_ = reached_by_.size() + most_states();
            for (std::size_t i = 0; i < now.size() && goes_on(); ++i) {
                path_to(now[i].from);
                auto here = again();
                go_on(std::move(here), now[i].from, now[i].by);
            }
        }
        if (failure_.empty() && whole()) check_ends_can_be_reached();
        print();
        if (!failure_.empty()) FAIL_CHECK(rules_.name << ": " << failure_);
        CHECK(ends_ != 0);
    }

    /// Whether every state that there is was met.
    bool whole() const { return whole_; }

  private:
    struct branch {
        std::uint32_t from; ///< a state
        step by;
    };

    bool goes_on() {
        whole_ = whole_ && reached_by_.size() < may_reach_;
        return failure_.empty() && reached_by_.size() < may_reach_;
    }

    /// A machine cannot be copied: it is made anew and goes the same way.
    std::unique_ptr<machine> again() {
        auto m = std::make_unique<machine>(rules_, pool_);
        for (const step s : path_) m->take(s);
        return m;
    }

    void path_to(std::uint32_t id) {
        path_.clear();
        for (; id != 0; id = reached_by_[id].from) path_.push_back(reached_by_[id].by);
        std::ranges::reverse(path_);
    }

    /// Whether the state is new; and its number.
    std::pair<std::uint32_t, bool> meet(std::uint64_t digest, branch by) {
        const auto [at, fresh] = seen_.emplace(digest, static_cast<std::uint32_t>(reached_by_.size()));
        if (fresh) reached_by_.push_back(by);
        return {at->second, fresh};
    }

    void follow(std::unique_ptr<machine> here, std::uint32_t id) {
        std::vector<step> choices;
        std::vector<step> faults;
        here->choices(choices, faults);
        for (const step s : faults) later_.push_back({id, s});
        longest_ = std::max(longest_, path_.size());
        latest_ = std::max(latest_, here->elapsed());
        const bool end = std::ranges::all_of(choices, [](step s) { return may_never_happen(s.what); });
        const std::string wrong = here->violation(end);
        if (!wrong.empty()) return fail(wrong);
        if (end) {
            ++ends_;
            ending_.push_back(id);
        }
        for (std::size_t i = 0; i < choices.size() && goes_on(); ++i)
            go_on(i + 1 == choices.size() ? std::move(here) : again(), id, choices[i]);
    }

    /// `here` has gone `path_`, and takes one more step.
    void go_on(std::unique_ptr<machine> here, std::uint32_t id, step s) {
        const std::size_t edges = here->edges().size();
        path_.push_back(s);
        here->take(s);
        ++steps_;
        for (std::size_t e = edges; e < here->edges().size(); ++e)
            walked_arcs().add(here->edges()[e].first, here->edges()[e].second);
        const auto [to, fresh] = meet(here->digest(), {id, s});
        if (leads_to_an_end(s)) into_.emplace_back(to, id);
        if (fresh) follow(std::move(here), to);
        if (failure_.empty()) path_.pop_back();
    }

    static bool may_never_happen(act what) {
        return what == act::stop || what == act::unlisten || what == act::unreachable || what == act::cut;
    }
    /// What may be counted on: faults stop, and users close; they abort only where that is all they can do.
    bool leads_to_an_end(step s) const {
        if (s.what != act::abort) return !may_never_happen(s.what) && !is_fault(s.what);
        const auto& calls = rules_.calls[s.who];
        return std::ranges::none_of(calls, [](act c) { return c == act::finish || c == act::close; });
    }

    /// No state from which there is no way to an end, however kind the network and the users are.
    void check_ends_can_be_reached() {
        std::ranges::sort(into_);
        std::vector<bool> reaches(reached_by_.size());
        std::vector<std::uint32_t> todo = ending_;
        for (const std::uint32_t id : todo) reaches[id] = true;
        while (!todo.empty()) {
            const std::uint32_t id = todo.back();
            todo.pop_back();
            auto at = std::ranges::lower_bound(into_, std::pair(id, std::uint32_t{0}));
            for (; at != into_.end() && at->first == id; ++at) {
                if (reaches[at->second]) continue;
                reaches[at->second] = true;
                todo.push_back(at->second);
            }
        }
        const auto stuck = std::ranges::find(reaches, false);
        if (stuck == reaches.end()) return;
        path_to(static_cast<std::uint32_t>(stuck - reaches.begin()));
        fail(std::to_string(std::ranges::count(reaches, false)) +
             " states from which nothing leads to an end, one");
    }

    void fail(const std::string& wrong) {
        machine shown(rules_, pool_);
        shown.keep_ladder();
        for (const step s : path_) shown.take(s);
        failure_ = wrong + " after\n" + shown.ladder();
    }

    void print() const {
        std::string by_faults;
        for (std::size_t i = 0; i < states_.size(); ++i)
            by_faults += (i == 0 ? "" : ", ") + std::to_string(states_[i]) + " by " + std::to_string(i);
        std::printf(
            "model \"%s\": %zu states%s (%s faults), %zu steps, %zu ends, longest run %zu steps, %lld s\n",
            rules_.name.c_str(), reached_by_.size(), whole() ? "" : " and there are more", by_faults.c_str(),
            steps_, ends_, longest_, static_cast<long long>(latest_ / std::chrono::seconds(1)));
    }

    const rules& rules_;
    buffer_pool pool_;
    std::unordered_map<std::uint64_t, std::uint32_t> seen_; ///< by digest; only ever looked up
    std::vector<branch> reached_by_;                        ///< how each state was reached first
    std::vector<branch> later_;                             ///< with one fault more
    std::vector<step> path_;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> into_; ///< (to, from)
    std::vector<std::uint32_t> ending_;
    std::vector<std::size_t> states_; ///< after 0, 1 ... faults
    std::size_t steps_ = 0;
    std::size_t ends_ = 0;
    std::size_t longest_ = 0;
    duration latest_{0};
    std::size_t may_reach_ = 0; ///< states, with as many faults as now
    bool whole_ = true;
    std::string failure_;
};

/// Faults in each run beside those that a model names.
unsigned more_faults() {
    return static_cast<unsigned>(number_of("TAPIR_MODEL_MORE_FAULTS", 0));
}

rules model_of(std::string name, std::array<unsigned, 2> sends, std::vector<act> a, std::vector<act> b,
               unsigned faults) {
    rules r;
    r.name = std::move(name);
    r.sends = sends;
    r.calls = {std::move(a), std::move(b)};
    r.faults = {act::lose, act::repeat, act::reorder};
    r.fault_budget = faults + more_faults();
    return r;
}

std::vector<rules> make_models() {
    const std::vector<act> half_close = {act::finish};
    const std::vector<act> orderly = {act::finish, act::close};
    const std::vector<act> every_way = {act::finish, act::close, act::abort};
    std::vector<rules> all;
    // A client and a server, who send, half-close, close and abort.
    all.push_back(model_of("all calls", {1, 0}, every_way, every_way, 2));
    all.push_back(model_of("half-closes", {1, 1}, half_close, half_close, 1));
    all.push_back(model_of("two segments", {2, 0}, half_close, half_close, 2));
    all.push_back(model_of("window of one byte", {2, 0}, half_close, half_close, 2));
    all.back().receive_buffer = 1;
    all.push_back(model_of("late segments", {1, 0}, half_close, half_close, 2));
    all.back().faults = {act::lose, act::late};
    // The client opens again from the same port, when the last connection is over for it.
    all.push_back(model_of("again", {0, 0}, {act::close, act::abort}, {act::close}, 1));
    all.back().opens = {2, 1};
    for (const bool both : {false, true}) {
        const std::string opening = both ? ", both open" : "";
        const std::size_t first = all.size();
        if (both) {
            all.push_back(model_of("half-closes" + opening, {1, 0}, half_close, half_close, 2));
            all.push_back(model_of("all calls" + opening, {1, 0}, every_way, every_way, 1));
        }
        all.push_back(model_of("network cut" + opening, {1, 0}, orderly, orderly, 0));
        all.back().may_be_cut = true;
        all.push_back(model_of("hosts stop, peers cannot be reached" + opening, {0, 0},
                               {act::finish, act::abort, act::stop, act::unreachable},
                               {act::finish, act::abort, act::stop, act::unreachable, act::unlisten}, 0));
        for (std::size_t i = first; i < all.size(); ++i) all[i].both_connect = both;
    }
    return all;
}

const std::vector<rules>& models() {
    static const std::vector<rules> all = make_models();
    return all;
}

/// Once in a run of the program, whoever asks first; and whether it met every state.
bool explore(std::string_view name) {
    static std::map<std::string_view, bool> done;
    const auto r = std::ranges::find(models(), name, &rules::name);
    REQUIRE(r != models().end());
    const auto [at, first] = done.emplace(name, false);
    if (first) {
        exploration e(*r);
        e.run();
        at->second = e.whole();
    }
    return at->second;
}

} // namespace

TEST_CASE("model: a client and a server send, half-close, close and abort") {
    explore("all calls");
    explore("half-closes");
}

TEST_CASE("model: two segments overtake each other, in a large window and in one of a byte") {
    explore("two segments");
    explore("window of one byte");
}

TEST_CASE("model: segments come later than their retransmissions") {
    explore("late segments");
}

TEST_CASE("model: a client opens again from the same port") {
    explore("again");
}

TEST_CASE("model: both ends open at once") {
    explore("half-closes, both open");
    explore("all calls, both open");
}

TEST_CASE("model: the network is cut, hosts stop, listeners close, peers cannot be reached") {
    explore("network cut");
    explore("network cut, both open");
    explore("hosts stop, peers cannot be reached");
    explore("hosts stop, peers cannot be reached, both open");
}

TEST_CASE("model: every arc of the transition table is walked") {
    bool whole = true;
    for (const rules& r : models()) whole = explore(r.name) && whole;
    const arc_tally& walked = walked_arcs();
    std::size_t reached = 0;
    for (std::size_t i = 0; i < tcp::arcs.size(); ++i) reached += walked.times(i) != 0 ? 1 : 0;
    std::printf("arcs of the table: %zu of %zu\n", reached, tcp::arcs.size());
    if (whole) CHECK(walked.missing() == "");
}

} // namespace tapir::test
