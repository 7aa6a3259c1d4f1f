#include <tapir/protocols/control/request.hpp>

#include <algorithm>
#include <array>
#include <cstddef>

namespace tapir::control {

namespace {

struct word {
    std::string_view text;
    bool request::* meaning;
    bool part; ///< something by itself, not a detail of something
};
constexpr std::array words = {
    word{"listeners", &request::listeners, true},
    word{"half_open", &request::half_open, true},
    word{"connections", &request::connections, true},
    word{"time_wait", &request::time_wait, true},
    word{"udp", &request::udp, true},
    word{"counters", &request::counters, true},
    word{"owner", &request::owner, false},
    word{"info", &request::info, false},
};

std::string known_words() {
    std::string all;
    for (const word& w : words) all += (all.empty() ? "" : " ") + std::string(w.text);
    return all;
}

} // namespace

std::expected<request, std::string> parse_request(std::string_view line) {
    constexpr std::size_t longest_shown = 32;
    if (line.ends_with('\r')) line.remove_suffix(1);
    request r;
    bool asked = false;
    while (!line.empty()) {
        const std::size_t n = std::min(line.find(' '), line.size());
        const std::string_view text = line.substr(0, n);
        line.remove_prefix(std::min(n + 1, line.size()));
        if (text.empty()) continue;
        const auto* w = std::ranges::find(words, text, &word::text);
        if (w == words.end())
            return std::unexpected("'" + std::string(text.substr(0, longest_shown)) +
                                   "' is no word of a request; these are: " + known_words());
        r.*w->meaning = true;
        asked = asked || w->part;
    }
    if (!asked)
        return std::unexpected("nothing was asked for; a request is one line with some of: " + known_words());
    return r;
}

std::string to_string(const request& r) {
    std::string line;
    for (const word& w : words)
        if (r.*w.meaning) line += (line.empty() ? "" : " ") + std::string(w.text);
    return line;
}

} // namespace tapir::control
