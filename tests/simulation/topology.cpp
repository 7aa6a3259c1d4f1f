#include "tests/simulation/topology.hpp"

#include <tapir/framework/frame_pool.hpp>
#include <tapir/framework/sim_backend.hpp>
#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/host/packet_text.hpp>

#include <cassert>
#include <cstring>
#include <stdexcept>

namespace tapir::test {

namespace {

constexpr std::size_t longest_ladder = 400'000; // bytes of text

reactor_config seeded(std::uint64_t seed) {
    reactor_config c;
    c.seed = seed;
    return c;
}

sim_config simulated(std::uint64_t seed, instant start) {
    sim_config c;
    c.seed = seed;
    c.start = start;
    return c;
}

wire_config wire_of(const link_plan& p) {
    wire_config c;
    c.mtu = p.mtu;
    c.segmentation = p.segmentation;
    return c;
}

impair_config impairment_of(const link_plan& p, std::uint64_t seed) {
    impair_config c;
    c.out = p.to_right;
    c.in = p.to_left;
    c.seed = seed;
    return c;
}

ip::address address_at(std::size_t link, std::uint8_t end) {
    return ip::address::v4(192, 0, static_cast<std::uint8_t>(link + 2), end);
}

constexpr std::uint8_t left_end = 1;
constexpr std::uint8_t right_end = 2;

} // namespace

// --- plug
// ---------------------------------------------------------------------------------------------------

plug::plug(topology& in, node& of, std::size_t number, tapir::link& below)
    : middleware(below), topology_(in), node_(of), number_(number) {}

void plug::send(frame&& f) {
    if (!plugged) return;
    topology_.saw(*this, direction::out, f);
    below().send(std::move(f));
}

void plug::receive(frame&& f) {
    if (!plugged) return;
    topology_.saw(*this, direction::in, f);
    topology_.flood_.frame_came();
    pass_up(std::move(f));
}

// --- flood
// --------------------------------------------------------------------------------------------------

flood::flood(reactor& on, std::uint64_t seed)
    : turn_hook([](turn_hook& h, instant) { static_cast<flood&>(h).goes_on(); }), reactor_(on),
      random_(seed) {}

void flood::frame_came() {
    if (one_in_ == 0 || random_.below(one_in_) != 0) return;
    constexpr std::uint32_t longest = 8;
    turns_ = 1 + random_.below(longest);
    reactor_.at_input_end(*this);
}

void flood::goes_on() {
    reactor_.more_input_waits();
    if (--turns_ != 0) reactor_.at_input_end(*this);
}

// --- cable
// --------------------------------------------------------------------------------------------------

cable::cable(reactor& on, link_plan plan, std::uint64_t seed, bool keeps_frames)
    : plan_(std::move(plan)), wire_(on, wire_of(plan_)), path_(on, wire_.left(), impairment_of(plan_, seed)) {
    if (keeps_frames) seen_ = std::make_unique<capture>(on, path_);
    if (plan_.segmentation) cut_ = std::make_unique<segmenter>(left());
    if (!plan_.carrier) wire_.set_carrier(false);
    for (const link_plan::change& c : plan_.changes) {
        changes_.push_back(std::make_unique<change>(*this, c.what));
        on.timers().arm(*changes_.back(), on.now() + c.after);
    }
}

void cable::become(const element& what) {
    what(plan_);
    path_.configure(direction::out, plan_.to_right);
    path_.configure(direction::in, plan_.to_left);
    wire_.set_mtu(plan_.mtu);
    wire_.set_carrier(plan_.carrier);
}

void cable::save_pcap(const std::string& to) const {
    if (seen_) (void)seen_->save(to);
}

// --- node
// ------------------------------------------------------------------------------------------------

node::node(topology& in, std::string name, std::size_t position, host_config config)
    : topology_(in), name_(std::move(name)), position_(position), config_(std::move(config)) {
    config_.name = name_;
    config_.trace = this;
}

node::~node() = default;

ip::endpoint node::at(std::uint16_t port_number) const {
    return {position_ == 0 ? address_at(0, left_end) : address_at(position_ - 1, right_end), port_number};
}

void node::start() {
    assert(host_ == nullptr);
    for (attachment& a : attachments_) a.way_in->plugged = true;
    host_ = std::make_unique<tapir::host>(topology_.on(), config_);
    for (attachment& a : attachments_)
        if (const auto added = host_->add_interface(*a.way_in, a.mac, a.address); !added)
            throw std::runtime_error(name_ + ": " + added.error().message());
    for (const auto& [to, gateway] : routes_)
        if (const auto added = host_->add_route(to, gateway); !added)
            throw std::runtime_error(name_ + ": " + added.error().message());
}

void node::vanish() {
    for (attachment& a : attachments_) a.way_in->plugged = false;
    host_.reset();
}

void node::segment_in(const tcp::flow_key& flow, const tcp::segment& s, instant now) {
    if (topology_.run_.keep) beliefs_.segment_in(flow, s, now);
}

void node::segment_out(const tcp::flow_key& flow, const tcp::outgoing_segment& s, instant now) {
    if (!topology_.run_.keep) return;
    beliefs_.segment_out(flow, s, now);
    topology_.segment_out(*this, s, now);
}

void node::state_changed(const tcp::flow_key& flow, const tcp::edge& e) {
    if (topology_.run_.keep) beliefs_.state_changed(flow, e);
    topology_.state_changed(*this, e);
}

void node::retransmission_timeout(const tcp::flow_key& flow, duration rto, unsigned backoff, instant) {
    if (topology_.run_.keep) beliefs_.timed_out(flow, rto, backoff);
}

void node::dropped(const tcp::flow_key& flow, const tcp::segment&, std::string_view reason, instant) {
    if (topology_.run_.keep) beliefs_.dropped(flow, reason);
}

// --- topology
// -----------------------------------------------------------------------------------------------

topology::topology(const seed_run& run, instant start)
    : run_(run), frames_before_(live_frames()), random_(run.seed ^ 0x5eed),
      reactor_(make_sim_backend(simulated(run.seed, start)), seeded(run.seed)),
      flood_(reactor_, run.seed ^ 0xf100d) {}

topology::~topology() {
    for (const auto& c : cables_) faults_of_this_run() += c->path().faults();
    for (const auto& n : nodes_)
        if (n->running()) acks_deferred_in_this_run() += n->host().tcp().counted().acks_deferred;
}

topology& topology::host(std::string name, host_config config) {
    assert(nodes_.size() == plans_.size() && "a link goes between two nodes");
    nodes_.push_back(std::make_unique<node>(*this, std::move(name), nodes_.size(), std::move(config)));
    return *this;
}

topology& topology::host(std::string name, const tcp::config& tcp) {
    host_config c;
    c.tcp = tcp;
    return host(std::move(name), std::move(c));
}

topology& topology::router(std::string name) {
    host_config c;
    c.forwarding = true;
    return host(std::move(name), std::move(c));
}

topology& topology::link(link_plan plan) {
    assert(nodes_.size() == plans_.size() + 1 && "a link begins at a node");
    plans_.push_back(std::move(plan));
    return *this;
}

std::uint64_t topology::link_seed(std::size_t number) const {
    return run_.seed + number * 0x9e3779b97f4a7c15u;
}

void topology::start() {
    if (started_) return;
    started_ = true;
    assert(nodes_.size() == plans_.size() + 1 && "a link ends at a node");
    for (std::size_t i = 0; i < plans_.size(); ++i) {
        cables_.push_back(std::make_unique<cable>(reactor_, plans_[i], link_seed(i), run_.keep));
        if (run_.replay == nullptr) continue;
        fault_schedule schedule;
        for (const placed_fault& f : *run_.replay)
            if (f.link == i) schedule.push_back(f.what);
        cables_[i]->path().replay(schedule);
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        node& s = *nodes_[i];
        const auto plug_in = [&](std::size_t link, std::uint8_t end, tapir::link& into) {
            node::attachment a;
            a.way_in = std::make_unique<plug>(*this, s, plugs_++, into);
            a.mac = ethernet::mac_address(2, 0, 0, 0, static_cast<std::uint8_t>(link), end);
            a.address = ip::prefix(address_at(link, end), 24);
            s.attachments_.push_back(std::move(a));
        };
        if (i > 0) plug_in(i - 1, right_end, cables_[i - 1]->right());
        if (i < cables_.size()) plug_in(i, left_end, cables_[i]->left());
        // To the networks on either side of its own, through its neighbours.
        for (std::size_t n = 0; n + 1 < i; ++n)
            s.routes_.emplace_back(ip::prefix(address_at(n, 0), 24), address_at(i - 1, left_end));
        for (std::size_t n = i + 1; n < cables_.size(); ++n)
            s.routes_.emplace_back(ip::prefix(address_at(n, 0), 24), address_at(i, right_end));
        s.start();
    }
}

node& topology::operator[](std::string_view name) {
    for (const auto& s : nodes_)
        if (s->name() == name) return *s;
    throw std::out_of_range("there is no node " + std::string(name));
}

void topology::fail(const std::string& what) {
    if (wrong_.empty() && run_.keep) beliefs_when_it_failed_ = beliefs();
    wrong_ += what + "\n";
}

std::string topology::quiet(duration settle) {
    auto pass = [](duration d) -> task<> { (void)co_await sleep_for(d); };
    reactor_.run(pass(settle));
    std::string left;
    const auto check = [&](const std::string& what, std::size_t n) {
        if (n != 0) left += what + ": " + std::to_string(n) + " left\n";
    };
    for (const auto& s : nodes_) {
        if (!s->running()) continue;
        check(s->name() + " connections", s->host().tcp().connections());
        check(s->name() + " half-open", s->host().tcp().half_open());
        check(s->name() + " TIME_WAIT", s->host().tcp().time_waits());
        check(s->name() + " receive memory", s->host().tcp().memory().receive.used());
        check(s->name() + " send memory", s->host().tcp().memory().send.used());
        check(s->name() + " buffers", s->host().pool().live_blocks());
    }
    check("coroutines", live_frames() - frames_before_);
    return left;
}

void topology::check_quiet(duration settle) {
    if (const std::string left = quiet(settle); !left.empty()) fail(left);
}

std::string topology::beliefs() {
    std::string out;
    for (const auto& s : nodes_)
        out += s->name() + (s->running() ? "" : " (down)") + ":\n" +
               s->beliefs().text(s->running() ? &s->host().tcp() : nullptr);
    return out;
}

fault_list topology::faults() const {
    fault_list out;
    for (std::size_t i = 0; i < cables_.size(); ++i)
        for (const fault& f : cables_[i]->path().schedule()) out.emplace_back(i, f);
    return out;
}

seed_outcome topology::outcome() {
    seed_outcome out;
    out.hash = hash_;
    out.wrong = wrong_;
    if (!wrong_.empty()) out.faults = faults();
    if (run_.keep) {
        out.ladder = ladder_;
        out.beliefs = wrong_.empty() ? beliefs() : beliefs_when_it_failed_;
        if (!run_.pcap.empty()) cables_.front()->save_pcap(run_.pcap);
    }
    return out;
}

// FNV-1a over words instead of bytes: it tells runs apart, nothing more.
void topology::mix(bytes b) {
    std::uint64_t word = 0;
    for (; b.size() >= sizeof word; b = b.subspan(sizeof word)) {
        std::memcpy(&word, b.data(), sizeof word);
        mix(word);
        hash_ ^= hash_ >> 32; // the multiplication carries upwards only
    }
    word = b.size();
    for (const std::byte last : b) word = word << 8 | static_cast<std::uint64_t>(last);
    mix(word);
}

void topology::saw(const plug& at, direction d, const frame& f) {
    const instant now = reactor_.now();
    mix(static_cast<std::uint64_t>(now.time_since_epoch().count()));
    mix(at.number_ * 2 + (d == direction::out ? 0u : 1u));
    mix(f.data());
    if (watch) watch(at.node_, d, f.data());
    if (run_.keep && ladder_.size() < longest_ladder)
        ladder_ += std::to_string(now.time_since_epoch() / 1us) + "us " + at.node_.name() +
                   (d == direction::out ? " sends " : " gets  ") + packet_text(f.data()) + "\n";
}

void topology::segment_out(node& by, const tcp::outgoing_segment& s, instant now) {
    if (by.position_ == 0)
        conversation_.sent(side::client, s, now);
    else if (by.position_ == plans_.size())
        conversation_.sent(side::server, s, now);
}

void topology::state_changed(node& of, const tcp::edge& e) {
    coverage::of_this_run().walked(e.from, e.cause, e.to);
    if (run_.keep && of.position_ == 0) conversation_.changed(side::client, e);
    if (run_.keep && of.position_ == plans_.size()) conversation_.changed(side::server, e);
    mix(of.position_ << 24 | static_cast<std::uint64_t>(e.from) << 16 |
        static_cast<std::uint64_t>(e.cause) << 8 | static_cast<std::uint64_t>(e.to));
    mix(static_cast<std::uint64_t>(e.when.time_since_epoch().count()));
}

} // namespace tapir::test
