"""What came out, as a table to read and as JSON to keep."""
import json

from suite import spread


def higher_is_better(metric):
    return metric.endswith("/s")


class Results:
    """values[measure, metric, contender][round]. The kernel and the limit are what others are compared with."""

    def __init__(self):
        self.values = {}
        self.absent = {}    # (measure, contender) -> why
        self.failures = {}  # (measure, contender, why) -> how often

    def add(self, measure, contender, turn, found):
        for key, value in found.items():
            who, metric = key if isinstance(key, tuple) else (contender, key)
            self.values.setdefault((measure, metric, who), {})[turn] = value

    def missing(self, measure, contender, why):
        self.absent[measure, contender] = why

    def failed(self, measure, contender, why):
        key = measure, contender, why
        self.failures[key] = self.failures.get(key, 0) + 1

    def rows(self):
        """Of each measure, metric by metric; those that a kernel and a limit exist for have ratios."""
        order = list(self.values)
        measures = list(dict.fromkeys(m for m, _, _ in order))
        for measure in measures:
            metrics = list(dict.fromkeys(metric for m, metric, _ in order if m == measure))
            for metric in metrics:
                of_metric = {who: v for (m, n, who), v in self.values.items() if (m, n) == (measure, metric)}
                compared = not metric.endswith("%")  # which says how near one CPU's limit is, not who is better
                kernel = of_metric.get("kernel", {}) if compared else {}
                limit = of_metric.get("null", {}) if compared else {}
                for who, by_round in of_metric.items():
                    yield {"measure": measure, "metric": metric, "contender": who,
                           "higher_is_better": higher_is_better(metric), **spread.of(by_round.values()),
                           "to_kernel": spread.ratios(by_round, kernel) if who != "kernel" else None,
                           "to_limit": spread.ratios(by_round, limit) if who != "null" else None,
                           "rounds": {str(r): v for r, v in sorted(by_round.items())}}

    def table(self):
        rows = list(self.rows())
        wide = max([len(r["metric"]) for r in rows], default=0)
        lines = [f"  {'':{wide}} {'':12} {'median [least - most]':>30} {'n':>3}  {'x kernel':24} x null"]
        measure = metric = None
        for row in rows:
            if row["measure"] != measure:
                measure, metric = row["measure"], None
                lines += ["", measure]
            name = row["metric"] if row["metric"] != metric else ""
            metric = row["metric"]
            ratio = [spread.text(row[to]) if row[to] else "" for to in ("to_kernel", "to_limit")]
            lines.append(f"  {name:{wide}} {row['contender']:12} {spread.text(row):>30} {row['n']:>3}"
                         f"  {ratio[0]:24} {ratio[1]}".rstrip())
        return "\n".join(lines)

    def caveats(self):
        lines = [f"missing: {contender} in {measure}: {why}" for (measure, contender), why in self.absent.items()]
        lines += [f"failed {n} times: {contender} in {measure}: {why}"
                  for (measure, contender, why), n in self.failures.items()]
        return lines

    def json(self, about):
        return json.dumps({
            **about,
            "results": list(self.rows()),
            "missing": [{"measure": m, "contender": c, "why": why} for (m, c), why in self.absent.items()],
            "failures": [{"measure": m, "contender": c, "why": why, "times": n}
                         for (m, c, why), n in self.failures.items()],
        }, indent=1)
