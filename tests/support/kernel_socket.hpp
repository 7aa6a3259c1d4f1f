// A TCP socket of the kernel, blocking, with a time limit on every call: the other end in end-to-end tests.
// What fails throws, with the errno in words.
//
//     auto client = test::kernel_socket::connected("192.0.2.2", 80);
//     client.write("GET / HTTP/1.0\r\n\r\n");
//     client.finish();                                    // shutdown(SHUT_WR)
//     const std::string answer = client.read_to_end();
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tapir::test {

class kernel_socket {
  public:
    static kernel_socket connected(const std::string& address, std::uint16_t port);
    /// Like connected(), but does not wait for the handshake; established() tells.
    static kernel_socket connecting(const std::string& address, std::uint16_t port);
    /// With Fast Open: `text` goes with the SYN if the kernel has a cookie of the server.
    static kernel_socket fast_opened(const std::string& address, std::uint16_t port, std::string_view text);
    static kernel_socket listening(const std::string& address, std::uint16_t port);
    kernel_socket(kernel_socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    kernel_socket& operator=(kernel_socket&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~kernel_socket();

    kernel_socket accept() const;
    void write(std::string_view text) const;
    /// At most `size` bytes; empty at the end of the stream.
    std::string read(std::size_t size = 65536) const;
    /// Reads until `size` bytes have come, or the end.
    std::string read_exactly(std::size_t size) const;
    std::string read_to_end() const;
    /// A request, up to its empty line.
    std::string read_head() const;
    void finish() const;
    bool established() const;
    /// From here on a listening socket takes data from SYNs that show a cookie.
    void allow_fast_open() const;
    /// Whether the data of our SYN was acknowledged with it.
    bool was_fast_opened() const;
    /// Its close() sends RST.
    void reset_on_close() const;
    int fd() const { return fd_; }

  private:
    explicit kernel_socket(int fd);
    int fd_ = -1;
};

} // namespace tapir::test
