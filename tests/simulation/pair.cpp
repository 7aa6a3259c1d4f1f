#include "tests/simulation/pair.hpp"

#include <cstdio>

namespace tapir::test {

world::options quiet_path(duration one_way) {
    world::options o;
    o.to_server.delay = one_way;
    o.to_client.delay = one_way;
    return o;
}

task<> resolve_next_hops(world* w) {
    constexpr std::uint16_t nobody_listens = 9;
    const auto refused = co_await w->client().connect(w->server_at(nobody_listens));
    REQUIRE(!refused);
    CHECK(refused.error() == errc::refused);
    w->conversation().restart(w->on().now());
}

task<> pair::open(world& w, tcp::listen_options options, std::uint16_t local_port) {
    auto listening = w.server().listen(w.server_at(port), options);
    REQUIRE(listening);
    listener = std::move(*listening);
    w.conversation().restart(w.on().now());
    auto connected = co_await w.client().connect(w.server_at(port),
                                                 w.client().tcp().configuration().connections, local_port);
    REQUIRE(connected);
    client = std::move(*connected);
    auto accepted = co_await listener.accept();
    REQUIRE(accepted);
    server = std::move(*accepted);
}

std::string path_of(const tcp::connection& c) {
    std::string text;
    for (const tcp::edge& e : c.transitions()) text += (text.empty() ? "" : " ") + std::string(name(e.to));
    return text;
}

void cut(world& w) {
    for (const direction d : {direction::out, direction::in}) w.path().outage(d, w.on().now(), never);
}

void show(const std::string& table) {
    std::printf("%s\n%s", doctest::getContextOptions()->currentTest->m_name, table.c_str());
}

} // namespace tapir::test
