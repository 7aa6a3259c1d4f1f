#include <tapir/framework/uring_backend.hpp>
#include <tapir/protocols/link/tap.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/skip.hpp"
#include "tests/support/netns.hpp"
#include "tests/support/tap_network.hpp"

using namespace tapir;
using test::expect;

namespace {

bpf_attr zeroed() {
    bpf_attr all;
    std::memset(&all, 0, sizeof all);
    return all;
}

long bpf(bpf_cmd what, bpf_attr& about) {
    return ::syscall(SYS_bpf, what, &about, sizeof about);
}

/// The ids of the programs that leave the first queue where it is, of this system; nothing where one may not
/// look.
std::optional<std::set<std::uint32_t>> programs() {
    std::set<std::uint32_t> found;
    bpf_attr next = zeroed();
    while (bpf(BPF_PROG_GET_NEXT_ID, next) == 0) {
        bpf_attr one = zeroed();
        one.prog_id = next.start_id = next.next_id;
        const auto fd = static_cast<int>(bpf(BPF_PROG_GET_FD_BY_ID, one));
        if (fd < 0) continue;
        bpf_prog_info info{};
        bpf_attr asked = zeroed();
        asked.info.bpf_fd = static_cast<std::uint32_t>(fd);
        asked.info.info_len = sizeof info;
        asked.info.info = reinterpret_cast<std::uint64_t>(&info);
        if (bpf(BPF_OBJ_GET_INFO_BY_FD, asked) == 0 && std::string_view(info.name) == "tapir_queue_0")
            found.insert(info.id);
        ::close(fd);
    }
    if (errno != ENOENT) return std::nullopt;
    return found;
}

/// From here on the system call ends this process, as under systemd's SystemCallFilter.
bool bpf_kills() {
    std::array<sock_filter, 4> code{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

bool filtered_already() {
    return ::prctl(PR_GET_SECCOMP) != 0;
}

/// Whether some program is new once a device is open. Another process may have opened one meanwhile.
bool makes_one_more(reactor& r, const tap_config& config) {
    const auto before = programs();
    if (!before) throw test::lacking("the right to look at BPF programs (CAP_SYS_ADMIN)");
    const auto device = test::opened(r, config);
    const auto now = programs().value();
    return std::ranges::any_of(now, [&](std::uint32_t id) { return !before->contains(id); });
}

bool never_makes_one(reactor& r, const tap_config& config) {
    for (int i = 0; i < 20; ++i) { // a device is busy for a while after it was closed
        tap_config next = config;
        next.name += "-" + std::to_string(i);
        if (!makes_one_more(r, next)) return true;
    }
    return false;
}

} // namespace

TEST_CASE("tap steering: a device with one queue has a program that chooses it, unless told otherwise") {
    const auto outcome = test::in_own_network([] {
        if (filtered_already()) throw test::lacking("system calls without a filter");
        tap_config plain("tapir0"), unsteered("tapir1"), one_of_several("tapir2");
        unsteered.steering_program = false;
        one_of_several.queue = tap_queue::first;
        reactor r(make_uring_backend());
        expect(makes_one_more(r, plain), "one queue");
        expect(never_makes_one(r, unsteered), "told not to");
        expect(never_makes_one(r, one_of_several), "there is a queue to choose");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}

TEST_CASE("tap steering: under a seccomp filter bpf(2) is not called") {
    const auto outcome = test::in_own_network([] {
        expect(bpf_kills(), "a filter");
        reactor r(make_uring_backend());
        const auto device = test::opened(r, tap_config("tapir0"));
        expect(!device->failure(), "opened all the same");
    });
    if (!outcome.possible) return test::skip(outcome.text.c_str());
    CHECK_MESSAGE(outcome.text.empty(), outcome.text);
}
