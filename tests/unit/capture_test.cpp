#include <tapir/framework/sim_backend.hpp>
#include <tapir/protocols/host/packet_text.hpp>
#include <tapir/protocols/link/capture.hpp>
#include <tapir/protocols/link/offload.hpp>
#include <tapir/protocols/link/pcap.hpp>
#include <tapir/protocols/link/trace.hpp>
#include <tapir/protocols/link/wire.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/skip.hpp"
#include "tests/support/link_end.hpp"

using namespace tapir;
using test::numbered_frame;
using test::pass_time;
using test::recording_receiver;

namespace {

/// 192.0.2.1:1025 > 192.0.2.2:80, SYN with an MSS of 1460, all sums right except that the TCP checksum is as
/// told.
frame syn_frame(buffer_pool& pool, std::uint16_t tcp_checksum) {
    static constexpr std::array<std::uint8_t, 58> contents = {
        0x02, 0,    0,    0,   0, 2, 0x02, 0,   0,  0, 0,    1,    0x08, 0x00,                           //
        0x45, 0,    0,    44,  0, 0, 0x40, 0,   64, 6, 0xb6, 0xc8, 192,  0,    2,    1,    192, 0, 2, 2, //
        0x04, 0x01, 0,    80,  0, 0, 0,    100, 0,  0, 0,    0,    0x60, 0x02, 0xff, 0xff, 0,   0, 0, 0, //
        2,    4,    0x05, 0xb4};
    frame f(pool.allocate(contents.size()), 0);
    const mutable_bytes b = f.push_back(contents.size());
    for (std::size_t i = 0; i < contents.size(); ++i) store_u8(b, i, contents[i]);
    store_be16(b, 50, tcp_checksum);
    return f;
}

constexpr std::uint16_t pseudo_header_sum = 0x8422; // 192.0.2.1, 192.0.2.2, 6, 24
constexpr std::uint16_t full_checksum = 0x0f6e;

offload tcp_partial() {
    offload o;
    o.csum = checksum_state::partial;
    o.csum_start = 34;
    o.csum_offset = 16;
    return o;
}

std::vector<std::byte> file_bytes(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const bytes b = as_bytes(text);
    return {b.begin(), b.end()};
}

std::string output_of(const std::string& command) {
    std::string text;
    std::FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return text;
    std::array<char, 4096> part;
    for (std::size_t n; (n = std::fread(part.data(), 1, part.size(), pipe)) > 0;) text.append(part.data(), n);
    ::pclose(pipe);
    return text;
}

struct temporary_file {
    temporary_file() {
        std::string pattern = "/tmp/tapir_capture_XXXXXX";
        const int fd = ::mkstemp(pattern.data());
        REQUIRE(fd >= 0);
        std::fclose(::fdopen(fd, "w"));
        path = pattern;
    }
    ~temporary_file() { std::remove(path.c_str()); }
    std::string path;
};

} // namespace

TEST_CASE("a capture holds both directions with their instants, as pcap in nanoseconds") {
    reactor r(make_sim_backend({.start = instant(5s + 7ns)}));
    wire w(r, {.latency = 3us});
    capture seen(r, w.left());
    recording_receiver near, far;
    seen.attach(&near);
    w.right().attach(&far);
    buffer_pool pool;
    seen.send(numbered_frame(pool, 1, 60));
    w.right().send(numbered_frame(pool, 2, 61));
    r.run(pass_time(1ms));
    CHECK(far.frames.size() == 1);
    CHECK(near.frames.size() == 1);

    const std::vector<std::byte> file = seen.pcap();
    REQUIRE(file.size() == 24 + 16 + 60 + 16 + 61);
    CHECK(load_be32(file, 0) == 0xa1b23c4d);
    CHECK(load_be16(file, 4) == 2);
    CHECK(load_be16(file, 6) == 4);
    CHECK(load_be32(file, 20) == 1); // LINKTYPE_ETHERNET
    CHECK(load_be32(file, 24) == 5);
    CHECK(load_be32(file, 28) == 7);
    CHECK(load_be32(file, 32) == 60);
    CHECK(load_be32(file, 36) == 60);
    const frame first = numbered_frame(pool, 1, 60);
    CHECK(std::equal(first.data().begin(), first.data().end(), file.begin() + 40));
    CHECK(load_be32(file, 100) == 5);
    CHECK(load_be32(file, 104) == 3007);
    CHECK(load_be32(file, 108) == 61);
}

TEST_CASE("the time origin moves stamps to the calendar") {
    reactor r(make_sim_backend({.start = instant(1s)}));
    wire w(r);
    capture_config config;
    config.time_origin = 1'700'000'000s + 5ns;
    capture seen(r, w.left(), config);
    buffer_pool pool;
    seen.send(numbered_frame(pool, 1));
    CHECK(load_be32(seen.pcap(), 24) == 1'700'000'001);
    CHECK(load_be32(seen.pcap(), 28) == 5);
}

TEST_CASE("a partial checksum is completed in the copy that is written, not in the frame that goes on") {
    buffer_pool pool;
    reactor r(make_sim_backend());
    wire_config carrying;
    carrying.segmentation = true;
    wire w(r, carrying);
    recording_receiver far;
    w.right().attach(&far);
    capture seen(r, w.left());
    frame f = syn_frame(pool, pseudo_header_sum);
    f.meta = tcp_partial();
    seen.send(std::move(f));
    r.run(pass_time(1us));
    CHECK(load_be16(seen.pcap(), 24 + 16 + 50) == full_checksum);
    REQUIRE(far.frames.size() == 1);
    CHECK(load_be16(far.frames[0].data(), 50) == pseudo_header_sum);
}

TEST_CASE("offload metadata that points out of the frame is left alone") {
    buffer_pool pool;
    frame f = syn_frame(pool, 0x1234);
    f.meta = tcp_partial();
    f.meta.csum_start = 57;
    f.meta.csum_offset = 0;
    complete_checksum(f.mutable_data(), f.meta);
    CHECK(load_be16(f.data(), 50) == 0x1234);
    CHECK(load_u8(f.data(), 57) == 0xb4);
}

TEST_CASE("a checksum over an odd number of bytes pads with zero, and UDP never says 0") {
    std::array<std::byte, 9> packet{}; // a UDP header and one byte
    packet[8] = std::byte{0xff};
    offload o;
    o.csum = checksum_state::partial;
    o.csum_offset = 6;
    store_be16(packet, 6, 0x00ff); // 0x00ff + 0xff00: the complement is 0
    complete_checksum(packet, o);
    CHECK(load_be16(packet, 6) == 0xffff);
}

TEST_CASE("in memory the newest frames are kept") {
    reactor r(make_sim_backend());
    wire w(r);
    capture seen(r, w.left(), capture_config(3 * (16 + 60)));
    buffer_pool pool;
    for (std::uint32_t i = 0; i < 10; ++i) seen.send(numbered_frame(pool, i));
    const std::vector<std::byte> file = seen.pcap();
    REQUIRE(file.size() == 24 + 3 * (16 + 60));
    CHECK(load_be32(file, 24 + 16 + 14) == 7);
    CHECK(seen.captured() == 10);
    CHECK(seen.dropped() == 7);
}

TEST_CASE("a frame longer than the snap length is cut, and its true length kept") {
    reactor r(make_sim_backend());
    wire w(r);
    capture_config config;
    config.snap_length = 34;
    capture seen(r, w.left(), config);
    buffer_pool pool;
    seen.send(numbered_frame(pool, 1, 500));
    const std::vector<std::byte> file = seen.pcap();
    REQUIRE(file.size() == 24 + 16 + 34);
    CHECK(load_be32(file, 32) == 34);
    CHECK(load_be32(file, 36) == 500);
}

TEST_CASE("a capture file is whole at the end of each turn, and stops at its bound") {
    const temporary_file file;
    reactor r(make_sim_backend());
    wire w(r);
    auto seen = capture::to_file(r, w.left(), file.path, capture_config(24 + 2 * (16 + 60)));
    REQUIRE(seen);
    buffer_pool pool;
    (*seen)->send(numbered_frame(pool, 1));
    r.run(pass_time(1us));
    CHECK(file_bytes(file.path).size() == 24 + 76);
    (*seen)->send(numbered_frame(pool, 2));
    (*seen)->send(numbered_frame(pool, 3));
    r.run(pass_time(1us));
    CHECK(file_bytes(file.path).size() == 24 + 2 * 76);
    CHECK((*seen)->captured() == 2);
    CHECK((*seen)->dropped() == 1);

    capture in_memory(r, w.right());
    in_memory.send(numbered_frame(pool, 4));
    REQUIRE(in_memory.save(file.path));
    CHECK(file_bytes(file.path) == in_memory.pcap());
}

TEST_CASE("a capture file that cannot be made is an error, not an exception") {
    reactor r(make_sim_backend());
    wire w(r);
    const auto seen = capture::to_file(r, w.left(), "/nowhere/at/all.pcap");
    REQUIRE_FALSE(seen);
    CHECK(seen.error() == std::errc::no_such_file_or_directory);
}

TEST_CASE("tshark opens a capture and finds its checksums good") {
    if (output_of("command -v tshark").empty()) return test::skip("tshark is not installed");
    const temporary_file file;
    reactor r(make_sim_backend());
    wire_config carrying;
    carrying.segmentation = true;
    wire w(r, carrying);
    capture seen(r, w.left());
    buffer_pool pool;
    frame f = syn_frame(pool, pseudo_header_sum);
    f.meta = tcp_partial();
    seen.send(std::move(f));
    seen.send(syn_frame(pool, 0x1111));
    REQUIRE(seen.save(file.path));
    const std::string fields = output_of("tshark -r " + file.path +
                                         " -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE -T fields -e "
                                         "frame.time_relative -e tcp.dstport -e tcp.checksum.status -e "
                                         "ip.checksum.status 2>/dev/null");
    CHECK(fields == "0.000000000\t80\t1\t1\n0.000000000\t80\t0\t1\n"); // 1: good, 0: bad
}

TEST_CASE("a trace shows each frame as a line that reads like the wire") {
    reactor r(make_sim_backend());
    wire w(r);
    std::vector<std::string> ladder;
    trace seen(r, w.left(), [&](direction d, instant, const frame& f) {
        ladder.push_back((d == direction::out ? "-> " : "<- ") + packet_text(f.data()));
    });
    recording_receiver near;
    seen.attach(&near);
    buffer_pool pool;
    seen.send(syn_frame(pool, full_checksum));
    w.right().send(numbered_frame(pool, 1));
    r.run(pass_time(1us));
    REQUIRE(ladder.size() == 2);
    CHECK(ladder[0] == "-> tcp 192.0.2.1:1025 > 192.0.2.2:80 SYN seq 100 win 65535 len 0 mss 1460");
    CHECK(ladder[1] == "<- ethernet 25:26:27:28:29:2a > 1f:20:21:22:23:24 type 0x88b5 len 46");
    CHECK(near.frames.size() == 1);
}

TEST_CASE("any prefix of a frame, and any byte in it, yields some line of text") {
    buffer_pool pool;
    const frame good = syn_frame(pool, full_checksum);
    for (std::size_t n = 0; n <= good.size(); ++n) CHECK_FALSE(packet_text(good.data().first(n)).empty());
    for (std::size_t at = 12; at < good.size(); ++at)
        for (unsigned value = 0; value < 256; ++value) {
            std::vector<std::byte> changed(good.data().begin(), good.data().end());
            changed[at] = static_cast<std::byte>(value);
            CHECK_FALSE(packet_text(changed).empty());
        }
}
