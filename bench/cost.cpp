// What TCP costs for each segment of a bulk transfer that loses nothing: two stacks back to back in memory,
// without host, IP, link, reactor or coroutines, in virtual time. What is left is the price of protocol
// alone: that of the sender's records above all, and of its timers.
//
//     whole   1460 bytes are copied in, cut, checksummed, copied into a frame, verified, and copied out
//     bare    the same bytes are queued as a chunk, handed over as a parsed segment, and dropped
//
// The link takes `batch` segments a turn and delivers them all `flight` segments later, as one batch that
// draws one ACK; it, not cwnd, is the limit, so that every version of TCP sees the same arrivals.
//
// One line per measure and round: name, CPU nanoseconds per segment (both ends together), bytes of sender's
// memory per segment in flight (heap of the sending stack beyond what it holds with a full queue and nothing
// sent), allocations per segment, segments per ACK.
//
// It uses what TCP has had from the start, and compiles against older versions for comparison:
// bench/README.md.
#include <tapir/framework/buffer.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/tcp/stack.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "samples/support/command_line.hpp"

namespace {

/// Whose call it is that allocates.
enum class owner : std::size_t { bench, sender, receiver };
owner on_behalf_of = owner::bench;
std::array<std::size_t, 3> live_bytes{};
std::uint64_t allocations = 0; ///< by the two stacks

struct alignas(std::max_align_t) note {
    std::size_t size;
    std::size_t of;
};

} // namespace

// Not inlined: g++ would see malloc's memory given to operator delete, and warn.
[[gnu::noinline]] void* operator new(std::size_t size) {
    auto* n = static_cast<note*>(std::malloc(size + sizeof(note)));
    if (n == nullptr) throw std::bad_alloc();
    n->size = size;
    n->of = static_cast<std::size_t>(on_behalf_of);
    live_bytes[n->of] += size;
    if (on_behalf_of != owner::bench) ++allocations;
    return n + 1;
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
    if (p == nullptr) return;
    auto* n = static_cast<note*>(p) - 1;
    live_bytes[n->of] -= n->size;
    std::free(n);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept {
    operator delete(p);
}

using namespace tapir;

namespace {

constexpr std::size_t mss = 1460;
constexpr std::size_t timestamps = 12; ///< bytes of every header
constexpr std::size_t text = mss - timestamps;
constexpr std::size_t piece = 64 * 1024;
constexpr std::uint32_t buffers = 4 << 20; ///< fixed: nothing is tuned meanwhile
constexpr std::uint16_t port = 80;
constexpr duration a_segment = 12us; ///< 1 Gbit/s

std::uint64_t cpu_ns() {
    timespec t{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

struct scenario {
    scenario(const char* what, bool all, bool pace, unsigned segments)
        : name(what), whole(all), paced(pace), batch(segments) {}
    std::string name;
    bool whole;
    bool paced;
    unsigned batch; ///< segments
};

/// Older versions do not pace.
template <class Options>
void set_pacing(Options& o, bool on) {
    if constexpr (requires { o.paced; }) o.paced = on;
}

template <class Options>
constexpr bool can_pace() {
    return requires(Options& o) { o.paced; };
}

tcp::connection_options options_for(bool paced) {
    tcp::connection_options o;
    o.send_buffer = o.receive_buffer = buffers;
    set_pacing(o, paced);
    return o;
}

/// One end: a stack, what it has sent, and the endpoint.
class end final : public tcp::output_sink {
  public:
    end(owner who, std::uint8_t number, const scenario& s)
        : most_(0), who_(who), scenario_(s), wheel_(1us, instant(1s)),
          stack_({}, siphash_key{1, number}, tapir::random(number), pool_, wheel_),
          path_(address(number), address(static_cast<std::uint8_t>(3 - number)),
                ip::pseudo_header_sum(address(number), address(static_cast<std::uint8_t>(3 - number)),
                                      ip::protocol::tcp),
                1500),
          shared_(pool_.allocate(piece)) {
        for (std::byte& b : shared_.span()) b = std::byte{0x5a};
    }

    bool ready() override { return out_.size() < most_; }
    std::size_t max_payload() override { return 0; }
    void emit(const tcp::path& to, const tcp::outgoing_segment& s) override {
        const owner before = std::exchange(on_behalf_of, owner::bench);
        tcp::segment made;
        made.header = s.header;
        if (scenario_.whole) {
            buffer b = pool_.allocate(s.size());
            std::size_t at = s.header.size();
            for (const bytes part : s.payload) {
                copy_bytes(b.span().subspan(at), part);
                at += part.size();
            }
            tcp::emit(b.span().first(s.header.size()), s.header, to.pseudo_header_sum, s.payload);
            made.payload = chunk(std::move(b), 0, s.size());
        } else if (s.payload_size != 0) {
            made.payload = chunk(shared_, 0, s.payload_size);
        }
        out_.push_back(std::move(made));
        on_behalf_of = before;
    }

    /// One turn: what has arrived, timers, the user, and what the link takes.
    template <class User>
    void turn(std::deque<tcp::segment>& arrived, std::size_t most, instant now, User user) {
        on_behalf_of = who_;
        for (; !arrived.empty(); arrived.pop_front()) {
            tcp::segment& s = arrived.front();
            if (scenario_.whole) {
                stack_.receive(path_, s.payload, tcp::checksum_known::no, now, now);
            } else {
                s.arrived = now;
                stack_.receive(path_, s, now);
            }
        }
        wheel_.advance(now);
        user();
        most_ = most;
        stack_.flush(now, *this);
        on_behalf_of = owner::bench;
    }

    void listen(instant now) {
        tcp::listen_options o;
        o.accepted = options_for(scenario_.paced);
        listener_ = std::move(*stack_.listen({path_.local, port}, o, now));
    }
    void connect(instant now) {
        user_ = std::move(*stack_.connect(path_, port, 0, options_for(scenario_.paced), now));
    }
    bool accept() {
        if (!user_) user_ = listener_->accept();
        return user_ != nullptr;
    }
    tcp::endpoint& user() { return *user_; }
    bool established() const { return user_ && user_->state() == tcp::state::established; }
    std::deque<tcp::segment>& sent() { return out_; }

    /// In whole pieces: what fits of one would be a copy.
    void write_all() {
        while (user_->writable() >= piece)
            if (scenario_.whole)
                user_->write(shared_.span());
            else
                user_->write(chunk(shared_));
    }
    void read_all() {
        if (scenario_.whole)
            while (user_->read(got_) != 0) {
            }
        else
            while (!user_->read_chunk().empty()) {
            }
    }

  private:
    static ip::address address(std::uint8_t number) { return ip::address::v4(192, 0, 2, number); }

    std::size_t most_;
    owner who_;
    const scenario& scenario_;
    buffer_pool pool_;
    timer_wheel wheel_;
    tcp::stack stack_;
    tcp::path path_;
    buffer shared_;
    std::vector<std::byte> got_ = std::vector<std::byte>(piece);
    std::deque<tcp::segment> out_;
    std::unique_ptr<tcp::listening_endpoint> listener_;
    std::unique_ptr<tcp::endpoint> user_;
};

class transfer {
  public:
    transfer(const scenario& s, unsigned flight)
        : scenario_(s), way_(flight / s.batch), sender_(owner::sender, 1, s),
          receiver_(owner::receiver, 2, s) {}

    void run(std::uint64_t segments) {
        establish();
        const std::size_t queued_only = live_bytes[static_cast<std::size_t>(owner::sender)];
        for (unsigned i = 0; i < 40 * way_.size(); ++i)
            turn(); // slow start is over, and all tables are grown
        const std::uint64_t allocated = allocations;
        const std::uint64_t acks = acks_;
        const std::uint64_t began = cpu_ns();
        const std::uint64_t before = delivered_;
        while (delivered_ - before < segments) {
            const std::uint64_t so_far = delivered_;
            turn();
            stalled_ = delivered_ == so_far ? stalled_ + 1 : 0;
            if (stalled_ > 1000) throw std::runtime_error("nothing moves any more");
        }
        const auto count = static_cast<double>(delivered_ - before);
        const auto took = static_cast<double>(cpu_ns() - began);
        const tcp::info i = sender_.user().info();
        const auto memory = static_cast<double>(live_bytes[static_cast<std::size_t>(owner::sender)]) -
                            static_cast<double>(queued_only);
        const double in_flight = static_cast<double>(i.snd_nxt - i.snd_una) / static_cast<double>(text);
        if (i.bytes_retransmitted != 0) throw std::runtime_error("something was sent twice: no such path");
        std::printf("%s %.1f %.2f %.4f %.1f %.0f\n", scenario_.name.c_str(), took / count, memory / in_flight,
                    static_cast<double>(allocations - allocated) / count,
                    count / static_cast<double>(acks_ - acks), in_flight);
        std::fflush(stdout);
    }

  private:
    void establish() {
        std::deque<tcp::segment> nothing;
        receiver_.listen(now_);
        sender_.connect(now_);
        sender_.turn(nothing, 100, now_, [] {});
        for (int i = 0; i < 10 && !(sender_.established() && receiver_.accept()); ++i) {
            now_ += 1ms;
            receiver_.turn(sender_.sent(), 100, now_, [] {});
            now_ += 1ms;
            sender_.turn(receiver_.sent(), 100, now_, [] {});
        }
        if (!sender_.established() || !receiver_.accept())
            throw std::runtime_error("no connection came about");
        sender_.turn(nothing, 0, now_, [this] { sender_.write_all(); });
    }

    // A batch leaves, the one that left `way_.size()` turns ago arrives, and its ACK is back at once.
    void turn() {
        now_ += scenario_.batch * a_segment;
        sender_.turn(receiver_.sent(), scenario_.batch, now_, [this] { sender_.write_all(); });
        std::swap(way_[at_], sender_.sent()); // what was there has arrived the last time round
        at_ = (at_ + 1) % way_.size();
        delivered_ += way_[at_].size();
        receiver_.turn(way_[at_], 100, now_, [this] { receiver_.read_all(); });
        acks_ += receiver_.sent().size();
    }

    const scenario& scenario_;
    std::vector<std::deque<tcp::segment>> way_;
    std::size_t at_ = 0;
    instant now_ = instant(2s);
    std::uint64_t delivered_ = 0;
    std::uint64_t acks_ = 0;
    unsigned stalled_ = 0;
    end sender_;
    end receiver_;
};

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("cost: what TCP costs for each segment when nothing is lost, in memory");
    unsigned rounds = 5;
    unsigned segments = 200'000;
    unsigned flight = 256;
    line.option("--rounds", rounds).within(1, 100);
    line.option("--segments", segments, "in each measure").within(1000, 100'000'000);
    line.option("--flight", flight, "segments under way").within(64, 2048);
    std::string only;
    line.option("--only", only, "one measure, for profilers");
    if (const auto status = line.parse(argc, argv)) return *status;
    try {
        std::vector<scenario> all;
        for (const unsigned batch : {2u, 32u}) {
            const std::string by = "-by-" + std::to_string(batch);
            all.emplace_back(("whole" + by).c_str(), true, true, batch);
            all.emplace_back(("bare" + by).c_str(), false, true, batch);
            if (can_pace<tcp::connection_options>())
                all.emplace_back(("bare-unpaced" + by).c_str(), false, false, batch);
        }
        for (unsigned i = 0; i < rounds; ++i)
            for (const scenario& s : all) {
                if (!only.empty() && only != s.name) continue;
                const auto t = std::make_unique<transfer>(s, flight);
                t->run(segments);
            }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "cost: %s\n", e.what());
        return 1;
    }
    return 0;
}
