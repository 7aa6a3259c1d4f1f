// Every frame that passes, as a pcap file that Wireshark opens, or kept in memory until a test has failed.
//
//     tapir::capture seen(r, w.left(), {.max_bytes = 1 << 20});                  // the newest MiB, in memory
//     if (failed) (void)seen.save("failed.pcap");
//
//     auto file = tapir::capture::to_file(r, tap, "http.pcap", {.time_origin = unix_time_of_instant_zero});
//
// Stamps are those of the reactor, in virtual or real time. Checksums that are left to the link are completed
// in the copy that is written. It is a tool for looking: writing a file may hold up the reactor.
#pragma once

#include <tapir/framework/error.hpp>
#include <tapir/framework/reactor.hpp>
#include <tapir/framework/time.hpp>
#include <tapir/protocols/link/middleware.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace tapir {

struct capture_config {
    capture_config() = default;
    explicit capture_config(std::uint64_t bound) : max_bytes(bound) {}

    /// In memory: the oldest frames make room for new ones beyond this. In a file: nothing is written beyond
    /// it. Counts record headers too.
    std::uint64_t max_bytes = std::uint64_t{64} << 20;
    /// No more of one frame is kept. The default holds the largest frame with segmentation offload.
    std::uint32_t snap_length = 65'536 + 64;
    /// When instant{} was, since 1970. A program takes it from its wall clock; virtual time needs none.
    duration time_origin{};
};

class capture final : public middleware, turn_hook {
  public:
    /// Keeps frames in memory.
    capture(reactor& on, link& below, capture_config config = {});
    /// Writes frames to a new file; what a turn sent and received is in it when the host has flushed. The
    /// error is the system's.
    static result<std::unique_ptr<capture>> to_file(reactor& on, link& below, const std::string& path,
                                                    capture_config config = {});

    void send(frame&& f) override;

    /// What is kept in memory, as the contents of a pcap file.
    std::vector<std::byte> pcap() const;
    /// The same, written to a new file.
    result<> save(const std::string& path) const;

    std::uint64_t captured() const { return captured_; }
    /// Frames that had to make room, did not fit, or could not be written.
    std::uint64_t dropped() const { return dropped_; }

  private:
    struct close_file {
        void operator()(std::FILE* f) const { std::fclose(f); }
    };
    using file = std::unique_ptr<std::FILE, close_file>;

    void receive(frame&& f) override;
    void turn_ended();
    void record(const frame& f, instant at);
    void keep(std::vector<std::byte>&& packet);
    void put(bytes packet);

    reactor& reactor_;
    capture_config config_;
    file file_;
    std::deque<std::vector<std::byte>> ring_; ///< records with their headers
    std::uint64_t bytes_ = 0;
    std::uint64_t captured_ = 0;
    std::uint64_t dropped_ = 0;
};

} // namespace tapir
