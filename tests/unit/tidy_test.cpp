// The rules of the house that a machine can check: which layer may know which, and that time, randomness and
// order come in as arguments below `host`.

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct source_file {
    std::string path; ///< from the root: "protocols/tcp/tcb.cpp"
    std::vector<std::string> lines;
};

std::vector<source_file> sources(const std::vector<std::string>& folders) {
    std::vector<source_file> out;
    const fs::path root = TAPIR_SOURCE_DIR;
    for (const std::string& folder : folders) {
        for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
            const fs::path& p = entry.path();
            if (p.extension() != ".hpp" && p.extension() != ".cpp") continue;
            source_file f{fs::relative(p, root).generic_string(), {}};
            std::ifstream in(p);
            for (std::string line; std::getline(in, line);) f.lines.push_back(line);
            out.push_back(std::move(f));
        }
    }
    std::ranges::sort(out, {}, &source_file::path);
    return out;
}

bool starts_with_any(const std::string& text, const std::vector<std::string>& prefixes) {
    return std::ranges::any_of(prefixes, [&](const std::string& p) { return text.starts_with(p); });
}

/// The line without its comment and without what stands in quotes.
std::string code_of(std::string line) {
    static const std::regex quoted(R"("([^"\\]|\\.)*")");
    if (line.find("#include") == std::string::npos) line = std::regex_replace(line, quoted, "\"\"");
    return line.substr(0, line.find("//"));
}

/// Every line of `files` whose code matches `pattern`, but for files that begin with one of `except`.
std::string offenders(const std::vector<source_file>& files, const std::string& pattern,
                      const std::vector<std::string>& except = {}) {
    const std::regex forbidden(pattern);
    std::string out;
    for (const source_file& f : files) {
        if (starts_with_any(f.path, except)) continue;
        for (std::size_t i = 0; i < f.lines.size(); ++i)
            if (std::regex_search(code_of(f.lines[i]), forbidden))
                out += f.path + ":" + std::to_string(i + 1) + ": " + f.lines[i] + "\n";
    }
    return out;
}

/// What each part may include from tapir. Nothing points up the house.
const std::map<std::string, std::vector<std::string>> may_include = {
    {"framework/", {"framework/"}},
    {"protocols/ip/", {"framework/", "protocols/ip/"}},
    {"protocols/link/", {"framework/", "protocols/link/"}},
    {"protocols/ethernet/", {"framework/", "protocols/ethernet/"}},
    {"protocols/arp/",
     {"framework/", "protocols/ip/", "protocols/link/frame.hpp", "protocols/ethernet/", "protocols/arp/"}},
    {"protocols/ipv4/", {"framework/", "protocols/ip/", "protocols/ipv4/"}},
    {"protocols/icmp/", {"framework/", "protocols/ip/", "protocols/ipv4/", "protocols/icmp/"}},
    {"protocols/tcp/", {"framework/", "protocols/ip/", "protocols/tcp/"}},
    {"protocols/udp/", {"framework/", "protocols/ip/", "protocols/udp/"}},
    {"protocols/host/",
     {"framework/", "protocols/ip/", "protocols/link/", "protocols/ethernet/", "protocols/arp/",
      "protocols/ipv4/", "protocols/icmp/", "protocols/tcp/", "protocols/udp/", "protocols/host/"}},
    {"protocols/http/", {"framework/", "protocols/http/"}},
    {"protocols/smtp/", {"framework/", "protocols/smtp/"}},
    {"protocols/control/",
     {"framework/", "protocols/ip/", "protocols/link/", "protocols/ethernet/", "protocols/arp/",
      "protocols/ipv4/", "protocols/icmp/", "protocols/udp/", "protocols/tcp/", "protocols/host/",
      "protocols/control/"}},
};

/// The files of tcp/ and udp/ that know coroutines, and where coroutines belong.
const std::vector<std::string> with_coroutines = {
    "protocols/tcp/connection.", "protocols/tcp/listener.", "protocols/udp/socket.",  "protocols/link/tap",
    "protocols/host/",           "protocols/http/",         "protocols/smtp/server.", "protocols/control/"};

} // namespace

TEST_CASE("tidy: no include points up the house") {
    const std::regex include(R"re(^#include <tapir/([^>]+)>)re");
    for (const source_file& f : sources({"framework", "protocols"})) {
        const auto rule =
            std::ranges::find_if(may_include, [&](const auto& r) { return f.path.starts_with(r.first); });
        REQUIRE_MESSAGE(rule != may_include.end(), f.path, " belongs to no part of the house");
        for (const std::string& line : f.lines) {
            std::smatch m;
            if (!std::regex_search(line, m, include)) continue;
            CHECK_MESSAGE(starts_with_any(m[1].str(), rule->second), f.path, " may not include ", m[1].str());
        }
    }
    CHECK(offenders(sources({"framework", "protocols", "samples"}), R"re(#include "(tests|bench)/)re") == "");
}

TEST_CASE("tidy: no wall clock and no unseeded randomness") {
    const auto files = sources({"framework", "protocols"});
    CHECK(offenders(files,
                    R"(system_clock|steady_clock|high_resolution_clock|gettimeofday|clock_gettime|\btime\()",
                    {"framework/uring_backend.cpp", "framework/wall_clock."}) == "");
    CHECK(offenders(files, R"(random_device|\brand\(|mt19937|getrandom|/dev/u?random)",
                    {"framework/entropy."}) == "");
}

TEST_CASE("tidy: no order that depends on addresses or hashing, and no floating point, in protocols") {
    const auto files = sources({"protocols"});
    CHECK(offenders(files, R"(unordered_|std::hash\b|std::less<.*\*>)") == "");
    CHECK(offenders(files, R"(\b(float|double)\b)") == "");
}

TEST_CASE("tidy: below host nothing knows coroutines, threads or the log") {
    const auto files = sources({"protocols"});
    CHECK(offenders(files, R"(\bco_(await|return|yield)\b)", with_coroutines) == "");
    CHECK(offenders(files, R"(std::(thread|mutex|atomic)|thread_local)") == "");
    CHECK(offenders(files, R"(spdlog|framework/log\.hpp)",
                    {"protocols/host/", "protocols/http/", "protocols/smtp/server.", "protocols/link/tap"}) ==
          "");
    CHECK(offenders(sources({"protocols/tcp", "protocols/udp"}), R"(\bipv[46]\b)") == "");
}

TEST_CASE("tidy: no file is two ideas, and each header opens with its problem") {
    for (const source_file& f : sources({"framework", "protocols", "samples", "tests", "bench"})) {
        CHECK_MESSAGE(f.lines.size() <= 600, f.path, " has ", f.lines.size(), " lines");
        if (!f.path.ends_with(".hpp") || f.path.starts_with("tests/")) continue;
        REQUIRE(!f.lines.empty());
        CHECK_MESSAGE(f.lines.front().starts_with("// "), f.path,
                      " does not open with the problem it solves");
        CHECK_MESSAGE(std::ranges::find(f.lines, "#pragma once") != f.lines.end(), f.path,
                      " lacks #pragma once");
    }
}
