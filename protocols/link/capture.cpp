#include <tapir/protocols/link/capture.hpp>
#include <tapir/protocols/link/offload.hpp>
#include <tapir/protocols/link/pcap.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace tapir {

capture::capture(reactor& on, link& below, capture_config config)
    : middleware(below), turn_hook([](turn_hook& h, instant) { static_cast<capture&>(h).turn_ended(); }),
      reactor_(on), config_(config) {}

result<std::unique_ptr<capture>> capture::to_file(reactor& on, link& below, const std::string& path,
                                                  capture_config config) {
    file f(std::fopen(path.c_str(), "wbe"));
    if (!f) return errno_code(errno);
    const auto header = pcap::file_header(config.snap_length);
    if (std::fwrite(header.data(), header.size(), 1, f.get()) != 1 || std::fflush(f.get()) != 0)
        return errno_code(errno);
    auto made = std::make_unique<capture>(on, below, config);
    made->file_ = std::move(f);
    made->bytes_ = header.size();
    return made;
}

void capture::send(frame&& f) {
    record(f, reactor_.now());
    below().send(std::move(f));
}

void capture::receive(frame&& f) {
    record(f, f.arrived);
    pass_up(std::move(f));
}

void capture::turn_ended() {
    if (file_ && std::fflush(file_.get()) != 0) ++dropped_;
}

void capture::record(const frame& f, instant at) {
    const bytes all = f.data();
    const std::size_t kept = std::min<std::size_t>(all.size(), config_.snap_length);
    std::vector<std::byte> packet(pcap::record_header_size + all.size());
    const auto header = pcap::record_header(at.time_since_epoch() + config_.time_origin, kept, all.size());
    const mutable_bytes content = mutable_bytes(packet).subspan(header.size());
    copy_bytes(packet, header);
    copy_bytes(content, all);
    complete_checksum(content, f.meta);
    packet.resize(header.size() + kept);
    if (file_) {
        put(packet);
    } else {
        keep(std::move(packet));
    }
}

void capture::put(bytes packet) {
    if (bytes_ + packet.size() > config_.max_bytes ||
        std::fwrite(packet.data(), packet.size(), 1, file_.get()) != 1) {
        ++dropped_;
        return;
    }
    bytes_ += packet.size();
    reactor_.at_turn_end(*this);
    ++captured_;
}

void capture::keep(std::vector<std::byte>&& packet) {
    bytes_ += packet.size();
    ring_.push_back(std::move(packet));
    ++captured_;
    while (bytes_ > config_.max_bytes) {
        bytes_ -= ring_.front().size();
        ring_.pop_front();
        ++dropped_;
    }
}

std::vector<std::byte> capture::pcap() const {
    const auto header = pcap::file_header(config_.snap_length);
    std::vector<std::byte> out(header.begin(), header.end());
    for (const auto& packet : ring_) out.insert(out.end(), packet.begin(), packet.end());
    return out;
}

result<> capture::save(const std::string& path) const {
    const file f(std::fopen(path.c_str(), "wbe"));
    if (!f) return errno_code(errno);
    const std::vector<std::byte> all = pcap();
    if (std::fwrite(all.data(), all.size(), 1, f.get()) != 1 || std::fflush(f.get()) != 0)
        return errno_code(errno);
    return {};
}

} // namespace tapir
