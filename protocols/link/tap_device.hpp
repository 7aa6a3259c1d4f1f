// The file descriptor behind a TAP: made or attached by name, non-blocking, without packet information, with
// a virtio-net header before each frame if asked for. Closing it removes a device that nobody made
// persistent.
#pragma once

#include <tapir/framework/error.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace tapir {

/// Of a device that several threads read and write (host/shard_link.hpp), each opens a queue of its own.
enum class tap_queue : std::uint8_t {
    only,   ///< the device has just this one
    first,  ///< it may have more; tap_errc::busy if somebody has opened one before
    another ///< of a device whose first queue is open
};

class tap_device {
  public:
    /// One attempt; the error is a tap_errc where there is one, else the system's. It does not wait while the
    /// device is busy.
    /// `offload`: with a virtio-net header, and the kernel hands over large segments and partial checksums;
    /// where it cannot, without: offloads() tells.
    /// What the kernel sends comes by one of several queues: by that which wrote to the same flow last, as
    /// long as it remembers.
    static result<tap_device> open(const std::string& name, bool offload = false,
                                   tap_queue queue = tap_queue::only);

    tap_device(tap_device&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)), offloads_(other.offloads_), name_(std::move(other.name_)) {}
    tap_device& operator=(tap_device&& other) noexcept {
        std::swap(fd_, other.fd_);
        std::swap(name_, other.name_);
        std::swap(offloads_, other.offloads_);
        return *this;
    }
    ~tap_device();

    int fd() const { return fd_; }
    const std::string& name() const { return name_; }
    /// A virtio-net header stands before each frame.
    bool offloads() const { return offloads_; }

    /// Largest network-layer packet.
    result<std::size_t> mtu() const;
    /// How many queues of that device are open, if it may have several.
    static result<std::size_t> open_queues(const std::string& name);
    /// A station's address on an Ethernet.
    using station = std::array<std::byte, 6>;
    /// The kernel's own one there, if it knows IPv4 packets of over 64 KiB (big_segment.hpp).
    static std::optional<station> takes_big(const std::string& name);
    /// Whether its kernel side is administratively up.
    result<bool> up() const;
    result<> set_mtu(std::size_t value);
    /// How many frames the kernel queues towards us.
    result<> set_txqueuelen(std::size_t value);
    /// No larger frame is handed over.
    result<> set_gso_max_size(std::size_t value);

  private:
    tap_device(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
    static result<tap_device> attach(const std::string& name, bool offload, tap_queue queue);
    result<> set_link(std::uint16_t attribute, std::size_t value);

    int fd_;
    bool offloads_ = false;
    std::string name_;
};

} // namespace tapir
