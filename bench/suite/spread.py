"""Median and spread. A value is what one contender did in one round; a ratio is to the kernel's of the same round, so
that what changes on the machine from round to round is not in it."""
import statistics


def of(values):
    values = list(values)
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "n": len(values)}


def ratios(mine, base):
    """Of two dicts from round to value; None where there is none."""
    found = [mine[r] / base[r] for r in mine if base.get(r)]
    return of(found) if found else None


def short(x):
    if x == 0:
        return "0"
    if abs(x) >= 1000:
        return f"{x:,.0f}".replace(",", " ")
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}"


def text(s):
    if s["n"] == 1:
        return short(s["median"])
    return f"{short(s['median'])} [{short(s['least'])} - {short(s['most'])}]"
