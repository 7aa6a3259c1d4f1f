#!/usr/bin/env python3
"""What TCP costs for each segment when nothing is lost, in memory; and beside another version of tapir.

    ./run bench cost                          # this version
    ./run bench cost --against v1.0           # and a commit, built in build/against-<commit>, in the same run

Versions take turns in every round, and which comes first turns too. Printed are medians over the rounds, [least -
most], and the ratio to the other version in the same round. bench/README.md says what is measured.
"""
import argparse
import collections
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent
programs = pathlib.Path(os.environ.get("TAPIR_BENCH_PROGRAMS", here.parent / "build/release/bench"))


def number(low, high):
    def parse(text):
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"takes a number from {low} to {high}, not {text}")
        return value
    return parse


parser = argparse.ArgumentParser(prog="./run bench cost", description=__doc__.splitlines()[0])
parser.add_argument("--against", metavar="COMMIT", help="compare with this version, which is built if it is not yet")
parser.add_argument("--rounds", type=number(1, 100), default=7)
parser.add_argument("--segments", type=number(1000, 100_000_000), default=300_000, help="in each measure of a round")
options = parser.parse_args()


def build(commit):
    """The same cost.cpp, linked to the library as it was at `commit`."""
    def git(*what):
        return subprocess.run(["git", "-C", here.parent, *what], check=True, capture_output=True, text=True).stdout.strip()
    tree = here.parent / "build" / f"against-{git('rev-parse', '--short', commit + '^{commit}')}"
    if not tree.exists():
        git("worktree", "prune")
        git("worktree", "add", "--detach", str(tree), commit)
    shutil.copy(here / "cost.cpp", tree / "bench/cost.cpp")
    for step in (["cmake", "--preset", "release"], ["cmake", "--build", "--preset", "release", "--target", "bench_cost"]):
        done = subprocess.run(step, cwd=tree, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"cost: {' '.join(step)} failed in {tree}:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return tree / "build/release/bench/cost"


contenders = {"this": programs / "cost"}
if options.against:
    contenders[options.against] = build(options.against)

ns = collections.defaultdict(dict)  # (measure, contender) -> round -> nanoseconds
rest = {}                           # (measure, contender) -> what does not vary
for turn in range(options.rounds):
    order = list(contenders) if turn % 2 == 0 else list(reversed(contenders))
    for contender in order:
        out = subprocess.run([contenders[contender], "--rounds", "1", "--segments", str(options.segments)],
                             check=True, capture_output=True, text=True).stdout
        for line in out.splitlines():
            measure, value, *others = line.split()
            ns[measure, contender][turn] = float(value)
            rest[measure, contender] = others

print(f"{'measure':20} {'version':10} {'CPU ns/segment':>26}  {'B/segment':>9} {'allocations':>11} {'per ACK':>8}"
      + (f"  x {options.against}" if options.against else ""))
for measure in dict.fromkeys(m for m, _ in ns):
    for contender in contenders:
        mine = ns.get((measure, contender))
        if not mine:
            continue
        memory, allocations, per_ack, _ = rest[measure, contender]
        spread = f"{statistics.median(mine.values()):.1f} [{min(mine.values()):.1f} - {max(mine.values()):.1f}]"
        row = f"{measure:20} {contender:10} {spread:>26}  {memory:>9} {allocations:>11} {per_ack:>8}"
        theirs = ns.get((measure, options.against)) if contender == "this" else None
        if theirs:
            ratios = [mine[t] / theirs[t] for t in mine]
            row += f"  {statistics.median(ratios):.3f} [{min(ratios):.3f} - {max(ratios):.3f}]"
        print(row)
