"""What came out: per cell the goodput of each mode and the ratios of equal seeds, and a summary of all cells."""
import collections
import statistics

BUSY = 70  # per cent of a CPU: a path that uses more may have been the bottleneck itself


def spread(values, digits):
    if not values:
        return "-"
    median = f"{statistics.median(values):.{digits}f}"
    return median if len(values) == 1 else f"{median} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def columns(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths)))
                     for row in rows)


def late(path, rtt):
    """Was the path itself a quarter of its RTT late, more than once in a hundred times?"""
    return path["late_p99_us"] > rtt * 1000 / 4


class Results:
    def __init__(self):
        self.runs = collections.defaultdict(dict)  # cell -> (mode, repeat) -> what transfer.one() returns

    def add(self, cell, mode, repeat, seen):
        self.runs[cell][mode, repeat] = seen

    @staticmethod
    def goodput(seen):
        """Mbit/s of payload, as the receiver's reader saw it."""
        return seen["received"] * 8 / 1e6 / max(seen["seconds"], 1e-9)

    def ratios(self, cell, mode):
        of = self.runs[cell]
        return [self.goodput(of[m, r]) / self.goodput(of["k->k", r])
                for (m, r) in of if m == mode and ("k->k", r) in of and self.goodput(of["k->k", r]) > 0]

    def table(self, modes):
        tested = [m for m in modes if m != "k->k"]
        rows = [("cell", "theory", *modes, *(f"{m} / k->k" for m in tested), "not complete")]
        for cell, of in self.runs.items():
            goodputs = [spread([self.goodput(s) for (m, _), s in of.items() if m == mode], 2) for mode in modes]
            ended = collections.Counter(f"{m} {s['ended']}" for (m, _), s in of.items() if s["ended"] != "complete")
            rows.append((cell.name, f"{cell.theory() * 8 / 1e6:.1f}", *goodputs,
                         *(spread(self.ratios(cell, m), 2) for m in tested),
                         ", ".join(f"{n} x {what}" for what, n in sorted(ended.items()))))
        return "goodput in Mbit/s: median [least-most]\n\n" + columns(rows)

    def summary(self, modes):
        lines = []
        for mode in (m for m in modes if m != "k->k"):
            medians = {c: statistics.median(r) for c in self.runs if (r := self.ratios(c, mode))}
            if not medians:
                continue
            worst = min(medians, key=medians.get)
            under = sum(1 for m in medians.values() if m < 0.9)
            lines.append(f"{mode} / k->k over {len(medians)} cells: minimum {medians[worst]:.2f} ({worst.name}), "
                         f"median {statistics.median(medians.values()):.2f}, under 0.9: {under}")
        return "\n".join(lines)

    def caveats(self):
        """What speaks against believing the numbers."""
        paths = [(c, s["path"]) for c, of in self.runs.items() for s in of.values()]
        if not paths:
            return "nothing was measured"
        lines = [f"CPU of the path: at most {max(p['cpu_percent'] for _, p in paths):.0f} % of one; "
                 f"over {BUSY} %: {sum(p['cpu_percent'] > BUSY for _, p in paths)} of {len(paths)} transfers"]
        for rtt in sorted({c.rtt for c, _ in paths}):
            of = [p for c, p in paths if c.rtt == rtt]
            lines.append(
                f"its timers at RTT {rtt} ms: p99 {statistics.median(p['late_p99_us'] for p in of):.0f} us late "
                f"(median transfer), worst {max(p['late_max_us'] for p in of)} us; "
                f"disturbed (p99 over RTT/4): {sum(late(p, rtt) for p in of)} of {len(of)}")
        outside = sum(p["tap_drops"] + p["wire_drops"] + p["kernel_drops"] for _, p in paths)
        lines.append(f"frames lost anywhere but in the path: {outside}")
        return "\n".join(lines)


class Shares:
    def __init__(self):
        self.runs = collections.defaultdict(lambda: collections.defaultdict(list))  # cell -> first -> values
        self.paths = []

    def add(self, cell, first, rates, ended, path):
        self.runs[cell][first].append((rates, ended))
        self.paths.append((cell, path))

    def table(self):
        rows = [("cell", "flows", "share of the first, %", "its Mbit/s", "both", "ended early")]
        for cell, of in self.runs.items():
            for first, values in of.items():
                shares = [100 * r[0] / max(sum(r), 1) for r, _ in values]
                early = sum(e != "limit" for _, ended in values for e in ended)
                rows.append((cell.name, f"{first} beside k", spread(shares, 1),
                             spread([r[0] * 8 / 1e6 for r, _ in values], 2),
                             spread([sum(r) * 8 / 1e6 for r, _ in values], 2), str(early)))
        disturbed = sum(late(p, c.rtt) for c, p in self.paths)
        return columns(rows) + f"\n\ndisturbed (the path's timers, p99 over RTT/4): {disturbed} of {len(self.paths)}"
