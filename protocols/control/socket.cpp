#include <tapir/framework/sleep.hpp>
#include <tapir/protocols/control/socket.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace tapir::control {

namespace {

namespace fs = std::filesystem;

class descriptor {
  public:
    explicit descriptor(int fd) : fd_(fd) {}
    descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    descriptor& operator=(const descriptor&) = delete;
    ~descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const { return fd_; }

  private:
    int fd_;
};

std::string in_words(int error) {
    return errno_code(error).message();
}

/// What our user is called outside of this user namespace.
std::uint64_t outer_uid() {
    const std::uint64_t own = ::geteuid();
    std::ifstream map("/proc/self/uid_map");
    for (std::uint64_t inside = 0, outside = 0, count = 0; map >> inside >> outside >> count;)
        if (own >= inside && own - inside < count) return outside + (own - inside);
    return own;
}

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

std::vector<std::string> own_directories() {
    std::vector<std::string> all;
    if (const std::string only = variable("TAPIR_RUNTIME_DIR"); !only.empty()) return {only};
    if (::geteuid() == 0) all.push_back("/run/tapir");
    if (const std::string session = variable("XDG_RUNTIME_DIR"); !session.empty())
        all.push_back(session + "/tapir");
    all.push_back("/tmp/tapir-" + std::to_string(outer_uid()));
    return all;
}

enum class purpose { open_sockets, find_sockets };

/// What keeps us from trusting a directory; empty if nothing does. Whom we ask, root may be too. `s` tells of
/// the directory.
std::string objection_to(const std::string& directory, purpose what_for, struct stat& s) {
    if (::lstat(directory.c_str(), &s) != 0) return in_words(errno);
    if (!S_ISDIR(s.st_mode)) return "is no directory";
    const bool looking = what_for == purpose::find_sockets;
    const bool ours = s.st_uid == ::geteuid() || (looking && (s.st_uid == 0 || ::geteuid() == 0));
    if (!ours) return "belongs to user " + std::to_string(s.st_uid);
    if ((s.st_mode & (looking ? 022u : 077u)) != 0) return "is open to other users";
    return {};
}

/// A socket's path, and whether somebody listens there.
enum class condition { free, alive, dead, no_socket, foreign, unknown };
condition look_at(const kernel::address& at) {
    struct stat s{};
    if (::lstat(at.path().c_str(), &s) != 0) return errno == ENOENT ? condition::free : condition::unknown;
    if (!S_ISSOCK(s.st_mode)) return condition::no_socket;
    if (s.st_uid != ::geteuid()) return condition::foreign;
    const descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (::connect(probe.get(), at.data(), at.size()) == 0) return condition::alive;
    // A full backlog is EAGAIN: somebody is there.
    return errno == ECONNREFUSED ? condition::dead : condition::alive;
}

/// Between bind() and listen() a socket looks dead, and two who replace a dead one at the same time would
/// take each other's away: whoever opens or removes one holds its directory's lock. A directory that others
/// may open could be held for ever, so this gives up.
task<std::expected<descriptor, std::string>> lock_directory(std::string directory) {
    constexpr int attempts = 100;
    descriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) co_return std::unexpected(directory + ": " + in_words(errno));
    for (int i = 0; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0; ++i) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            co_return std::unexpected(directory + ": " + in_words(errno));
        if (i == attempts || !co_await sleep_for(10ms))
            co_return std::unexpected(directory + ": another process holds the directory's lock");
    }
    co_return std::move(fd);
}

std::string directory_of(const std::string& path) {
    const std::string parent = fs::path(path).parent_path().string();
    return parent.empty() ? "." : parent;
}

std::vector<std::string> sockets_in(const std::string& directory, uid_t owner) {
    std::vector<std::string> paths;
    std::error_code failed;
    for (fs::directory_iterator at(directory, failed), end; !failed && at != end; at.increment(failed)) {
        struct stat s{};
        const std::string path = at->path().string();
        if (at->path().extension() != ".sock" || ::lstat(path.c_str(), &s) != 0 || !S_ISSOCK(s.st_mode))
            continue;
        if (s.st_uid == owner || s.st_uid == ::geteuid() || s.st_uid == 0) paths.push_back(path);
    }
    std::ranges::sort(paths);
    return paths;
}

} // namespace

std::expected<std::string, std::string> default_path() {
    std::string why;
    for (const std::string& directory : own_directories()) {
        const bool made = ::mkdir(directory.c_str(), 0700) == 0;
        const std::string failure = made || errno == EEXIST ? std::string() : in_words(errno);
        struct stat s{};
        const std::string objection =
            failure.empty() ? objection_to(directory, purpose::open_sockets, s) : failure;
        if (objection.empty()) return directory + "/" + std::to_string(::getpid()) + ".sock";
        why += (why.empty() ? "" : "; ") + directory + ": " + objection;
    }
    return std::unexpected("no directory for a control socket: " + why);
}

task<std::expected<kernel::listener, std::string>> open_socket(std::string path, int backlog) {
    const auto at = kernel::address::parse("unix:" + path);
    if (!at || at->path().empty())
        co_return std::unexpected("'" + path +
                                  "' is no path of a control socket: 1 to 107 bytes, not beginning "
                                  "with @");
    const auto lock = co_await lock_directory(directory_of(path));
    if (!lock) co_return std::unexpected(lock.error());
    switch (look_at(*at)) {
    case condition::alive: co_return std::unexpected(path + ": another process answers there already");
    case condition::no_socket: co_return std::unexpected(path + ": exists, and is no socket");
    case condition::foreign: co_return std::unexpected(path + ": is another user's socket");
    case condition::dead: ::unlink(path.c_str()); break;
    case condition::free:
    case condition::unknown: break; // bind() will say
    }
    auto listener = kernel::listen(*at, backlog, 0600);
    if (!listener) co_return std::unexpected(path + ": " + listener.error().message());
    co_return std::move(*listener);
}

task<> remove_dead_sockets(std::string path) {
    const auto lock = co_await lock_directory(directory_of(path));
    if (!lock) co_return;
    for (const std::string& socket : sockets_in(directory_of(path), ::geteuid())) {
        const auto at = kernel::address::parse("unix:" + socket);
        if (at && look_at(*at) == condition::dead) ::unlink(socket.c_str());
    }
}

std::vector<std::string> directories_searched() {
    std::vector<std::string> all = own_directories();
    if (!variable("TAPIR_RUNTIME_DIR").empty()) return all;
    if (::geteuid() != 0) {
        all.insert(all.begin(), "/run/tapir");
        return all;
    }
    std::error_code failed;
    for (fs::directory_iterator at("/run/user", failed), end; !failed && at != end; at.increment(failed))
        all.push_back(at->path().string() + "/tapir");
    for (fs::directory_iterator at("/tmp", failed), end; !failed && at != end; at.increment(failed))
        if (at->path().filename().string().starts_with("tapir-")) all.push_back(at->path().string());
    std::ranges::sort(all);
    const auto twice = std::ranges::unique(all);
    all.erase(twice.begin(), twice.end());
    return all;
}

std::vector<found_socket> find_sockets() {
    std::vector<found_socket> all;
    for (const std::string& directory : directories_searched()) {
        struct stat s{};
        if (!objection_to(directory, purpose::find_sockets, s).empty()) continue;
        for (std::string& path : sockets_in(directory, s.st_uid)) all.emplace_back(std::move(path), s.st_uid);
    }
    return all;
}

} // namespace tapir::control
