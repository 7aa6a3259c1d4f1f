// The command line of a sample. CLI11 does the work; it is large, so it stands behind these few functions and
// is compiled once, in command_line.cpp.
//
//     samples::command_line line("echo: sends back what comes");
//     std::string greeting = "hello";
//     line.option("--greeting", greeting, "what to say first");
//     if (const auto status = line.parse(argc, argv)) return *status;
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
} // namespace CLI

namespace samples {

/// One option, to say more about it.
class command_option {
  public:
    explicit command_option(CLI::Option* o) : option_(o) {}
    command_option& required();
    command_option& within(int lowest, int highest);
    command_option& within(double lowest, double highest);
    command_option& one_of(const std::vector<std::string>& values);

  private:
    CLI::Option* option_;
};

class command_line {
  public:
    explicit command_line(const std::string& what_the_program_does);
    command_line(const command_line&) = delete;
    command_line& operator=(const command_line&) = delete;
    ~command_line();

    /// `name` as "--port", "-p,--port", or "port" for a positional one. `value` holds the default, which
    /// --help shows, and gets what the user says; it must live until parse() is done.
    command_option option(const std::string& name, std::string& value, const std::string& help = "");
    command_option option(const std::string& name, std::uint16_t& value, const std::string& help = "");
    command_option option(const std::string& name, std::uint32_t& value, const std::string& help = "");
    command_option option(const std::string& name, std::uint64_t& value, const std::string& help = "");
    command_option option(const std::string& name, double& value, const std::string& help = "");
    /// May be given more than once.
    command_option option(const std::string& name, std::vector<std::string>& values,
                          const std::string& help = "");
    /// An option without a value; "-n,--numeric" and "--on,!--off" are CLI11's spellings.
    command_option flag(const std::string& name, bool& value, const std::string& help = "");

    /// The exit status, if the program is to end now: --help was printed, or what is wrong.
    std::optional<int> parse(int argc, const char* const* argv);

  private:
    std::unique_ptr<CLI::App> app_;
};

} // namespace samples
