// Delta debugging: which few of a list's entries does it take to fail? Halves are left out, then quarters,
// then single entries, as long as what is left still fails.
//
//     auto [few, runs] = minimise(faults, [&](const fault_list& f) { return fails(f); }, 300);
//
// (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002, by complements.)
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace tapir::test {

template <class T>
struct minimised {
    std::vector<T> list;
    std::size_t runs = 0;
    bool minimal = false; ///< no single entry can be left out; false when the runs were used up before
};

/// `fails(list)` is asked at most `most_runs` times; it is known to hold for `list` itself.
template <class T, class F>
minimised<T> minimise(std::vector<T> list, F fails, std::size_t most_runs) {
    minimised<T> out{std::move(list), 0, false};
    std::size_t parts = 1; // at first without anything
    while (!out.list.empty()) {
        const std::size_t size = out.list.size();
        const std::size_t piece = (size + parts - 1) / parts;
        bool smaller = false;
        for (std::size_t begin = 0; begin < size && !smaller; begin += piece) {
            if (out.runs == most_runs) return out;
            ++out.runs;
            std::vector<T> rest;
            rest.reserve(size);
            for (std::size_t i = 0; i < size; ++i)
                if (i < begin || i >= begin + piece) rest.push_back(out.list[i]);
            if (!fails(std::as_const(rest))) continue;
            out.list = std::move(rest);
            smaller = true;
        }
        if (smaller) {
            parts = std::max<std::size_t>(2, parts - 1);
        } else if (piece == 1) {
            break;
        } else {
            parts = std::min(size, parts * 2);
        }
    }
    out.minimal = true;
    return out;
}

} // namespace tapir::test
