#!/usr/bin/env python3
"""Sums up what bench/run measured: lines of "measure contender round value" on standard input.

A row per measure and contender: the median over rounds, [least-most], the number of runs, and the median of
the ratios to the kernel's value of the same round, with their spread.
"""
import collections
import statistics
import sys

values = collections.defaultdict(dict)  # (measure, contender) -> round -> value
for line in sys.stdin:
    measure, contender, turn, value = line.split()
    values[measure, contender][int(turn)] = float(value)


def number(x):
    if x >= 1000:
        return f"{x:,.0f}".replace(",", " ")
    return f"{x:.3g}" if x < 100 else f"{x:.0f}"


values_only = "--values-only" in sys.argv
rows = [("", "", "median", "[least - most]", "n", "x kernel", "[least - most]")]
measures = list(dict.fromkeys(measure for measure, _ in values))
for measure, contender in sorted(values, key=lambda k: (measures.index(k[0]), not k[1].startswith("kernel"))):
    by_round = values[measure, contender]
    v = list(by_round.values())
    row = [measure, contender, number(statistics.median(v)), f"[{number(min(v))} - {number(max(v))}]", str(len(v))]
    base = values.get((measure, "kernel"), {})
    ratios = [by_round[r] / base[r] for r in by_round if base.get(r)]
    if contender != "kernel" and ratios and not values_only:
        row += [f"{statistics.median(ratios):.3g}", f"[{min(ratios):.3g} - {max(ratios):.3g}]"]
    else:
        row += ["", ""]
    rows.append(row)

if values_only:
    rows = [r[:5] for r in rows[1:]]
widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
last = None
for i, r in enumerate(rows):
    shown = list(r)
    if i and r[0] == last:
        shown[0] = ""
    last = r[0]
    print("  ".join(c.ljust(w) if j in (0, 1, 3, 6) else c.rjust(w) for j, (c, w) in enumerate(zip(shown, widths))).rstrip())
