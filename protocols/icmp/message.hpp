// ICMP messages (RFC 792): a view that has been validated, a struct to build one from, and what an error says
// about the datagram that it quotes.
//
//     auto m = icmp::view::parse(ip.payload());
//     if (m && m->type() == icmp::type::echo_request) {
//         auto answer = icmp::message::echo_reply(m->identifier(), m->sequence(), m->body());
//         answer.emit(frame.push_back(answer.size()));
//     }
#pragma once

#include <tapir/framework/bytes.hpp>
#include <tapir/protocols/ip/address.hpp>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>

namespace tapir::icmp {

enum class type : std::uint8_t {
    echo_reply = 0,
    destination_unreachable = 3,
    source_quench = 4,
    redirect = 5,
    echo_request = 8,
    time_exceeded = 11,
    parameter_problem = 12,
    timestamp_request = 13,
    timestamp_reply = 14,
};

/// Codes of destination_unreachable. [RFC 792] [RFC 1122 3.2.2.1] [RFC 1812 5.2.7.1]
enum class unreachable_code : std::uint8_t {
    network = 0,
    host = 1,
    protocol = 2,
    port = 3,
    fragmentation_needed = 4,
    source_route_failed = 5,
    network_unknown = 6,
    host_unknown = 7,
    source_isolated = 8,
    network_prohibited = 9,
    host_prohibited = 10,
    network_type_of_service = 11,
    host_type_of_service = 12,
    communication_prohibited = 13,
    host_precedence_violation = 14,
    precedence_cutoff = 15,
};

/// Codes of time_exceeded.
enum class time_exceeded_code : std::uint8_t { ttl = 0, reassembly = 1 };

enum class malformed : std::uint8_t { too_short, bad_checksum };

class view {
  public:
    static std::expected<view, malformed> parse(bytes payload);

    icmp::type type() const { return static_cast<icmp::type>(load_u8(message_, 0)); }
    std::uint8_t code() const { return load_u8(message_, 1); }
    /// The four bytes whose meaning depends on the type.
    std::uint32_t rest() const { return load_be32(message_, 4); }
    /// Echo.
    std::uint16_t identifier() const { return load_be16(message_, 4); }
    std::uint16_t sequence() const { return load_be16(message_, 6); }
    /// Fragmentation needed: 0 from a router that does not know RFC 1191.
    std::uint16_t next_hop_mtu() const { return load_be16(message_, 6); }
    /// Parameter problem: the octet of the quoted datagram at fault.
    std::uint8_t pointer() const { return load_u8(message_, 4); }
    /// Behind the eight header bytes: echo data, or the quoted datagram.
    bytes body() const { return message_.subspan(8); }

  private:
    explicit view(bytes message) : message_(message) {}
    bytes message_;
};

struct message {
    static constexpr std::size_t header_size = 8;

    icmp::type type = type::echo_request;
    std::uint8_t code = 0;
    std::uint32_t rest = 0;
    bytes body{}; ///< not owned

    static message of(const view& v);
    static message echo_request(std::uint16_t identifier, std::uint16_t sequence, bytes body);
    static message echo_reply(std::uint16_t identifier, std::uint16_t sequence, bytes body);
    /// `next_hop_mtu` is for fragmentation_needed only.
    static message destination_unreachable(unreachable_code code, bytes quoted,
                                           std::uint16_t next_hop_mtu = 0);
    static message time_exceeded(time_exceeded_code code, bytes quoted);
    static message parameter_problem(std::uint8_t pointer, bytes quoted);

    std::size_t size() const { return header_size + body.size(); }
    /// Writes size() bytes with their checksum at the front of `out`.
    void emit(mutable_bytes out) const;
};

/// Whether the type is one of the questions and answers of RFC 792. Anything else counts as an error, about
/// which no error may be sent.
bool is_query(type t);

/// The datagram that an error is about, as far as the error must quote it: its header and eight bytes.
struct quoted {
    ip::protocol protocol = ip::protocol::tcp;
    ip::endpoint source;          ///< port 0 unless TCP or UDP
    ip::endpoint destination;     ///< port 0 unless TCP or UDP
    std::uint32_t sequence = 0;   ///< TCP's sequence number, else 0
    std::size_t total_length = 0; ///< of the whole datagram, in bytes, as its header says

    bool operator==(const quoted&) const = default;
};

/// Nothing if the quote is too short, no IPv4, or not the first fragment (which alone has ports).
std::optional<quoted> parse_quoted(bytes body);

} // namespace tapir::icmp
