// Names of connections: the 4-tuple that demultiplexing, initial sequence numbers and traces are keyed with.
#pragma once

#include <tapir/framework/siphash.hpp>
#include <tapir/protocols/ip/address.hpp>

#include <cstdint>
#include <string>

namespace tapir::tcp {

struct flow_key {
    flow_key() = default;
    flow_key(const ip::address& local_address, std::uint16_t local_p, const ip::address& remote_address,
             std::uint16_t remote_p)
        : local(local_address), remote(remote_address), local_port(local_p), remote_port(remote_p) {}

    ip::address local;
    ip::address remote;
    std::uint16_t local_port = 0;
    std::uint16_t remote_port = 0;

    ip::endpoint local_endpoint() const { return {local, local_port}; }
    ip::endpoint remote_endpoint() const { return {remote, remote_port}; }
    /// "192.0.2.1:80 <- 192.0.2.2:49152" reads local first.
    std::string to_string() const;
    bool operator==(const flow_key&) const = default;
};

/// What a keyed hash of a flow is for; equal keys give unrelated numbers for different purposes.
enum class hash_purpose : std::uint8_t {
    demultiplexing,
    numbers, ///< initial sequence numbers, by the low half; timestamps, by the high one
    port_offset,
    reply_limit,
    fast_open,
};

std::uint64_t hash_flow(const siphash_key& secret, const flow_key& flow, hash_purpose purpose);

} // namespace tapir::tcp
