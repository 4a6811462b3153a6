"""Medians, ratios and Markdown."""

import os
import platform
import statistics

import candidates
import netns

BASELINES = ("haproxy", "nginx stream")


def _column(rows, key):
    return [row[key] for row in rows if row.get(key) is not None]


def _number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _median_and_spread(values):
    if not values:
        return "-"
    return f"{_number(statistics.median(values))} ({_number(min(values))} - {_number(max(values))})"


def _latency(rows):
    both = [_column(rows, "p50_us"), _column(rows, "p99_us")]
    return " / ".join(_number(statistics.median(one)) for one in both) if all(both) else "-"


def _ratio(rows, base_rows):
    """The baseline's CPU time over ours, round by round: how many times less we need."""
    pairs = [(base["cpu"], row["cpu"]) for base, row in zip(base_rows, rows)
             if base.get("cpu") and row.get("cpu")]
    return f"{statistics.median(base / own for base, own in pairs):.2f} x" if pairs else "-"


def _row(label, rows, by_label):
    milliseconds = [cpu * 1000 for cpu in _column(rows, "cpu")]
    cells = [label, _median_and_spread(_column(rows, "per_second")), _median_and_spread(milliseconds)]
    cells += [_ratio(rows, by_label.get(base, [])) for base in BASELINES]
    cells += [_latency(rows), str(sum(row["errors"] for row in rows))]
    return "| " + " | ".join(cells) + " |"


def _table(workload, by_label):
    head = ["proxy", f"{workload.unit}/s", f"CPU ms per {workload.unit}"]
    head += [f"CPU, {base} / this" for base in BASELINES] + ["p50 / p99, us", "errors"]
    lines = [f"**{workload.name}**", "", "| " + " | ".join(head) + " |",
             "| --- |" + " ---: |" * (len(head) - 1)]
    lines += [_row(label, rows, by_label) for label, rows in by_label.items()]
    return "\n".join(lines) + "\n"


def tables(results, missing, workloads, titles):
    parts = []
    for topology, by_workload in results.items():
        parts.append(f"### {titles[topology]}\n")
        parts += [_table(workloads[name], by_label) for name, by_label in by_workload.items()]
    parts += [f"Left out: {label}: {why}\n" for label, why in missing.items()]
    return "\n".join(parts)


def programs(options, names):
    """What the numbers were measured with."""
    commands = {
        "portald": [candidates.portald_program(), "--version"],
        "haproxy": ["haproxy", "-v"],
        "nginx": ["nginx", "-v"],
        "iptables": ["iptables", "-V"],
        "nft": ["nft", "--version"],
    }
    lines = [
        f"kernel: {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs; "
        f"load and backends on CPU 0, proxy on CPU {options.proxy_cpu}",
        f"congestion control: {netns.CONGESTION_CONTROL}",
    ]
    lines += [f"{name}: {candidates.version(*commands[name])}" for name in names]
    return "\n".join(f"- {line}" for line in lines)


def machine(arguments, options, seconds):
    lines = [
        f"command: tests/bench/run {' '.join(arguments)}".rstrip(),
        f"rounds: {options.rounds}, {options.seconds} s for each measurement after {options.warm_up} s of "
        f"warm-up; {seconds:.0f} s in all; medians (least - most)",
    ]
    return "\n".join(f"- {line}" for line in lines) + "\n" + programs(
        options, ["portald", "haproxy", "nginx", "iptables"])


def rate(floor, result, per_second, goals_us):
    asked = result["units"] + result["errors"]
    lines = [f"{per_second} connections/s through portald; one backend good, one refusing, one black-holed:",
             f"- {result['units']} of {asked} succeeded"
             + (f" (first error: {result['first_error']})" if "first_error" in result else "")]
    for name, most in goals_us.items():
        got = result.get(name)
        verdict = "no sample" if got is None else "reached" if got < most else "MISSED"
        lines.append(f"- {name[:3]} after the first second: {got} us (goal: < {most}): {verdict}; "
                     f"without a proxy: {floor.get(name)} us")
    return "\n".join(lines)
