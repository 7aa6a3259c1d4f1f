#include <tapir/framework/stop.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

using namespace tapir;

namespace {

struct noted : stop_callback {
    noted(std::vector<std::string>& to, std::string n)
        : stop_callback([](stop_callback& c) {
              auto& self = static_cast<noted&>(c);
              self.log.push_back(self.name);
          }),
          log(to), name(std::move(n)) {}
    std::vector<std::string>& log;
    std::string name;
};

} // namespace

TEST_CASE("stop: the default token is never stopped") {
    const stop_token none;
    CHECK_FALSE(none.stop_possible());
    CHECK_FALSE(none.stop_requested());
    std::vector<std::string> log;
    noted n(log, "n");
    none.add(n);
    CHECK_FALSE(n.linked());
}

TEST_CASE("stop: callbacks run once, in the order of registration") {
    stop_source source;
    std::vector<std::string> log;
    noted a(log, "a"), b(log, "b");
    source.token().add(b);
    source.token().add(a);
    {
        noted gone(log, "gone");
        source.token().add(gone);
    } // deregistered by its end
    CHECK_FALSE(source.token().stop_requested());
    source.request_stop();
    source.request_stop();
    CHECK(log == std::vector<std::string>{"b", "a"});
    CHECK(source.token().stop_requested());
}

TEST_CASE("stop: a request travels down, never up") {
    stop_source parent;
    stop_source child(parent.token());
    stop_source grandchild(child.token());
    stop_source sibling(parent.token());
    sibling.request_stop();
    CHECK_FALSE(parent.stop_requested());
    CHECK_FALSE(child.stop_requested());
    std::vector<std::string> log;
    noted n(log, "grandchild");
    grandchild.token().add(n);
    parent.request_stop();
    CHECK(child.stop_requested());
    CHECK(grandchild.stop_requested());
    CHECK(log == std::vector<std::string>{"grandchild"});
    const stop_source late(parent.token());
    CHECK(late.stop_requested());
}

TEST_CASE("stop: a callback may remove one that has not run yet") {
    struct remover : stop_callback {
        explicit remover(std::optional<noted>& v)
            : stop_callback([](stop_callback& c) { static_cast<remover&>(c).victim.reset(); }), victim(v) {}
        std::optional<noted>& victim;
    };
    stop_source source;
    std::vector<std::string> log;
    std::optional<noted> victim;
    remover r(victim);
    source.token().add(r);
    victim.emplace(log, "victim");
    source.token().add(*victim);
    source.request_stop();
    CHECK(log.empty());
}
