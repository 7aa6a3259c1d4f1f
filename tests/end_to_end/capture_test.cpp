// --pcap: what Wireshark makes of our frames. It knows nothing of us, so it is a second opinion on every
// checksum, every header and every sequence number.
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/kernel_socket.hpp"
#include "tests/support/on_tap.hpp"
#include "tests/support/process.hpp"

using namespace tapir::test;

namespace {

/// What tshark says about each frame that `filter` passes: the values of `fields`, one line a frame.
/// Checksums are verified, which it does not do by itself.
std::vector<std::string> frames(const std::string& file, const std::string& filter,
                                const std::vector<std::string>& fields) {
    std::vector<std::string> tshark{"tshark", "-n",
                                    "-r",     file,
                                    "-o",     "tcp.check_checksum:TRUE",
                                    "-o",     "ip.check_checksum:TRUE",
                                    "-T",     "fields",
                                    "-E",     "separator= ",
                                    "-Y",     filter};
    for (const std::string& f : fields) tshark.insert(tshark.end(), {"-e", f});
    const finished f = run(tshark);
    expect(f.status == 0, f.all());
    std::vector<std::string> lines;
    std::istringstream text(f.out);
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
}

} // namespace

TEST_CASE("--pcap: Wireshark reads it, and finds every checksum right and nothing malformed") {
    const temporary_directory root;
    root.write("index.html", "a small page\n");
    root.write_noise("large", 1'000'001);
    const temporary_directory captures;
    on_each_tap_path([&](const std::string& io) {
        const std::string file = captures.file(io + ".pcap");
        const auto server = serve(root, io, {"--pcap", file});
        for (const std::string path : {"", "large", "missing"})
            expect(run({"curl", "-sS", "-o", "/dev/null", "http://192.0.2.2/" + path}).status == 0, path);
        expect(run({"ping", "-c", "2", "-i", "0.2", "-s", "57", "192.0.2.2"}).status == 0, "ping");
        expect(run({"curl", "-sS", "http://192.0.2.2:81/"}).status == 7, "a closed port refuses");
        {
            const auto c = kernel_socket::connected("192.0.2.2", 80);
            c.write("GET /large HTTP/1.1\r\nHost: tapir\r\n\r\n");
            (void)c.read_exactly(100);
            c.reset_on_close();
        }
        server->signal(SIGINT);
        expect(server->wait() == 0, server->err());

        // 1 is good, 0 bad, 2 unverified. One line a frame: its protocol, and IPv4's and its own verdict.
        std::map<std::string, std::size_t> verdicts;
        // The kernel writes a sum of zero as 0xffff into whatever protocol, which Wireshark minds in TCP.
        for (const std::string& f :
             frames(file, "ip && !(ip.src == 192.0.2.1 && tcp.checksum == 0xffff)",
                    {"ip.proto", "ip.checksum.status", "tcp.checksum.status", "icmp.checksum.status"}))
            ++verdicts[f];
        expect(verdicts["6 1 1 "] > 30, "TCP: segments, also large ones, both checksums good");
        expect(verdicts["1 1  1"] == 4, "ICMP: two requests and two replies, both checksums good");
        std::string others;
        for (const auto& [verdict, n] : verdicts)
            if (verdict != "6 1 1 " && verdict != "1 1  1")
                others += std::to_string(n) + " x " + verdict + "; ";
        expect(others.empty(), "and nothing else: " + others);

        const auto complaints =
            frames(file,
                   "_ws.malformed || _ws.expert.severity == error || (ip.src == 192.0.2.2 && "
                   "(tcp.analysis.lost_segment || tcp.analysis.ack_lost_segment))",
                   {"frame.number", "_ws.expert.message"});
        expect(complaints.empty(), "nothing to complain about: " + (complaints.empty() ? "" : complaints[0]));
        const auto seen =
            frames(file, "arp.opcode == 2 || http.response || (tcp.flags.reset == 1 && tcp.srcport == 81)",
                   {"arp.src.proto_ipv4", "http.response.code", "tcp.srcport"});
        const auto count = [&](const std::string& line) { return std::ranges::count(seen, line); };
        expect(count("192.0.2.2  ") >= 1, "our ARP replies");
        expect(count(" 200 80") >= 2 && count(" 404 80") == 1, "HTTP is seen as HTTP");
        expect(count("  81") == 1, "the refusal");
    });
}
