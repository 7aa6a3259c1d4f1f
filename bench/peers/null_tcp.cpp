// The limit: a TCP on a TAP that leaves out all that can be left out. No timers, no recovery, no congestion
// control, no reassembly, no TIME_WAIT; one peer, on a link that loses nothing. What is left is what any TCP
// over a TAP has to do here, and what it reaches is the most that one can reach.
//
// It has the services of server.cpp at the same ports, and the same response. A frame is read, answered and
// written by one system call each; with --offload on it may be 64 KiB, without a checksum. A response to a
// request that asks for the end carries the FIN: one frame less than a server of streams can do. After
// every 24 frames with data it sends itself a datagram (protocols/link/tap_reclaim.hpp).

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <memory>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include "samples/support/command_line.hpp"

namespace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;

constexpr u8 fin = 1, syn = 2, rst = 4, psh = 8, ack = 16;
constexpr unsigned window_scale = 10;
constexpr std::size_t largest = 64 * 1024; ///< an IP packet, as the kernel cuts and joins them
constexpr int frames_per_turn = 64;        ///< read before anything is acknowledged
constexpr int segments_per_turn = 8;       ///< of one source, before input has its turn
constexpr int frames_per_reclaim = 24;     ///< with data

/// As linux/virtio_net.h has it, which is no C++.
struct [[gnu::packed]] virtio_header {
    static constexpr u8 needs_checksum = 1, tcp4 = 1;
    u8 flags, gso_type;
    u16 header_size, gso_size, checksum_start, checksum_offset;
};

/// How every frame begins, without TCP options.
struct [[gnu::packed]] head {
    virtio_header link;
    ether_header ethernet;
    iphdr ip;
    tcphdr tcp;
};
constexpr std::size_t link_size = sizeof(virtio_header), ip_at = link_size + sizeof(ether_header);
static_assert(link_size == 10 && sizeof(head) == 64);

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::system_category(), what);
}

// Sums of 16-bit words in the order of memory, in one's complement.
std::uint64_t sum_of(const void* from, std::size_t size, std::uint64_t sum = 0) {
    const auto* at = static_cast<const u8*>(from);
    std::uint64_t other = 0; // two chains of additions
    for (; size >= 8; size -= 8, at += 8) {
        u32 low, high;
        std::memcpy(&low, at, 4);
        std::memcpy(&high, at + 4, 4);
        sum += low;
        other += high;
    }
    std::uint64_t rest = 0;
    std::memcpy(&rest, at, size);
    return sum + other + (rest & 0xffffffff) + (rest >> 32);
}
u16 folded(std::uint64_t sum) {
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<u16>(sum);
}

enum class service : u8 { http, source, sink, echo };
enum class phase : u8 { closed, open, finishing /* our FIN went first */, last_ack };

struct connection {
    head out; ///< as all of its segments begin
    std::uint64_t ip_sum;
    std::uint64_t pseudo_sum;
    u32 rcv_nxt, snd_una, snd_nxt, window;
    u16 mss;
    u8 peer_scale;
    u8 matched; ///< bytes of the blank line that ends a request
    service what;
    phase state;
    bool owes_ack, is_source, asked_to_close;
};

/// Memory that begins with a page: what the kernel copies there costs less.
class buffer {
  public:
    explicit buffer(std::size_t size) : memory_(size + 4096), size_(size) {
        const auto at = reinterpret_cast<std::uintptr_t>(memory_.data());
        begin_ = memory_.data() + (4096 - at % 4096);
    }
    u8* data() { return begin_; }
    std::size_t size() const { return size_; }

  private:
    std::vector<u8> memory_;
    std::size_t size_;
    u8* begin_;
};

class null_tcp {
  public:
    null_tcp(const std::string& device, in_addr own, u16 port, bool offload, bool spin)
        : own_(own), first_port_(port), offload_(offload), spin_(spin), input_(link_size + 14 + largest),
          zeros_(largest), table_(std::make_unique<connection[]>(4 * 65536)) {
        open(device);
        send_to_ourselves();
        const std::string one = "HTTP/1.1 200 OK\r\nServer: null\r\nDate: Sun, 29 Nov 2026 07:00:00 GMT\r\n"
                                "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n";
        response_size_ = one.size();
        for (std::size_t i = 0; i < 256; ++i) responses_ += one;
    }

    [[noreturn]] void run() {
        for (;;) {
            bool dry = false;
            for (int i = 0; i < frames_per_turn && !dry; ++i) {
                const ssize_t n = ::read(fd_, input_.data(), input_.size());
                if (n <= 0)
                    dry = true;
                else
                    arrived(static_cast<std::size_t>(n));
            }
            for (connection* c : owing_)
                if (std::exchange(c->owes_ack, false) && c->state != phase::closed) send(*c, ack);
            owing_.clear();
            bool moved = false;
            for (connection* c : sources_) moved |= pump(*c);
            if (dry && !moved && !spin_) {
                pollfd p{fd_, POLLIN, 0};
                ::poll(&p, 1, -1);
            }
        }
    }

  private:
    void open(const std::string& device) {
        fd_ = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd_ < 0) fail("/dev/net/tun");
        ifreq r{};
        device.copy(r.ifr_name, IFNAMSIZ - 1);
        r.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        for (int tries = 0; ::ioctl(fd_, TUNSETIFF, &r) != 0; ++tries) {
            if (errno != EBUSY || tries == 200) fail("TUNSETIFF");
            ::usleep(10'000); // who had it before is still being taken down
        }
        int size = link_size;
        if (::ioctl(fd_, TUNSETVNETHDRSZ, &size) != 0) fail("TUNSETVNETHDRSZ");
        if (::ioctl(fd_, TUNSETOFFLOAD, offload_ ? TUN_F_CSUM | TUN_F_TSO4 : 0) != 0) fail("TUNSETOFFLOAD");
        const int s = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (::ioctl(s, SIOCGIFMTU, &r) != 0) fail("SIOCGIFMTU");
        mss_ = static_cast<u16>(r.ifr_mtu - 40);
        ::close(s);
    }

    void send_to_ourselves() {
        ourselves_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof at;
        auto* const address = reinterpret_cast<sockaddr*>(&at);
        if (::bind(ourselves_, address, size) != 0 || ::getsockname(ourselves_, address, &size) != 0 ||
            ::connect(ourselves_, address, size) != 0)
            fail("a socket at 127.0.0.1");
    }

    // --- output -------------------------------------------------------------------------------------------
    /// `options` are the last `option_size` bytes of the header. Counts what is sent in snd_nxt.
    void send(connection& c, u8 flags, const void* payload = nullptr, std::size_t size = 0,
              const void* options = nullptr, std::size_t option_size = 0) {
        head& h = c.out;
        const auto tcp_size = static_cast<u16>(sizeof(tcphdr) + option_size);
        h.ip.tot_len = htons(static_cast<u16>(sizeof(iphdr) + tcp_size + size));
        h.ip.check = static_cast<u16>(~folded(c.ip_sum + h.ip.tot_len));
        if ((flags & syn) == 0) h.tcp.window = htons(static_cast<u16>(offered() >> window_scale));
        h.tcp.seq = htonl(c.snd_nxt);
        h.tcp.ack_seq = htonl(c.rcv_nxt);
        h.tcp.doff = tcp_size / 4 & 15;
        h.tcp.th_flags = flags;
        h.tcp.check = 0;
        std::uint64_t sum = c.pseudo_sum + htons(static_cast<u16>(tcp_size + size));
        if (offload_) {
            h.link.gso_type = size > c.mss ? virtio_header::tcp4 : u8{0};
            h.link.gso_size = size > c.mss ? c.mss : 0;
            h.tcp.check = folded(sum); // the kernel adds the rest, if ever it is to leave the machine
        } else {
            sum = sum_of(&h.tcp, sizeof(tcphdr), sum);
            sum = sum_of(options, option_size, sum);
            h.tcp.check = static_cast<u16>(~folded(sum_of(payload, size, sum)));
        }
        const std::array<iovec, 3> parts{
            {{&h, sizeof h}, {const_cast<void*>(options), option_size}, {const_cast<void*>(payload), size}}};
        (void)!::writev(fd_, parts.data(), 3);
        if (size != 0 && ++data_frames_ % frames_per_reclaim == 0) {
            (void)!::send(ourselves_, nullptr, 0, 0);
            (void)!::recv(ourselves_, nullptr, 0, 0);
        }
        c.snd_nxt += static_cast<u32>(size) + ((flags & (syn | fin)) != 0 ? 1 : 0);
        c.owes_ack = false;
    }

    /// All of it, in as few segments as the link takes; `flags` of the last one.
    void send_all(connection& c, u8 flags, const char* from, std::size_t size) {
        const std::size_t most = offload_ ? largest - 200 : c.mss;
        for (; size > most; from += most, size -= most) send(c, ack, from, most);
        send(c, flags, from, size);
    }

    bool pump(connection& c) {
        const u32 whole = offload_ ? static_cast<u32>((largest - 200) / c.mss * c.mss) : c.mss;
        bool moved = false;
        for (int i = 0; i < segments_per_turn; ++i) {
            const u32 room = c.window - std::min(c.window, c.snd_nxt - c.snd_una);
            const u32 size = std::min(whole, room / c.mss * c.mss);
            if (size == 0) break;
            send(c, ack | psh, zeros_.data(), size);
            moved = true;
        }
        return moved;
    }

    /// Bytes of window, always: whoever reads is never behind. Without offload all sinks together get what
    /// fits in the queue of the device, or frames would be lost there.
    u32 offered() const { return offload_ ? 8 << 20 : (1 << 20) / std::max(1u, sinks_); }

    void owe(connection& c) {
        if (!std::exchange(c.owes_ack, true)) owing_.push_back(&c);
    }

    // --- input --------------------------------------------------------------------------------------------
    void arrived(std::size_t size) {
        if (size < ip_at + 28) return;
        const auto& h = *reinterpret_cast<const head*>(input_.data());
        if (h.ethernet.ether_type == htons(ETHERTYPE_ARP)) return answer_arp();
        if (h.ethernet.ether_type != htons(ETHERTYPE_IP) || h.ip.protocol != IPPROTO_TCP ||
            h.ip.daddr != own_.s_addr || h.ip.ihl != 5)
            return;
        const std::size_t tcp_size = h.tcp.doff * 4u;
        const std::size_t packet = ntohs(h.ip.tot_len);
        if (ip_at + packet > size || packet < sizeof(iphdr) + tcp_size) return;
        if (h.link.flags == 0) { // neither known to be intact nor still to be completed
            const std::size_t length = packet - sizeof(iphdr);
            if (folded(sum_of(&h.tcp, length, pseudo(h.ip) + htons(static_cast<u16>(length)))) != 0xffff)
                return;
        }
        const unsigned n = static_cast<unsigned>(ntohs(h.tcp.dest)) - first_port_;
        if (n > 3) return;
        connection& c = table_[n * 65536 + ntohs(h.tcp.source)];
        const u8 flags = h.tcp.th_flags;
        if ((flags & rst) != 0) return end(c);
        if ((flags & syn) != 0) return open_by(h, tcp_size, static_cast<service>(n), c);
        if (c.state == phase::closed) return;
        acknowledged(c, ntohl(h.tcp.ack_seq), static_cast<u32>(ntohs(h.tcp.window)) << c.peer_scale);
        const u8* payload = input_.data() + ip_at + sizeof(iphdr) + tcp_size;
        text(c, ntohl(h.tcp.seq), payload, packet - sizeof(iphdr) - tcp_size, (flags & fin) != 0);
        if (c.state == phase::last_ack && c.snd_una == c.snd_nxt) end(c);
    }

    void acknowledged(connection& c, u32 up_to, u32 window) {
        if (static_cast<std::int32_t>(up_to - c.snd_una) > 0) c.snd_una = up_to;
        c.window = window;
        if (c.what == service::source && !std::exchange(c.is_source, true)) sources_.push_back(&c);
    }

    void text(connection& c, u32 seq, const u8* payload, std::size_t size, bool ends) {
        if (size == 0 && !ends) return;
        if (seq != c.rcv_nxt) return send(c, ack); // the peer finds out what is missing and sends it again
        c.rcv_nxt += static_cast<u32>(size);
        if (size != 0) {
            owe(c);
            if (c.what == service::http) request(c, {reinterpret_cast<const char*>(payload), size});
            if (c.what == service::echo) send_all(c, ack | psh, reinterpret_cast<const char*>(payload), size);
        }
        if (!ends) return;
        ++c.rcv_nxt;
        if (c.state == phase::finishing) {
            send(c, ack);
            return end(c);
        }
        send(c, fin | ack);
        c.state = phase::last_ack;
    }

    void request(connection& c, std::string_view bytes) {
        constexpr std::string_view blank_line = "\r\n\r\n";
        if (bytes.find("onnection: close") != bytes.npos || bytes.find("HTTP/1.0") != bytes.npos)
            c.asked_to_close = true;
        std::size_t whole = 0;
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            if (c.matched == 0) { // most of a request is no line end
                i = bytes.find('\r', i);
                if (i == bytes.npos) break;
            }
            c.matched = bytes[i] == blank_line[c.matched] ? static_cast<u8>(c.matched + 1) : bytes[i] == '\r';
            if (c.matched == 4) ++whole, c.matched = 0;
        }
        for (; whole > 256; whole -= 256) send_all(c, ack, responses_.data(), 256 * response_size_);
        if (whole == 0) return;
        const bool last = c.asked_to_close && c.state == phase::open;
        send_all(c, last ? ack | psh | fin : ack | psh, responses_.data(), whole * response_size_);
        if (last) c.state = phase::finishing;
    }

    void end(connection& c) {
        if (c.is_source) std::erase(sources_, &c);
        c.is_source = false;
        if (c.what == service::sink && c.state != phase::closed) --sinks_;
        c.state = phase::closed;
    }

    std::uint64_t pseudo(const iphdr& ip) const {
        return std::uint64_t{ip.saddr} + ip.daddr + htons(IPPROTO_TCP);
    }

    void open_by(const head& in, std::size_t tcp_size, service what, connection& c) {
        end(c);
        const bool owed = c.owes_ack; // it is in the list, then
        c = {};
        c.owes_ack = owed;
        c.what = what;
        if (what == service::sink) ++sinks_;
        c.state = phase::open;
        c.rcv_nxt = ntohl(in.tcp.seq) + 1;
        c.snd_una = c.snd_nxt = first_sequence_ += 1 << 20;
        c.mss = 536;
        const u8* option = input_.data() + sizeof(head);
        for (const u8* stop = option + tcp_size - sizeof(tcphdr); option < stop && *option != TCPOPT_EOL;) {
            if (*option == TCPOPT_NOP) {
                ++option;
                continue;
            }
            if (*option == TCPOPT_MAXSEG) c.mss = static_cast<u16>(option[2] << 8 | option[3]);
            if (*option == TCPOPT_WINDOW) c.peer_scale = option[2];
            if (option[1] < 2) break;
            option += option[1];
        }
        c.mss = std::min(c.mss, mss_);

        head& h = c.out;
        if (offload_) {
            h.link.flags = virtio_header::needs_checksum;
            h.link.checksum_start = sizeof(ether_header) + sizeof(iphdr);
            h.link.checksum_offset = 16;
            h.link.header_size = sizeof(head) - link_size;
        }
        std::memcpy(h.ethernet.ether_dhost, in.ethernet.ether_shost, 6);
        std::memcpy(h.ethernet.ether_shost, mac_.data(), 6);
        h.ethernet.ether_type = htons(ETHERTYPE_IP);
        h.ip.version = 4;
        h.ip.ihl = 5;
        h.ip.frag_off = htons(IP_DF);
        h.ip.ttl = 64;
        h.ip.protocol = IPPROTO_TCP;
        h.ip.saddr = own_.s_addr;
        h.ip.daddr = in.ip.saddr;
        c.ip_sum = sum_of(&h.ip, sizeof(iphdr));
        c.pseudo_sum = pseudo(h.ip);
        h.tcp.source = in.tcp.dest;
        h.tcp.dest = in.tcp.source;
        h.tcp.window = 0xffff;
        const std::array<u8, 8> options{
            TCPOPT_MAXSEG, 4,         static_cast<u8>(mss_ >> 8), static_cast<u8>(mss_), TCPOPT_WINDOW, 3,
            window_scale,  TCPOPT_NOP};
        send(c, syn | ack, nullptr, 0, options.data(), options.size());
    }

    void answer_arp() {
        u8* arp = input_.data() + ip_at; // operation at 6, sender's MAC at 8 and IP at 14, then the target's
        if (arp[7] != 1 || std::memcmp(arp + 24, &own_, 4) != 0) return;
        arp[7] = 2;
        std::memcpy(arp + 18, arp + 8, 10);
        std::memcpy(arp + 8, mac_.data(), 6);
        std::memcpy(arp + 14, &own_, 4);
        std::memcpy(input_.data() + link_size, arp + 18, 6);
        std::memcpy(input_.data() + link_size + 6, mac_.data(), 6);
        std::memset(input_.data(), 0, link_size);
        (void)!::write(fd_, input_.data(), ip_at + 28);
    }

    in_addr own_;
    u16 first_port_;
    bool offload_, spin_;
    int fd_ = -1;
    int ourselves_ = -1; ///< a socket that sends to itself
    u32 data_frames_ = 0;
    u16 mss_ = 1460;
    u32 first_sequence_ = 0;
    u32 sinks_ = 0; ///< open ones
    std::array<u8, 6> mac_{2, 0, 0, 0, 0, 9};
    buffer input_;
    buffer zeros_;
    std::string responses_;
    std::size_t response_size_ = 0;
    std::unique_ptr<connection[]> table_; ///< by service and the peer's port
    std::vector<connection*> owing_, sources_;
};

} // namespace

int main(int argc, char** argv) {
    samples::command_line line("null_tcp: the least that still talks TCP over a TAP");
    std::string device = "tapir0", address = "192.0.2.2/24", offload = "on";
    u16 port = 8000;
    bool spin = false;
    line.option("--tap", device);
    line.option("--address", address);
    line.option("--port", port);
    line.option("--offload", offload).one_of({"on", "off"});
    line.flag("--spin", spin, "look for frames without waiting");
    if (const auto status = line.parse(argc, argv)) return *status;
    try {
        in_addr own{};
        if (::inet_pton(AF_INET, address.substr(0, address.find('/')).c_str(), &own) != 1)
            throw std::runtime_error("no IPv4 address: " + address);
        null_tcp endpoint(device, own, port, offload == "on", spin);
        std::puts("ready null");
        std::fflush(stdout);
        endpoint.run();
    } catch (const std::exception& e) {
        std::fprintf(stderr, "null_tcp: %s\n", e.what());
        return 1;
    }
}
