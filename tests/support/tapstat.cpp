#include "tests/support/tapstat.hpp"

#include <algorithm>
#include <sstream>
#include <utility>

namespace tapir::test {

finished tapstat(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), sample("tapstat"));
    return run(std::move(arguments));
}

std::string grep(const std::string& part, const std::string& text) {
    std::string found;
    for (std::size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
        const std::string line = text.substr(at, end - at + 1);
        if (line.find(part) != std::string::npos) found += line;
    }
    return found;
}

std::size_t lines_with(const std::string& part, const std::string& text) {
    return static_cast<std::size_t>(std::ranges::count(grep(part, text), '\n'));
}

std::uint64_t counter_in_tapstat(const std::string& name) {
    std::istringstream line(grep(" " + name + "\n", tapstat({"-s"}).out));
    std::uint64_t n = 0;
    line >> n;
    return n;
}

} // namespace tapir::test
