#include "tests/support/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>

#include "tests/support/netns.hpp"

namespace tapir::test {
namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

int memory_file(const char* name) {
    const int fd = ::memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) fail("memfd_create");
    return fd;
}

std::string content(int fd) {
    std::string text;
    std::array<char, 16384> part;
    for (;;) {
        const ssize_t n = ::pread(fd, part.data(), part.size(), static_cast<off_t>(text.size()));
        if (n <= 0) return text;
        text.append(part.data(), static_cast<std::size_t>(n));
    }
}

bool installed(const std::string& program) {
    if (program.find('/') != std::string::npos) return ::access(program.c_str(), X_OK) == 0;
    const char* path = std::getenv("PATH");
    const std::string rest = path != nullptr ? path : "/usr/bin:/bin";
    for (std::size_t from = 0; from < rest.size();) {
        const std::size_t to = std::min(rest.find(':', from), rest.size());
        if (::access((rest.substr(from, to - from) + '/' + program).c_str(), X_OK) == 0) return true;
        from = to + 1;
    }
    return false;
}

class owned_file {
  public:
    explicit owned_file(const std::string& path, int flags = O_RDONLY)
        : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
        if (fd_ < 0) fail(path);
    }
    owned_file(const owned_file&) = delete;
    owned_file& operator=(const owned_file&) = delete;
    ~owned_file() { ::close(fd_); }
    int fd() const { return fd_; }

  private:
    int fd_;
};

} // namespace

process::process(std::vector<std::string> arguments) {
    if (!installed(arguments[0])) throw lacking(arguments[0] + " is not installed");
    std::vector<char*> argv;
    for (std::string& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    out_ = memory_file("out");
    err_ = memory_file("err");
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) fail("fork");
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(127);
        const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        ::dup2(null, STDIN_FILENO);
        ::dup2(out_, STDOUT_FILENO);
        ::dup2(err_, STDERR_FILENO);
        ::execvp(argv[0], argv.data());
        ::_exit(127);
    }
    pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
    if (pidfd_ < 0) fail("pidfd_open");
}

process::~process() {
    if (running()) {
        signal(SIGKILL);
        (void)wait();
    }
    ::close(pidfd_);
    ::close(out_);
    ::close(err_);
}

void process::signal(int number) const {
    if (!status_) ::kill(pid_, number);
}

std::optional<int> process::wait(seconds within) {
    if (status_) return status_;
    pollfd ended{pidfd_, POLLIN, 0};
    const auto until = std::chrono::steady_clock::now() + within;
    for (;;) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        const int n = ::poll(&ended, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
        if (n > 0) break;
        if (n == 0) return {};
        if (errno != EINTR) fail("poll");
    }
    int status = 0;
    if (::waitpid(pid_, &status, 0) != pid_) fail("waitpid");
    status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return status_;
}

bool process::says(std::string_view text, seconds within) {
    const auto until = std::chrono::steady_clock::now() + within;
    for (;;) {
        const bool over = !running() || std::chrono::steady_clock::now() >= until;
        if (out().find(text) != std::string::npos || err().find(text) != std::string::npos) return true;
        if (over) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
}

std::string process::out() const {
    return content(out_);
}

std::string process::err() const {
    return content(err_);
}

finished run(std::vector<std::string> arguments, seconds within) {
    process p(std::move(arguments));
    const std::optional<int> status = p.wait(within);
    if (!status) {
        p.signal(SIGKILL);
        (void)p.wait();
    }
    finished f;
    f.status = status.value_or(124);
    f.out = p.out();
    f.err = p.err();
    return f;
}

std::string sample(const std::string& name) {
    return TAPIR_BINARY_DIR "/samples/" + name;
}

temporary_directory::temporary_directory() {
    std::string name = (std::filesystem::temp_directory_path() / "tapir-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("mkdtemp");
    path_ = name;
}

temporary_directory::~temporary_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string temporary_directory::write(const std::string& name, std::string_view text) const {
    const owned_file to(file(name), O_WRONLY | O_CREAT | O_TRUNC);
    while (!text.empty()) {
        const ssize_t n = ::write(to.fd(), text.data(), text.size());
        if (n < 0) fail(name);
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    return file(name);
}

std::string temporary_directory::write_noise(const std::string& name, std::uint64_t size) const {
    const owned_file to(file(name), O_WRONLY | O_CREAT | O_TRUNC);
    std::vector<std::uint64_t> block(65536);
    std::uint64_t x = 0x9e3779b97f4a7c15U; // xorshift64: any seed but zero
    while (size > 0) {
        for (std::uint64_t& word : block) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            word = x;
        }
        const std::size_t n = std::min<std::uint64_t>(size, block.size() * sizeof(block[0]));
        if (::write(to.fd(), block.data(), n) != static_cast<ssize_t>(n)) fail(name);
        size -= n;
    }
    return file(name);
}

bool same_content(int a, int b) {
    std::array<char, 65536> one;
    std::array<char, 65536> other;
    for (off_t at = 0;;) {
        const ssize_t n = ::pread(a, one.data(), one.size(), at);
        const ssize_t m = ::pread(b, other.data(), other.size(), at);
        if (n != m || n < 0 || std::memcmp(one.data(), other.data(), static_cast<std::size_t>(n)) != 0)
            return false;
        if (n == 0) return true;
        at += n;
    }
}

bool same_content(const std::string& path, int b) {
    return same_content(owned_file(path).fd(), b);
}

bool same_content(const std::string& path, const std::string& other) {
    return same_content(path, owned_file(other).fd());
}

} // namespace tapir::test
