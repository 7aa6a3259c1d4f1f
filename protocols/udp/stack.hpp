// The table of bound ports of a host (RFC 768, RFC 1122 4.1): which socket a datagram is for, what of it is
// dropped and why, and who may send now.
//
//     udp::stack udp(config, random, pool, sink);
//     auto b = udp.bind(ip::endpoint(any, 53), udp::socket_options());
//     if (udp.receive(arrival, chunk) == udp::outcome::no_port) ... icmp port unreachable ...
//     udp.flush();                                  // at the end of each turn in which it was asked for
//
// Two sockets never share a port, unless each is bound to an address of its own: who gets a datagram does not
// depend on who came first.
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/error.hpp>
#include <tapir/framework/intrusive_list.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/ip/address.hpp>
#include <tapir/protocols/udp/binding.hpp>
#include <tapir/protocols/udp/config.hpp>
#include <tapir/protocols/udp/counters.hpp>
#include <tapir/protocols/udp/output.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace tapir::udp {

enum class outcome : std::uint8_t {
    queued,
    dropped, ///< silently, but counted
    no_port, ///< counted too; deserves an ICMP port unreachable [RFC 1122 4.1.3.1 SHOULD]
};

/// What IP knows of a datagram that has come.
struct arrival {
    arrival() = default;
    ip::address source;
    ip::address destination;
    bool to_group = false;          ///< to a broadcast or multicast address
    bool checksum_verified = false; ///< by somebody below
    instant arrived{};
};

class stack {
  public:
    stack(const udp::config& c, tapir::random r, buffer_pool& pool, output_sink& out)
        : config_(c), random_(r), pool_(pool), out_(out) {}
    stack(const stack&) = delete;
    stack& operator=(const stack&) = delete;
    ~stack() { stop(); }

    /// An unspecified address takes what comes to any of ours; port 0 picks one that nobody can guess
    /// [RFC 6056 3.3.1]. errc::address_in_use, address_unavailable (another shard's port), no_ports,
    /// no_memory (config::max_sockets), host_stopped; invalid_argument for a TTL of 0. That the address is
    /// ours is for the caller to see to.
    result<std::unique_ptr<binding>> bind(ip::endpoint at, const socket_options& options);

    /// `datagram` begins with its UDP header, and may go on behind its end.
    outcome receive(const arrival& a, const chunk& datagram);

    /// Somebody says that what `local` has sent to `remote` does not arrive. Anybody can say so: it counts
    /// only if a socket of ours sent there lately. [RFC 5927 4] [RFC 1122 4.1.3.3 MUST]
    void icmp_error(std::error_code why, const ip::endpoint& local, const ip::endpoint& remote);

    /// Begins a new turn: those who wait may send, in the order in which they came.
    void flush();

    /// Every binding ends with errc::host_stopped. Idempotent.
    void stop();
    bool stopped() const { return stopped_; }

    const udp::counters& counted() const { return counters_; }
    const udp::config& configuration() const { return config_; }
    std::size_t sockets() const { return bound_.size(); }
    /// Bytes of memory that datagrams keep which nobody has received yet.
    std::size_t queued_bytes() const { return queued_bytes_; }
    /// Calls f(const binding&) for each, ordered by port, then address.
    template <class F>
    void for_each(F f) const {
        for (const auto& [where, b] : bound_) f(static_cast<const binding&>(*b));
    }
    /// The first one, or the next behind `at` in that order, bound or not: for whoever looks at them over
    /// several turns. Null behind the last.
    const binding* next_behind(const std::optional<ip::endpoint>& at) const {
        const auto next = at ? bound_.upper_bound(key(at->port, at->addr)) : bound_.begin();
        return next == bound_.end() ? nullptr : next->second;
    }

  private:
    friend class binding;
    using key = std::pair<std::uint16_t, ip::address>; ///< ordered by port

    binding* find(const ip::address& local, std::uint16_t port) const;
    /// Whether one more socket may be bound there.
    bool is_free(const ip::endpoint& at) const;
    result<std::uint16_t> pick_port(const ip::address& local);
    outcome dropped(drop reason);
    outcome enqueue(binding& b, const arrival& a, std::uint16_t source_port, chunk payload);
    outcome no_room(binding& b, drop reason);
    bool may_send();
    /// Nobody who waits is overtaken.
    bool has_turn() const { return flushing_ || waiting_.empty(); }
    /// What a waiting datagram costs.
    static std::size_t charge(const chunk& payload);
    void uncharge(binding& b, const chunk& payload);
    void end(binding& b, errc why);

    udp::config config_;
    tapir::random random_;
    buffer_pool& pool_;
    output_sink& out_;
    std::map<key, binding*> bound_;
    intrusive_list<binding> waiting_; ///< to send
    std::size_t sent_this_turn_ = 0;
    std::size_t queued_bytes_ = 0;
    bool flushing_ = false;
    bool stopped_ = false;
    udp::counters counters_;
};

} // namespace tapir::udp
