// stack::expect(): what is fetched beforehand changes nothing but time. A stack that is told of what comes,
// rightly or wrongly, says the same as one that is told nothing.

#include <tapir/framework/buffer.hpp>
#include <tapir/framework/random.hpp>
#include <tapir/framework/timer_wheel.hpp>
#include <tapir/protocols/ip/checksum.hpp>
#include <tapir/protocols/tcp/stack.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace tapir;

namespace {

constexpr ip::address here = ip::address::v4(192, 0, 2, 1);
constexpr ip::address there = ip::address::v4(192, 0, 2, 2);
constexpr std::uint16_t first_port = 5000;

/// A server, and the segments of a crowd of clients.
class served final : public tcp::output_sink {
  public:
    explicit served(std::uint32_t most_awake)
        : stack_(with(most_awake), siphash_key{1, 2}, tapir::random(3), pool_, wheel_) {
        tcp::listen_options o;
        o.backlog = o.half_open_max = 100;
        o.accepted.no_delay = true;
        listener_ = std::move(*stack_.listen({here, 80}, o, now_));
    }

    static tcp::flow_key flow_of(std::uint16_t client) {
        return {here, 80, there, static_cast<std::uint16_t>(first_port + client)};
    }
    void expect(const std::vector<tcp::flow_key>& flows) { stack_.expect(flows); }
    void in(std::uint16_t client, tcp::flags f, std::uint32_t seq, std::uint32_t ack, std::string text = {}) {
        tcp::segment s;
        s.header.source_port = flow_of(client).remote_port;
        s.header.destination_port = 80;
        s.header.seq = tcp::seq(seq);
        s.header.ack = tcp::seq(ack);
        s.header.flags = f;
        s.header.window = 0xffff;
        buffer b = pool_.allocate(text.size() + 1);
        copy_bytes(b.span(), as_bytes(text));
        s.payload = chunk(b, 0, text.size());
        s.arrived = now_;
        stack_.receive({here, there, ip::pseudo_header_sum(here, there, ip::protocol::tcp)}, s, now_);
    }
    void flush() {
        stack_.flush(now_, *this);
        while (auto e = listener_->accept()) accepted_.push_back(std::move(e));
    }
    /// What each has read, and drops whoever has ended.
    void read() {
        for (auto& e : accepted_)
            for (chunk c = e->read_chunk(); !c.empty(); c = e->read_chunk())
                said += std::to_string(e->remote().port) + " reads " +
                        std::string(reinterpret_cast<const char*>(c.data().data()), c.size()) + "\n";
        std::erase_if(accepted_, [](const auto& e) { return e->ended(); });
    }
    /// Null for -1, as of somebody who is gone.
    void expect_calls(const std::vector<int>& clients) {
        std::vector<tcp::endpoint*> users;
        for (const int who : clients)
            users.push_back(who < 0 ? nullptr : accepted_[static_cast<std::size_t>(who)].get());
        stack_.expect(users);
    }
    void write(int client, std::string_view text) {
        CHECK(accepted_[static_cast<std::size_t>(client)]->write(as_bytes(text)) == text.size());
    }
    std::uint64_t resets() const { return stack_.counted().no_connection + stack_.counted().blind_reset; }
    std::uint64_t unfolded() const { return stack_.counted().unfolded; }
    bool worth_expecting() const { return stack_.worth_expecting(); }

    bool ready() override { return true; }
    std::size_t max_payload() override { return 0; }
    void emit(const tcp::path&, const tcp::outgoing_segment& s) override {
        iss = s.header.syn() ? s.header.seq.value() : iss;
        next[s.header.destination_port - first_port] =
            s.header.seq.value() + static_cast<std::uint32_t>(s.payload_size);
        said += std::to_string(s.header.destination_port) + " gets " + std::to_string(s.header.seq.value()) +
                " " + std::to_string(s.header.ack.value()) + " " +
                std::to_string(static_cast<int>(s.header.flags)) + "\n";
    }

    std::string said;
    std::uint32_t iss = 0;                  ///< of the last SYN|ACK
    std::array<std::uint32_t, 1000> next{}; ///< behind what each was sent last

  private:
    static tcp::config with(std::uint32_t most_awake) {
        tcp::config c;
        c.most_awake = most_awake;
        return c;
    }
    instant now_ = instant(100s);
    buffer_pool pool_;
    timer_wheel wheel_{1us, now_};
    tcp::stack stack_;
    std::unique_ptr<tcp::listening_endpoint> listener_;
    std::vector<std::unique_ptr<tcp::endpoint>> accepted_;
};

} // namespace

TEST_CASE("expect: told rightly, wrongly or nothing, a stack says the same") {
    using flags = tcp::flags;
    constexpr std::uint32_t clients = 1000;              // of which a stack does not know all the hashes
    for (const std::uint32_t most_awake : {0u, 2000u}) { // folded after each turn, or awake
        CAPTURE(most_awake);
        served untold(most_awake);
        served told(most_awake);
        tapir::random r(7);
        struct client {
            std::uint32_t sent = 0; ///< sequence numbers; 0: not open
            std::uint32_t iss = 0;  ///< the server's
        };
        std::vector<client> all(clients);
        std::uint64_t texts = 0;
        std::ptrdiff_t lines = 0;
        for (int round = 0; round < 1500; ++round) {
            std::vector<std::uint16_t> batch(1 + r.below(tcp::stack::most_expected));
            for (auto& who : batch) who = static_cast<std::uint16_t>(r.below(clients));
            std::vector<tcp::flow_key> flows;
            for (const std::uint16_t who : batch)
                if (r.below(8) != 0) flows.push_back(served::flow_of(who)); // others come unexpected
            if (r.below(4) == 0 && !flows.empty()) std::swap(flows.front(), flows.back());
            if (r.below(4) == 0) flows.resize(1 + r.below(tcp::stack::most_expected)); // some never come
            told.expect(flows);
            for (const std::uint16_t who : batch) {
                client& c = all[who];
                const auto both = [&](flags f, const std::string& text = {}) {
                    const std::uint32_t ack = has(f, flags::ack) ? c.iss + 1 : 0;
                    for (served* s : {&told, &untold}) s->in(who, f, c.sent, ack, text);
                };
                if (c.sent == 0) {
                    both(flags::syn);
                    told.flush();
                    untold.flush();
                    c = {1, told.iss};
                    both(flags::ack);
                } else if (r.below(20) == 0) {
                    both(flags::rst);
                    c.sent = 0;
                } else {
                    const std::string text(1 + r.below(1400), static_cast<char>('a' + who % 26));
                    both(flags::ack, text);
                    c.sent += static_cast<std::uint32_t>(text.size());
                    ++texts;
                }
            }
            for (served* s : {&told, &untold}) {
                s->flush();
                s->read();
                s->flush();
            }
            REQUIRE(told.said == untold.said);
            lines += std::ranges::count(told.said, '\n');
            told.said.clear();
            untold.said.clear();
        }
        CHECK(texts > 5000);
        CHECK(lines > 5000);
        CHECK(told.resets() == 0); // none was taken for a stranger
        CHECK(told.worth_expecting() == (most_awake == 0));
    }
}

TEST_CASE("expect: whether calls were announced or not, they do the same") {
    using flags = tcp::flags;
    constexpr int clients = 40;
    served untold(0);
    served told(0);
    for (std::uint16_t who = 0; who < clients; ++who)
        for (served* s : {&told, &untold}) {
            s->in(who, flags::syn, 0, 0);
            s->flush();
            s->in(who, flags::ack, 1, s->iss + 1);
            s->flush();
        }
    tapir::random r(8);
    const auto anybody = [&r] { return static_cast<int>(r.below(clients)); };
    for (int round = 0; round < 300; ++round) {
        std::vector<int> batch(1 + r.below(tcp::stack::most_expected));
        for (int& who : batch) who = anybody();
        std::vector<int> announced = batch;
        if (r.below(4) == 0) announced.resize(1 + r.below(tcp::stack::most_expected), -1);
        for (int& who : announced)
            if (r.below(8) == 0) who = anybody();
        told.expect_calls(announced);
        for (const int who : batch) {
            const std::string text(1 + r.below(1400), static_cast<char>('a' + who % 26));
            const bool at_once = r.below(4) == 0;
            for (served* s : {&told, &untold}) {
                s->write(who, text);
                if (at_once) s->flush();
            }
        }
        for (served* s : {&told, &untold}) {
            s->flush();
            for (const int who : batch)
                s->in(static_cast<std::uint16_t>(who), flags::ack, 1, s->next[static_cast<std::size_t>(who)]);
            s->flush();
        }
        REQUIRE(told.said == untold.said);
    }
    CHECK(told.unfolded() > 3000);
    CHECK(told.unfolded() == untold.unfolded());
}
