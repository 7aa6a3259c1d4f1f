#include "samples/support/command_line.hpp"

#include <CLI/CLI.hpp>

namespace samples {

command_option& command_option::required() {
    option_->required();
    return *this;
}

command_option& command_option::within(int lowest, int highest) {
    option_->check(CLI::Range(lowest, highest));
    return *this;
}

command_option& command_option::within(double lowest, double highest) {
    option_->check(CLI::Range(lowest, highest));
    return *this;
}

command_option& command_option::one_of(const std::vector<std::string>& values) {
    option_->check(CLI::IsMember(values));
    return *this;
}

command_line::command_line(const std::string& what_the_program_does)
    : app_(std::make_unique<CLI::App>(what_the_program_does)) {}

command_line::~command_line() = default;

namespace {
template <class T>
command_option add(CLI::App& app, const std::string& name, T& value, const std::string& help) {
    return command_option(app.add_option(name, value, help)->capture_default_str());
}
} // namespace

command_option command_line::option(const std::string& name, std::string& value, const std::string& help) {
    return add(*app_, name, value, help);
}

command_option command_line::option(const std::string& name, std::uint16_t& value, const std::string& help) {
    return add(*app_, name, value, help);
}

command_option command_line::option(const std::string& name, std::uint32_t& value, const std::string& help) {
    return add(*app_, name, value, help);
}

command_option command_line::option(const std::string& name, std::uint64_t& value, const std::string& help) {
    return add(*app_, name, value, help);
}

command_option command_line::option(const std::string& name, double& value, const std::string& help) {
    return add(*app_, name, value, help);
}

command_option command_line::option(const std::string& name, std::vector<std::string>& values,
                                    const std::string& help) {
    return add(*app_, name, values, help);
}

command_option command_line::flag(const std::string& name, bool& value, const std::string& help) {
    return command_option(app_->add_flag(name, value, help));
}

std::optional<int> command_line::parse(int argc, const char* const* argv) {
    try {
        app_->parse(argc, argv);
        return std::nullopt;
    } catch (const CLI::ParseError& e) {
        return app_->exit(e);
    }
}

} // namespace samples
