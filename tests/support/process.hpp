// Programs that a test starts: samples, and what drives them. Each is ended when its object is, or when the
// test dies; what it said is kept in memory, so nothing is left behind and no pipe can fill up.
//
//     test::process server({test::sample("http_server"), "--root", root});
//     test::expect(server.says("serving"), "it serves: " + server.err());
//     const auto got = test::run({"curl", "-sS", "http://192.0.2.2/"});
//     test::expect(got.status == 0, got.err);
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace tapir::test {

using seconds = std::chrono::duration<double>;

class process {
  public:
    /// Looks `arguments[0]` up in PATH and starts it. Throws std::runtime_error when that fails, and
    /// lacking when there is no such program.
    explicit process(std::vector<std::string> arguments);
    process(const process&) = delete;
    process& operator=(const process&) = delete;
    /// SIGKILL, if it still runs.
    ~process();

    /// Waits until its standard output or error contains `text`; false if it ended without, or `within`
    /// passed.
    bool says(std::string_view text, seconds within = seconds(20));
    void signal(int number) const;
    /// Its exit status, or 128 + the signal that ended it; nothing when it still runs after `within`.
    std::optional<int> wait(seconds within = seconds(20));
    bool running() { return !wait(seconds(0)); }

    std::string out() const;
    std::string err() const;
    /// Standard output as a file that can be read with pread(); for what is too long for a string.
    int out_fd() const { return out_; }
    pid_t pid() const { return pid_; }

  private:
    int out_ = -1;
    int err_ = -1;
    int pidfd_ = -1;
    pid_t pid_ = -1;
    std::optional<int> status_;
};

struct finished {
    int status = 0; ///< as of process::wait(); 124 when it was killed because its time was over
    std::string out;
    std::string err;
    std::string all() const { return "status " + std::to_string(status) + ": " + out + err; }
};

/// Starts a program and waits for its end.
finished run(std::vector<std::string> arguments, seconds within = seconds(30));

/// The path of a program from samples/, as this build made it.
std::string sample(const std::string& name);

/// A directory of the test's own, removed with all that is in it. Make it before the network namespace: there
/// only the parent is sure to come back.
class temporary_directory {
  public:
    temporary_directory();
    temporary_directory(const temporary_directory&) = delete;
    temporary_directory& operator=(const temporary_directory&) = delete;
    ~temporary_directory();

    const std::string& path() const { return path_; }
    std::string file(const std::string& name) const { return path_ + '/' + name; }
    /// Writes a file; returns its path.
    std::string write(const std::string& name, std::string_view content) const;
    /// Writes a file of `size` bytes that repeat nowhere within a window of TCP; returns its path.
    std::string write_noise(const std::string& name, std::uint64_t size) const;

  private:
    std::string path_;
};

/// Whether two files hold the same bytes, from the beginning.
bool same_content(int a, int b);
bool same_content(const std::string& path, int b);
bool same_content(const std::string& path, const std::string& other);

} // namespace tapir::test
