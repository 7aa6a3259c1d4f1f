// Flows that share one bottleneck, each from a sender that always has more to send to a receiver that reads
// at once; what each of them carries is counted at the receiver, in a window of virtual time:
//
//     far ── way in ── near ── rate, tail-drop queue, delay ── sink
//
//     bottleneck b;                              // 20 Mbit/s, a round trip of 40 ms, a queue of one BDP
//     b.way_in = 30ms;
//     b.add(8);                                  // eight flows of near's
//     b.add(8, flow_plan(true));                 // and eight of far's, with 70 ms
//     CHECK(jains_index(b.run(10s, 30s)) > 0.9); // of what arrived between
#pragma once

#include <tapir/framework/time.hpp>
#include <tapir/protocols/tcp/congestion/control.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tapir::test {

/// What one flow did while it was watched.
struct flow_record {
    bool from_far = false;
    tcp::congestion_algorithm congestion = tcp::congestion_algorithm::cubic;
    bool paced = true;
    std::uint64_t bytes = 0; ///< read by the receiver
    std::uint32_t cwnd = 0;  ///< in the end, bytes
    std::uint64_t again = 0; ///< bytes that went again, from the beginning on
    std::uint32_t timeouts = 0;
};

struct flow_plan {
    explicit flow_plan(bool far = false,
                       tcp::congestion_algorithm algorithm = tcp::congestion_algorithm::cubic,
                       bool spread = true)
        : from_far(far), congestion(algorithm), paced(spread) {}
    bool from_far;
    tcp::congestion_algorithm congestion;
    bool paced;
};

struct bottleneck {
    std::uint64_t rate = 2'500'000; ///< bytes a second
    duration rtt = 40ms;            ///< of the link with the bottleneck, empty
    double queue = 1;               ///< bandwidth-delay products
    duration way_in{0};             ///< more round trip for those from far
    duration apart = 10ms;          ///< between the start of one flow and the next
    duration head_start{0};         ///< of the first one before the second, on top of that

    std::vector<flow_plan> flows;

    void add(std::size_t count, flow_plan what = flow_plan()) { flows.insert(flows.end(), count, what); }
    /// Bytes count from `settled` until `end`, both after the start.
    std::vector<flow_record> run(duration settled, duration end, std::uint64_t seed = 1) const;
};

/// One if all have the same, 1/n if one has everything. (Jain, Chiu, Hawe 1984)
double jains_index(const std::vector<flow_record>& flows);
/// Of all bytes, by those for whom `chosen` is true.
template <class F>
double share_of(const std::vector<flow_record>& flows, F chosen) {
    double all = 0;
    double some = 0;
    for (const flow_record& f : flows) {
        all += static_cast<double>(f.bytes);
        if (chosen(f)) some += static_cast<double>(f.bytes);
    }
    return some / all;
}
/// Bytes of all flows, of what the bottleneck could carry meanwhile.
double utilisation(const bottleneck& b, const std::vector<flow_record>& flows, duration watched);
/// A line for each flow.
std::string table_of(const std::vector<flow_record>& flows);

} // namespace tapir::test
