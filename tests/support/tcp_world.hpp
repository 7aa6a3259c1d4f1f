// Two TCPs, a client at 192.0.2.1 and a server at 192.0.2.2, and the network between them, in virtual time
// and in memory. The network is asked about each segment and may drop, delay or duplicate it. Everything that
// happens is written down as a ladder, which a failing test prints.
//
//     tcp_world w;
//     w.server_listens(80);
//     w.connect(80);
//     w.run();                       // until nothing happens any more
//     CHECK(w.ladder() == ...);
#pragma once

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/tcp/stack.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace tapir::test {

/// What the network does with one segment.
struct fate {
    bool dropped = false;
    unsigned copies = 1;
    duration delay{0};   ///< on top of the world's own
    bool marked = false; ///< if it may be
};

class tcp_world {
  public:
    enum class side : std::uint8_t { client, server };

    explicit tcp_world(const tcp::config& c = {}) : tcp_world(c, c) {}
    tcp_world(const tcp::config& client_config, const tcp::config& server_config)
        : client_(*this, side::client, client_config), server_(*this, side::server, server_config) {}
    tcp_world(const tcp_world&) = delete;
    tcp_world& operator=(const tcp_world&) = delete;

    /// Asked for each segment, in order of sending, counted from 0.
    std::function<fate(std::size_t number, side from, const tcp::outgoing_segment&)> network;
    duration one_way = 5ms;
    instant now = instant(1s);

    tcp::stack& client() { return client_.stack; }
    tcp::stack& server() { return server_.stack; }

    tcp::listening_endpoint& server_listens(std::uint16_t port, const tcp::listen_options& o = {}) {
        listener_ = std::move(*server().listen({server_address(), port}, o, now));
        return *listener_;
    }
    tcp::endpoint& connect(std::uint16_t port, const tcp::connection_options& o = {},
                           std::uint16_t local_port = 0, bytes first = {}) {
        user[0] = std::move(*client().connect(path_from(side::client), port, local_port, o, now, first));
        return *user[0];
    }
    tcp::endpoint& accept() {
        user[1] = listener_->accept();
        return *user[1];
    }
    /// A connection, established on both sides.
    void establish(const tcp::connection_options& client_options = {},
                   const tcp::connection_options& server_options = {}) {
        tcp::listen_options o;
        o.accepted = server_options;
        server_listens(80, o);
        connect(80, client_options);
        run_for(100ms);
        accept();
        forget();
    }
    tcp::listening_endpoint& listener() { return *listener_; }
    tcp::endpoint& c() { return *user[0]; }
    tcp::endpoint& s() { return *user[1]; }
    void drop_users() {
        user[0].reset();
        user[1].reset();
    }

    /// The next thing that happens: arrivals, timers, output. False: nothing will, or not before `limit`.
    bool step(instant limit = never) {
        flush();
        instant next = std::min(client_.wheel.next(), server_.wheel.next());
        if (!in_flight_.empty()) next = std::min(next, std::get<0>(in_flight_.begin()->first));
        if (next == never || next > limit) return false;
        now = std::max(now, next);
        while (!in_flight_.empty() && std::get<0>(in_flight_.begin()->first) <= now) {
            const auto [to, segment, ecn] = std::move(in_flight_.begin()->second);
            in_flight_.erase(in_flight_.begin());
            node& n = to == side::client ? client_ : server_;
            n.stack.receive(path_from(to), segment, tcp::checksum_known::no, now, now, ecn);
        }
        client_.wheel.advance(now);
        server_.wheel.advance(now);
        if (before_flush) before_flush();
        flush();
        if (each_step) each_step();
        return true;
    }
    /// Called in each step before anything is sent: users whose answers travel with the acknowledgement.
    std::function<void()> before_flush;
    /// Called after each step: users that read and write as they can.
    std::function<void()> each_step;

    void run_for(duration d) {
        const instant end = now + d;
        while (step(end)) {
        }
        now = end;
        client_.wheel.advance(now);
        server_.wheel.advance(now);
        flush();
    }
    /// Until `done`, at most `limit` of virtual time. False: not within that.
    template <class Done>
    bool run_until(Done done, duration limit = std::chrono::minutes(30)) {
        const instant end = now + limit;
        while (!done())
            if (!step(end)) return done();
        return true;
    }
    void flush() {
        client_.stack.flush(now, client_);
        server_.stack.flush(now, server_);
    }

    /// "client SYN_SENT", "client -> server SYN seq=0 len=0", ... Sequence numbers count from each side's
    /// ISN.
    const std::vector<std::string>& ladder() const { return ladder_; }
    std::string ladder_text() const {
        std::string text;
        for (const std::string& line : ladder_) text += "    " + line + '\n';
        return text;
    }
    /// Only the lines about states: "client SYN_SENT".
    std::vector<std::string> states() const {
        std::vector<std::string> only;
        for (const std::string& line : ladder_)
            if (line.find("->") == std::string::npos) only.push_back(line);
        return only;
    }
    void forget() { ladder_.clear(); }
    /// The sequence number that a ladder calls `relative`.
    tcp::seq seq_of(side s, std::uint32_t relative) const {
        return isn_[static_cast<std::size_t>(s)] + relative;
    }
    /// Why a second connection between the same ports cannot be opened; empty if it can.
    std::error_code connect_again_from_the_same_port() {
        const auto again =
            client().connect(path_from(side::client), user[0]->remote().port, user[0]->local().port, {}, now);
        return again ? std::error_code() : again.error();
    }
    std::size_t segments_sent() const { return segments_sent_; }
    std::size_t live_blocks() const { return pool_.live_blocks(); }
    std::size_t timers_armed() const { return client_.wheel.armed() + server_.wheel.armed(); }
    const std::set<std::tuple<tcp::state, tcp::event, tcp::state>>& edges() const { return edges_; }

    static ip::address client_address() { return ip::address::v4(192, 0, 2, 1); }
    static ip::address server_address() { return ip::address::v4(192, 0, 2, 2); }
    tcp::path path_from(side s) const {
        const ip::address here = s == side::client ? client_address() : server_address();
        const ip::address there = s == side::client ? server_address() : client_address();
        return {here, there, ip::pseudo_header_sum(here, there, ip::protocol::tcp), mtu};
    }
    std::uint16_t mtu = 1500;
    std::size_t most = 1460; ///< payload of one segment; 0: an MSS

  private:
    struct node final : tcp::output_sink, tcp::trace_sink {
        node(tcp_world& w, side s, const tcp::config& c)
            : world(w), which(s), wheel(1us, w.now),
              stack(c, siphash_key{1, static_cast<std::uint64_t>(s)}, random(static_cast<std::uint64_t>(s)),
                    w.pool_, wheel, this) {}
        bool ready() override { return true; }
        std::size_t max_payload() override { return world.most; }
        void emit(const tcp::path& to, const tcp::outgoing_segment& s) override { world.carry(which, to, s); }
        void state_changed(const tcp::flow_key&, const tcp::edge& e) override {
            world.edges_.insert({e.from, e.cause, e.to});
            if (e.to == tcp::state::listen || e.from == tcp::state::listen) {
                if (e.cause != tcp::event::rcv_syn) return;
            }
            world.ladder_.push_back(std::string(name_of(which)) + ' ' + std::string(name(e.to)));
        }
        tcp_world& world;
        side which;
        timer_wheel wheel;
        tcp::stack stack;
    };

    static const char* name_of(side s) { return s == side::client ? "client" : "server"; }

    void carry(side from, const tcp::path& to, const tcp::outgoing_segment& s) {
        const auto self = static_cast<std::size_t>(from);
        if (s.header.syn()) isn_[self] = s.header.seq;
        tcp::header relative = s.header;
        relative.seq = tcp::seq(s.header.seq - isn_[self]);
        if (relative.has_ack()) relative.ack = tcp::seq(s.header.ack - isn_[1 - self]);
        std::string line = std::string(name_of(from)) + " -> " +
                           name_of(from == side::client ? side::server : side::client) + ' ' +
                           to_string(s.header.flags) + " seq=" + std::to_string(relative.seq.value());
        if (relative.has_ack()) line += " ack=" + std::to_string(relative.ack.value());
        if (s.payload_size != 0) line += " len=" + std::to_string(s.payload_size);

        const fate f = network ? network(segments_sent_, from, s) : fate{};
        ++segments_sent_;
        const ip::ecn ecn = f.marked && s.ecn != ip::ecn::not_ect ? ip::ecn::ce : s.ecn;
        if (f.dropped) line += " LOST";
        if (ecn == ip::ecn::ce) line += " CE";
        ladder_.push_back(line);
        if (f.dropped) return;

        buffer b = pool_.allocate(s.size());
        std::size_t at = s.header.size();
        for (const bytes part : s.payload) {
            copy_bytes(b.span().subspan(at), part);
            at += part.size();
        }
        tcp::emit(b.span().first(s.header.size()), s.header, to.pseudo_header_sum, s.payload);
        const side there = from == side::client ? side::server : side::client;
        for (unsigned i = 0; i < f.copies; ++i)
            in_flight_.emplace(std::pair(now + one_way + f.delay, order_++),
                               std::tuple(there, chunk(b, 0, s.size()), ecn));
    }

    using departure = std::pair<instant, std::uint64_t>;
    buffer_pool pool_;
    std::map<departure, std::tuple<side, chunk, ip::ecn>> in_flight_;
    std::uint64_t order_ = 0;
    std::size_t segments_sent_ = 0;
    std::vector<std::string> ladder_;
    std::set<std::tuple<tcp::state, tcp::event, tcp::state>> edges_;
    tcp::seq isn_[2];
    node client_;
    node server_;
    std::unique_ptr<tcp::listening_endpoint> listener_;

  public:
    std::unique_ptr<tcp::endpoint> user[2]; ///< the client's and the accepted one
};

} // namespace tapir::test
