// What routers say about the size of packets: RFC 1191, and how little of it must be believed (RFC 5927 7).
#include <tapir/protocols/ipv4/path_mtu.hpp>

#include <doctest/doctest.h>

using namespace tapir;

namespace {
const ip::address far = ip::address::v4(203, 0, 113, 9);
const instant start(100s);
} // namespace

TEST_CASE("path MTU: what is told counts until it is ten minutes old; then the path is tried again") {
    ipv4::path_mtu paths{ipv4::path_mtu_config()};
    CHECK(paths.to(far, 1500, start).mtu == 1500);
    paths.learn(far, 1400, start);
    CHECK(paths.to(far, 1500, start).mtu == 1400);
    CHECK(paths.to(far, 1300, start).mtu == 1300); // the link's own is smaller
    CHECK(paths.to(ip::address::v4(203, 0, 113, 10), 1500, start).mtu == 1500);
    CHECK(paths.to(far, 1500, start + 10min - 1ns).mtu == 1400);
    CHECK(paths.to(far, 1500, start + 10min).mtu == 1500); // [RFC 1191 6.3]
    paths.learn(far, 1450, start + 11min);
    CHECK(paths.to(far, 1500, start + 11min).mtu == 1450);
}

TEST_CASE("path MTU: it is lowered, never raised, by what is told") { // [RFC 1191 4]
    ipv4::path_mtu paths{ipv4::path_mtu_config()};
    paths.learn(far, 1300, start);
    paths.learn(far, 1400, start + 1s);
    CHECK(paths.to(far, 1500, start + 1s).mtu == 1300);
    paths.learn(far, 1200, start + 2s);
    CHECK(paths.to(far, 1500, start + 2s).mtu == 1200);
    CHECK(paths.to(far, 1500, start + 10min + 1s).mtu == 1200); // from the last lowering on
    CHECK(paths.count().lowered == 2);
}

TEST_CASE("path MTU: a router that tells none stands for the next common size below") { // [RFC 1191 5, 7.1]
    using ipv4::path_mtu;
    CHECK(path_mtu::estimate(0, 1500) == 1492);
    CHECK(path_mtu::estimate(0, 1492) == 1006);
    CHECK(path_mtu::estimate(0, 65'535) == 32'000);
    CHECK(path_mtu::estimate(0, 68) == std::nullopt);
    CHECK(path_mtu::estimate(1400, 1500) == 1400);
    CHECK(path_mtu::estimate(1500, 1500) == std::nullopt); // it would have fitted [RFC 5927 7.2]
    CHECK(path_mtu::estimate(9000, 1500) == std::nullopt);
}

TEST_CASE("path MTU: nobody pushes it below the minimum; packets may be cut there instead") {
    ipv4::path_mtu paths{ipv4::path_mtu_config()};
    paths.learn(far, 1400, start);
    CHECK(!paths.to(far, 1500, start).may_fragment);
    paths.learn(far, 68, start);
    CHECK(paths.to(far, 1500, start).mtu == 552);
    CHECK(paths.to(far, 1500, start).may_fragment);
    CHECK(paths.count().below_minimum == 1);
    paths.learn(far, 600, start);
    CHECK(paths.to(far, 1500, start).may_fragment);
    CHECK(!paths.to(far, 1500, start + 10min).may_fragment);
    // A link that is as narrow is not asked what it carries: what of ours is larger is cut.
    CHECK(paths.to(far, 300, start + 10min).mtu == 300);
    CHECK(paths.to(far, 300, start + 10min).may_fragment);
}

TEST_CASE("path MTU: destinations are bounded; the expired go first, then what would expire next") {
    ipv4::path_mtu_config c;
    c.max_destinations = 3;
    ipv4::path_mtu paths{c};
    const auto at = [](std::uint8_t i) { return ip::address::v4(198, 51, 100, i); };
    for (std::uint8_t i = 1; i <= 3; ++i) paths.learn(at(i), 1400, start + i * 1s);
    paths.learn(at(4), 1400, start + 4s);
    CHECK(paths.destinations() == 3);
    CHECK(paths.count().evicted == 1);
    CHECK(paths.to(at(1), 1500, start + 4s).mtu == 1500);
    CHECK(paths.to(at(2), 1500, start + 4s).mtu == 1400);
    paths.learn(at(5), 1400, start + 10min + 3s);
    CHECK(paths.count().evicted == 1); // two had expired
    CHECK(paths.destinations() == 2);
}
