// Many connections of one TCP, in memory and in virtual time: what each costs in bytes by its state, and what
// a segment costs when it is for any of them. The peers are no stacks: their segments are made here, as
// cheaply as can be, so that both figures are of one end alone.
//
//     memory states       bytes of heap for each connection (true sizes, malloc's own included): half-open,
//                         established and idle, CLOSE_WAIT, TIME_WAIT (of short connections, a few at a
//                         time); with the endpoint's handle, without a coroutine that waits
//     memory segments     CPU nanoseconds for a segment that arrives, is read and acknowledged; and for one
//                         that is written, sent and acknowledged: at 1, 1000, 100 000 and 1 000 000
//                         connections, which take turns, each for the third time at least; and, beside them,
//                         for the cache misses alone. They come in batches of 32; as from a host, TCP is told
//                         of a batch beforehand (stack::expect) where there are many connections
//
// A line for each: "contender value metric".

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/large_pages.hpp>
#include <tapir/framework/prefetch.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/tcp/stack.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <malloc.h>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include "samples/support/command_line.hpp"

namespace {
std::uint64_t heap = 0; ///< bytes in use
} // namespace

// Not inlined: g++ would see malloc's memory given to operator delete, and warn.
[[gnu::noinline]] void* operator new(std::size_t size) {
    void* p = std::malloc(size == 0 ? 1 : size);
    if (p == nullptr) throw std::bad_alloc();
    heap += ::malloc_usable_size(p) + sizeof(std::size_t); // and the word before it
    return p;
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
    if (p != nullptr) heap -= ::malloc_usable_size(p) + sizeof(std::size_t);
    std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept {
    operator delete(p);
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
    void* p = std::aligned_alloc(static_cast<std::size_t>(alignment), size);
    if (p == nullptr) throw std::bad_alloc();
    heap += ::malloc_usable_size(p) + sizeof(std::size_t);
    return p;
}
void operator delete(void* p, std::align_val_t) noexcept {
    operator delete(p);
}

using namespace tapir;

namespace {

using flags = tcp::flags;
constexpr std::uint16_t first_port = 10'000;
constexpr std::uint32_t ports = 50'000; ///< of each peer; then comes the next address
constexpr std::size_t text = 1448;
constexpr std::uint32_t batch = 32;

std::uint64_t cpu_ns() {
    timespec t{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

tcp::config with_room_for(std::uint32_t connections) {
    tcp::config c;
    c.max_connections = c.max_half_open = c.max_time_wait = c.max_orphans = connections + 1;
    c.max_replies = connections + 1;
    return c;
}

/// One TCP that listens, and the peers' ends of `count` connections.
class crowd final : public tcp::output_sink {
  public:
    explicit crowd(std::uint32_t count)
        : peers_(count), wheel_(1us, now_),
          stack_(with_room_for(count), siphash_key{1, 2}, tapir::random(3), pool_, wheel_),
          shared_(pool_.allocate(2048), 0, text) {
        tcp::listen_options o;
        o.backlog = o.half_open_max = count + 1;
        o.accepted.no_delay = true;
        listener_ = std::move(*stack_.listen({here, 80}, o, now_));
        before_ = heap;
    }

    void half_open() {
        for (std::uint32_t i = 0; i < size(); ++i) {
            ask(shuffled(i));
            if (i % batch == 0) flush();
        }
        flush();
    }

    void establish() {
        for (std::uint32_t first = 0; first < size(); first += batch) establish(first, behind(first));
    }

    /// Short connections, a batch after the other, that we end first.
    void come_and_go() {
        for (std::uint32_t first = 0; first < size(); first += batch) {
            establish(first, behind(first));
            for (std::uint32_t n = first; n < behind(first); ++n) {
                const std::uint32_t i = shuffled(n);
                peers_[i].end->finish(now_);
                flush();
                arrive(i, from(i, flags::fin | flags::ack, 1));
                peers_[i].end.reset();
                flush();
            }
        }
        if (stack_.time_waits() != size()) throw std::runtime_error("not all are in TIME_WAIT");
    }

    void peers_finish() {
        for (std::uint32_t i = 0; i < size(); ++i) {
            arrive(i, from(i, flags::fin | flags::ack, 1));
            peers_[i].sent = 2;
            if (i % batch == 0) flush();
        }
        pass(100ms);
    }

    /// Each for the next connection. Endpoints are in the order in which they were made, which is one that a
    /// cache does not foresee.
    double receive(std::uint64_t segments) {
        const std::uint64_t began = cpu_ns();
        for (std::uint64_t n = 0; n < segments;) {
            const std::uint64_t first = n;
            expect(first);
            for (std::size_t k = 0; k < batch; ++k, ++n) {
                const std::uint32_t i = at(n);
                tcp::segment s = from(i, flags::ack, peers_[i].sent);
                s.payload = shared_;
                peers_[i].sent += text;
                arrive(i, s);
            }
            for (std::uint64_t k = first; k < n; ++k)
                while (!peers_[at(k)].end->read_chunk().empty()) {
                }
            pass(100us);
        }
        return static_cast<double>(cpu_ns() - began) / static_cast<double>(segments);
    }

    double send(std::uint64_t segments) {
        const std::uint64_t began = cpu_ns();
        const std::uint64_t before = sent_;
        for (std::uint64_t n = 0; sent_ - before < segments;) {
            if (n > 4 * segments) throw std::runtime_error("nothing moves any more");
            const std::uint64_t first = n;
            expect_writes(first);
            for (std::size_t k = 0; k < batch; ++k, ++n) peers_[at(n)].end->write(shared_);
            flush();
            now_ += 50us;
            expect(first);
            for (std::uint64_t k = first; k < n; ++k) {
                peer& p = peers_[at(k)];
                if (std::exchange(p.acked, p.expects) != p.expects)
                    arrive(at(k), from(at(k), flags::ack, p.sent));
            }
            pass(50us);
        }
        return static_cast<double>(cpu_ns() - began) / static_cast<double>(sent_ - before);
    }

    void pass(duration d) {
        flush();
        now_ += d;
        wheel_.advance(now_);
        flush();
    }
    void fall_silent() {
        for (int i = 0; i < 5; ++i) pass(1s);
    }
    std::uint32_t size() const { return static_cast<std::uint32_t>(peers_.size()); }
    double bytes_each() const { return static_cast<double>(heap - before_) / size(); }

    bool ready() override { return true; }
    std::size_t max_payload() override { return 0; }
    void emit(const tcp::path& to, const tcp::outgoing_segment& s) override {
        const std::uint32_t group = to.remote.v4_value() - first_peer.v4_value();
        peer& p = peers_[group * ports + s.header.destination_port - first_port];
        p.expects = s.header.seq + static_cast<std::uint32_t>(s.payload_size) +
                    (s.header.syn() || s.header.fin() ? 1u : 0u);
        if (s.payload_size != 0) ++sent_;
        if (s.header.options.ts) p.clock = s.header.options.ts->value;
    }

  private:
    static constexpr ip::address here = ip::address::v4(192, 0, 2, 1);
    static constexpr ip::address first_peer = ip::address::v4(198, 18, 0, 0);

    /// In the order in which they take turns: these a cache foresees, so that what is missed is TCP's.
    struct peer {
        std::uint32_t sent = 1; ///< sequence numbers, from the SYN's, which is 0
        tcp::seq expects;
        tcp::seq acked;
        std::uint32_t clock = 0;            ///< ours, as last seen
        std::unique_ptr<tcp::endpoint> end; ///< the other one
    };

    std::uint32_t at(std::uint64_t n) const { return static_cast<std::uint32_t>(n % size()); }
    /// Who is the n-th to connect: the factor is a prime.
    std::uint32_t shuffled(std::uint64_t n) const { return at(n * 2'654'435'761u); }

    tcp::segment from(std::uint32_t i, flags f, std::uint32_t seq) {
        tcp::segment s;
        s.header.source_port = static_cast<std::uint16_t>(first_port + i % ports);
        s.header.destination_port = 80;
        s.header.seq = tcp::seq(seq);
        s.header.flags = f;
        s.header.window = 0xffff;
        if (has(f, flags::ack)) {
            s.header.ack = peers_[i].expects;
            s.header.options.ts =
                tcp::timestamps{static_cast<std::uint32_t>(now_.time_since_epoch() / 1ms), peers_[i].clock};
        }
        return s;
    }

    std::uint32_t behind(std::uint32_t first) const { return std::min(size(), first + batch); }
    void establish(std::uint32_t first, std::uint32_t end) {
        for (std::uint32_t n = first; n < end; ++n) ask(shuffled(n));
        flush();
        for (std::uint32_t n = first; n < end; ++n) {
            const std::uint32_t i = shuffled(n);
            arrive(i, from(i, flags::ack, 1));
            peers_[i].end = listener_->accept();
            if (peers_[i].end == nullptr) throw std::runtime_error("no connection came about");
        }
        flush();
    }

    void ask(std::uint32_t i) {
        tcp::segment s = from(i, flags::syn, 0);
        s.header.options.mss = 1460;
        s.header.options.sack_permitted = true;
        s.header.options.window_scale = 10;
        s.header.options.ts = tcp::timestamps{1, 0};
        arrive(i, s);
    }

    /// A batch, as a host tells TCP of it.
    void expect(std::uint64_t first) {
        if (!stack_.worth_expecting()) return;
        static_assert(batch <= tcp::stack::most_expected);
        std::array<tcp::flow_key, batch> flows;
        for (std::uint32_t k = 0; k < batch; ++k) {
            const std::uint32_t i = at(first + k);
            flows[k] = {here, 80, address_of(i), static_cast<std::uint16_t>(first_port + i % ports)};
        }
        stack_.expect(flows);
    }
    /// As who has something to say to so many.
    void expect_writes(std::uint64_t first) {
        if (!stack_.worth_expecting()) return;
        std::array<tcp::endpoint*, batch> ends;
        for (std::uint32_t k = 0; k < batch; ++k) ends[k] = peers_[at(first + k)].end.get();
        stack_.expect(ends);
    }

    static ip::address address_of(std::uint32_t i) {
        return ip::address::v4(first_peer.v4_value() + i / ports);
    }

    void arrive(std::uint32_t i, tcp::segment s) {
        const ip::address remote = address_of(i);
        s.arrived = now_;
        stack_.receive({here, remote, ip::pseudo_header_sum(here, remote, ip::protocol::tcp), 1500}, s, now_);
    }
    void flush() { stack_.flush(now_, *this); }

    template <class T>
    using of_each = std::vector<T, large_page_allocator<T>>;

    instant now_ = instant(100s);
    of_each<peer> peers_;
    buffer_pool pool_;
    timer_wheel wheel_;
    tcp::stack stack_;
    std::unique_ptr<tcp::listening_endpoint> listener_;
    chunk shared_;
    std::uint64_t before_ = 0;
    std::uint64_t sent_ = 0; ///< segments with text
};

void print(double value, const std::string& metric) {
    std::printf("tapir %.1f %s\n", value, metric.c_str());
    std::fflush(stdout);
}

void states(std::uint32_t count) {
    {
        crowd c(count);
        c.half_open();
        print(c.bytes_each(), "half-open, bytes");
    }
    crowd c(count);
    c.establish();
    print(c.bytes_each(), "established just now, bytes");
    c.fall_silent();
    print(c.bytes_each(), "established and idle, bytes");
    c.receive(count);
    c.send(count);
    print(c.bytes_each(), "that had a segment each way just now, bytes");
    c.fall_silent();
    print(c.bytes_each(), "idle after a segment each way, bytes");
    c.peers_finish();
    c.fall_silent();
    print(c.bytes_each(), "CLOSE_WAIT, bytes");
    crowd other(count);
    other.come_and_go();
    print(other.bytes_each(), "TIME_WAIT, bytes");
}

/// What a segment for one of so many cannot do without, and nothing else: a slot of a hash table leads to
/// five cache lines, which are read and written. Nobody comes below `alone` who takes one segment after the
/// other, nor below `side_by_side` who fetches beforehand what a whole batch will want.
struct cache_misses {
    double alone = 0;
    double side_by_side = 0;
    cache_misses(std::uint32_t connections, std::uint64_t visits);
};

cache_misses::cache_misses(std::uint32_t connections, std::uint64_t visits) {
    using line = std::array<std::uint64_t, 8>;
    static constexpr std::size_t hot = 5;
    struct user {
        std::array<line, hot + 2> lines{};
    };
    struct slot {
        std::uint64_t hash = 0;
        user* then = nullptr;
    };
    std::vector<user, large_page_allocator<user>> second(connections);
    std::vector<slot, large_page_allocator<slot>> first(2 * std::size_t{connections});
    for (std::size_t i = 0; i < first.size(); ++i) first[i].then = &second[i * 7'919 % connections];
    std::uint64_t seen = 0;
    const auto place = [&](std::uint64_t n) -> slot& { return first[n * 2'654'435'761u % first.size()]; };
    const auto visit = [&](slot& s) {
        for (line& l : std::span(s.then->lines).first(hot)) seen += l[0]++;
    };
    const auto each = [&](auto f) {
        const std::uint64_t began = cpu_ns();
        for (std::uint64_t n = 0; n + batch <= visits; n += batch) f(n);
        return static_cast<double>(cpu_ns() - began) / static_cast<double>(visits);
    };
    alone = each([&](std::uint64_t n) { // each waits for the one before: a protocol has much to do in between
        for (std::uint64_t k = n; k < n + batch; ++k) visit(place(k + (seen & 1)));
    });
    side_by_side = each([&](std::uint64_t n) {
        for (std::uint64_t k = n; k < n + batch; ++k) prefetch(&place(k));
        for (std::uint64_t k = n; k < n + batch; ++k) prefetch(place(k).then, hot * sizeof(line));
        for (std::uint64_t k = n; k < n + batch; ++k) visit(place(k));
    });
}

void segments(std::uint64_t count, std::uint32_t most, std::uint32_t only) {
    const std::vector<std::uint32_t> crowds =
        only != 0 ? std::vector{only} : std::vector{1u, 1000u, 100'000u, 1'000'000u};
    for (const std::uint32_t connections : crowds) {
        if (connections > most) continue;
        const auto c = std::make_unique<crowd>(connections);
        c->establish();
        for (int n = 0; n < 2; ++n) { // what a first segment changes for good is not what one costs
            c->receive(std::max(connections, batch * 100));
            c->send(std::max(connections, batch * 100));
        }
        const std::string among = "of " + std::to_string(connections) + ", ns";
        const std::uint64_t all = std::max<std::uint64_t>(count, 2 * std::uint64_t{connections});
        print(c->receive(all), "segment received, " + among);
        print(c->send(all), "segment sent, " + among);
        const cache_misses least(connections, all);
        print(least.alone, "six cache misses in two steps, " + among);
        print(least.side_by_side, "those of a batch side by side, " + among);
    }
}

/// So many that they fit in half of this machine's memory.
std::uint32_t that_fit() {
    const auto memory = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return memory / 2 > std::uint64_t{1'000'000} * 2'000 ? 1'000'000 : 100'000;
}

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("memory: many connections of one TCP, in memory");
    std::string what;
    std::uint32_t connections = 0;
    std::uint32_t only = 0;
    std::uint64_t count = 300'000;
    line.option("what", what).required().one_of({"states", "segments"});
    line.option("--connections", connections, "at most; 0: a million, or what half of the memory holds");
    line.option("--only", only, "segments among so many connections");
    line.option("--segments", count, "of each kind; at least two for each connection");
    if (const auto status = line.parse(argc, argv)) return *status;
    try {
        if (connections == 0) connections = that_fit();
        if (what == "states")
            states(connections);
        else
            segments(count, connections, only);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "memory: %s\n", e.what());
        return 1;
    }
    return 0;
}
