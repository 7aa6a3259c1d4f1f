#include "tests/support/netns.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <fstream>
#include <net/if.h>
#include <sched.h>
#include <stdexcept>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define TAPIR_LEAK_CHECK 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TAPIR_LEAK_CHECK 1
#endif
#endif
#ifdef TAPIR_LEAK_CHECK
#include <sanitizer/lsan_interface.h>
#endif

namespace tapir::test {
namespace {

constexpr int not_possible = 2;

bool leaks() {
#ifdef TAPIR_LEAK_CHECK
    return __lsan_do_recoverable_leak_check() != 0;
#else
    return false;
#endif
}

/// Why no namespace could be made; empty when there is one now.
std::string enter_namespace() {
    const uid_t uid = ::geteuid();
    const gid_t gid = ::getegid();
    const int flags = uid == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET;
    if (::unshare(flags) != 0) return std::string("no network namespace of its own: ") + std::strerror(errno);
    if (uid == 0) return {};
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
    std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
    return {};
}

void set_loopback_up() {
    const int any = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    const bool up = any >= 0 && ::ioctl(any, SIOCSIFFLAGS, &request) == 0;
    if (any >= 0) ::close(any);
    if (!up) throw std::runtime_error("the loopback device stays down");
}

[[noreturn]] void child(const std::function<void()>& body, int report) {
    std::string text = enter_namespace();
    int status = text.empty() ? 0 : not_possible;
    if (status == 0) {
        try {
            set_loopback_up();
            body();
            if (leaks()) text = "memory leaked; see the report above";
            status = text.empty() ? 0 : 1;
        } catch (const lacking& e) {
            text = e.what();
            status = not_possible;
        } catch (const std::exception& e) {
            text = e.what();
            status = 1;
        }
    }
    [[maybe_unused]] const ssize_t n = ::write(report, text.data(), text.size());
    ::_exit(status);
}

} // namespace

netns_outcome in_own_network(const std::function<void()>& body, unsigned seconds) {
    std::array<int, 2> report{};
    if (::pipe2(report.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    const pid_t pid = ::fork();
    if (pid < 0) throw std::runtime_error("fork");
    if (pid == 0) {
        ::alarm(seconds);
        child(body, report[1]);
    }
    ::close(report[1]);
    netns_outcome outcome;
    std::array<char, 4096> part;
    for (ssize_t n; (n = ::read(report[0], part.data(), part.size())) > 0;)
        outcome.text.append(part.data(), static_cast<std::size_t>(n));
    ::close(report[0]);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        outcome.text += " killed by signal " + std::to_string(WTERMSIG(status));
        if (WTERMSIG(status) == SIGALRM) outcome.text += ": not done after " + std::to_string(seconds) + " s";
    } else if (WEXITSTATUS(status) == not_possible) {
        outcome.possible = false;
    } else if (WEXITSTATUS(status) != 0 && outcome.text.empty()) {
        outcome.text = "ended with status " + std::to_string(WEXITSTATUS(status));
    }
    return outcome;
}

void expect(bool condition, const std::string& what, std::source_location at) {
    if (condition) return;
    const std::string path = at.file_name();
    throw std::runtime_error(path.substr(path.rfind('/') + 1) + ':' + std::to_string(at.line()) + ": " +
                             what);
}

} // namespace tapir::test
