// Runs a fuzz target without libFuzzer, for a bounded number of inputs that one seed decides: random bytes,
// and mutations of the files of a seed corpus. So every target is part of the ordinary tests, with any
// compiler.
//
//     fuzz_ipv4_bounded [runs [seed [corpus directory]]]
//
// A broken promise prints seed and run: the same arguments repeat it.
#include <tapir/framework/random.hpp>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
/// A target whose inputs take long says how many of them are enough for the tests: a second's worth, or five
/// under a sanitizer.
extern "C" __attribute__((weak)) const int tapir_fuzz_bounded_runs;

namespace {

using input = std::vector<std::uint8_t>;

std::uint64_t seed = 1;
volatile std::sig_atomic_t run = 0;

extern "C" void on_abort(int) {
    std::printf("seed %llu, run %d\n0 passed, 1 failed\n", static_cast<unsigned long long>(seed),
                static_cast<int>(run));
    std::fflush(stdout);
    std::_Exit(1);
}

/// All files of the directory, by name: the order of a directory differs from one machine to the next.
std::vector<input> read_corpus(const std::filesystem::path& directory) {
    std::vector<std::filesystem::path> names;
    for (const auto& file : std::filesystem::directory_iterator(directory))
        if (file.is_regular_file()) names.push_back(file.path());
    std::ranges::sort(names);
    std::vector<input> corpus;
    for (const auto& name : names) {
        std::ifstream file(name, std::ios::binary);
        corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    return corpus;
}

/// Of fuzz_NAME_bounded: corpus/NAME, if there is one. (Compiled once, this serves all targets.)
std::filesystem::path corpus_of(const char* program) {
    std::string name = std::filesystem::path(program).filename().string();
    constexpr std::string_view before = "fuzz_", behind = "_bounded";
    if (!name.starts_with(before) || !name.ends_with(behind)) return {};
    name = name.substr(before.size(), name.size() - before.size() - behind.size());
    const std::filesystem::path directory = std::filesystem::path(TAPIR_FUZZ_CORPORA) / name;
    return std::filesystem::is_directory(directory) ? directory : std::filesystem::path();
}

std::uint32_t below(tapir::random& r, std::size_t bound) {
    return r.below(static_cast<std::uint32_t>(bound));
}

std::uint8_t interesting(tapir::random& r) {
    constexpr std::uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff};
    return r.below(2) == 0 ? edges[r.below(std::size(edges))] : static_cast<std::uint8_t>(r.below(256));
}

void mutate(input& b, const std::vector<input>& corpus, tapir::random& r) {
    for (std::uint32_t n = 1 + r.below(4); n != 0; --n) {
        const std::size_t at = b.empty() ? 0 : below(r, b.size());
        const auto here = b.begin() + static_cast<std::ptrdiff_t>(at);
        switch (r.below(7)) {
        case 0:
            if (!b.empty()) *here ^= static_cast<std::uint8_t>(1u << r.below(8));
            break;
        case 1:
            if (!b.empty()) *here = interesting(r);
            break;
        case 2: b.insert(here, interesting(r)); break;
        case 3:
            if (!b.empty()) b.erase(here);
            break;
        case 4: b.resize(at); break;
        case 5: b.insert(b.end(), 1 + r.below(64), interesting(r)); break;
        case 6: { // goes on as another file does
            if (corpus.empty()) break;
            const input& other = corpus[below(r, corpus.size())];
            b.resize(at);
            if (other.size() > at)
                b.insert(b.end(), other.begin() + static_cast<std::ptrdiff_t>(at), other.end());
            break;
        }
        }
    }
}

input make(const std::vector<input>& corpus, tapir::random& r) {
    input b;
    if (!corpus.empty() && r.below(8) != 0) {
        b = corpus[below(r, corpus.size())];
        mutate(b, corpus, r);
        return b;
    }
    b.resize(r.below(8) == 0 ? r.below(2048) : r.below(80));
    for (auto& x : b) x = static_cast<std::uint8_t>(r.below(256));
    return b;
}

template <class T>
bool number(std::string_view text, T& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
}

} // namespace

int main(int argc, char** argv) {
    int runs = &tapir_fuzz_bounded_runs != nullptr ? tapir_fuzz_bounded_runs : 100'000;
    const bool understood =
        (argc < 2 || (number(argv[1], runs) && runs >= 0)) && (argc < 3 || number(argv[2], seed)) && argc < 5;
    if (!understood) {
        std::fprintf(stderr, "usage: %s [runs [seed [corpus directory]]]\n", argv[0]);
        return 2;
    }
    const std::filesystem::path directory = argc == 4 ? argv[3] : corpus_of(argv[0]);
    const std::vector<input> corpus = directory.empty() ? std::vector<input>() : read_corpus(directory);

    std::signal(SIGABRT, on_abort);
    for (const input& b : corpus) LLVMFuzzerTestOneInput(b.data(), b.size());
    tapir::random stream(seed);
    for (int i = 1; i <= runs; ++i) {
        run = i;
        tapir::random r = stream.fork();
        const input b = make(corpus, r);
        LLVMFuzzerTestOneInput(b.data(), b.size());
    }
    std::printf("1 passed, 0 failed\n");
    return 0;
}
