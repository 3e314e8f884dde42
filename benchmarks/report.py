"""Results as JSON, and as a table and plots in the documentation."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import matplotlib as mpl

from benchmarks import autoflush, bad_rows, dropin_cost, objects
from benchmarks.harness import Result, Timing

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "images" / "benchmarks-dropin-cost.png"
SPEED = ROOT / "docs" / "images" / "benchmarks-speed.png"

CASES = (dropin_cost.CASE, "receipts", bad_rows.CASE, objects.CASE, autoflush.CASE)
DATABASES = ("sqlite", "postgresql", "mariadb")

HEAD = """# Benchmarks

`make bench` writes this page. The contenders of a case are timed in turn within one run; a figure
is the median over the rounds, a ratio the median of the rounds' ratios to the first contender.
Compare ratios: absolute times belong to the machine.

"""


def write(new: list[Result], said: dict[str, str], versions: dict[str, str]) -> None:
    """Write the JSON of what was measured, and the page and the plots of all that ever was.

    :param said: findings in words, by database.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    for database, line in said.items():
        (RESULTS / f"memory-{database}.json").write_text(json.dumps({"said": line}) + "\n")
    for result in new:
        _write_json(result, versions)
    results, words = _read_json()
    PAGE.write_text(HEAD + _table(results) + words + _environment(versions))
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    _plot_cost([one for one in results if one.case.startswith(dropin_cost.CASE)])
    _plot_speed([one for one in results if one.case.startswith((objects.CASE, bad_rows.CASE))])


def _write_json(result: Result, versions: dict[str, str]) -> None:
    name = f"{result.case} {result.database}"
    name = name.translate({ord(","): "", ord(":"): "", ord("%"): "percent", ord(" "): "-"})
    document = {"machine": machine(), "versions": versions, **asdict(result)}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def _read_json() -> tuple[list[Result], str]:
    """Return all results, in a fixed order, and what is said in words."""
    results, words = [], ""
    for path in sorted(RESULTS.glob("*.json")):
        document = json.loads(path.read_text())
        if "said" in document:
            words += f"\n{document['said']}.\n"
            continue
        timings = [Timing(**timing) for timing in document["timings"]]
        fields = {name: document[name] for name in ("case", "database", "unit", "target")}
        results.append(Result(**fields, timings=timings))
    results.sort(
        key=lambda one: (CASES.index(_kind(one)), DATABASES.index(one.database), one.case)
    )
    return results, words


def _kind(result: Result) -> str:
    return next(case for case in CASES if result.case.startswith(case))


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def library_versions() -> dict[str, str]:
    names = ("sqlalchemy", "sessionwise", "psycopg", "PyMySQL")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _table(results: list[Result]) -> str:
    rows = ["| case | database | contender | ms | ratio | to reach |", "|---|---|---|---|---|---|"]
    for result in results:
        for timing in result.timings:
            reference = timing is result.timings[0]
            rows.append(
                f"| {result.case} | {result.database} | {timing.contender} "
                f"| {timing.median * 1000:.1f} | {result.ratio(timing):.3f} "
                f"| {'' if reference else result.target} |"
            )
    units = sorted({result.unit for result in results})
    measured = "".join(f"\nOne round: {unit}.\n" for unit in units)
    return "\n".join(rows) + "\n" + measured


def _environment(versions: dict[str, str]) -> str:
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    plots = (
        f"![Each round's ratio to plain SQLAlchemy](images/{PLOT.name})\n\n"
        f"![How many times as fast as the first contender](images/{SPEED.name})"
    )
    return f"\n{plots}\n\nMeasured on {machine()}: {listed}.\n"


def _plot_speed(results: list[Result]) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    bars = [
        (f"{result.database}\n{result.case}: {timing.contender}", 1 / result.ratio(timing))
        for result in reversed(results)
        for timing in reversed(result.timings[1:])
    ]
    labels, factors = zip(*bars, strict=True)
    figure, axes = plt.subplots(figsize=(9, 0.45 * len(bars) + 1.2), layout="constrained")
    drawn = axes.barh(labels, factors, height=0.6)
    axes.bar_label(drawn, fmt=" %.1f ×", fontsize=8)
    axes.axvline(1.0, color="0.6", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("times as fast as the first contender of the case")
    axes.tick_params(axis="y", labelsize=7)
    figure.savefig(SPEED, dpi=110)
    plt.close(figure)


def _plot_cost(results: list[Result]) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.7 * len(results) + 1.2), layout="constrained")
    spreads, labels = [], []
    for result in reversed(results):
        reference, ours = result.timings[0].seconds, result.timings[-1].seconds
        spreads.append([own / other for own, other in zip(ours, reference, strict=True)])
        labels.append(f"{result.database}\n{result.case}")
    axes.boxplot(spreads, orientation="horizontal", tick_labels=labels, widths=0.5)
    axes.axvline(1.0, color="0.6", linewidth=1)
    axes.axvline(1.05, color="tab:red", linewidth=1, linestyle="--", label="to reach: 1.05")
    axes.set_xlabel("time of sessionwise.Session / time of sqlalchemy.orm.Session, each round")
    axes.tick_params(axis="y", labelsize=8)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(PLOT, dpi=110)
    plt.close(figure)
