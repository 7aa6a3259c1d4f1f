#include <tapir/protocols/link/tap_steering.hpp>

#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tapir {
namespace {

/// True, too, where nothing tells. (prctl() would, but a filter may end the process for asking.)
bool system_calls_filtered() {
    std::ifstream in("/proc/thread-self/status");
    for (std::string line; std::getline(in, line);)
        if (line.starts_with("Seccomp:")) return !line.ends_with("\t0");
    return true;
}

} // namespace

void spare_steering(int fd) {
    if (system_calls_filtered()) return;
    constexpr std::array first_queue{bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0},
                                     bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    constexpr char license[] = "MIT", name[] = "tapir_queue_0";
    bpf_attr load;
    std::memset(&load, 0, sizeof load); // the kernel looks at all of it
    load.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
    load.insns = reinterpret_cast<std::uint64_t>(first_queue.data());
    load.insn_cnt = first_queue.size();
    load.license = reinterpret_cast<std::uint64_t>(license);
    static_assert(sizeof name <= sizeof load.prog_name);
    std::memcpy(load.prog_name, name, sizeof name);
    const auto program = static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load));
    if (program < 0) return;
    int chooses = program;
    (void)::ioctl(fd, TUNSETSTEERINGEBPF, &chooses);
    ::close(program);
}

} // namespace tapir
