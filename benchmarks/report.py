"""Results as JSON, and as a table and plots in the documentation."""

from __future__ import annotations

import json
import os
import platform
import re
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks import audit, autoflush, bad_rows, bulk, dropin_cost, load, objects
from benchmarks.harness import Result, Timing

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "images" / "benchmarks-dropin-cost.png"
SPEED = ROOT / "docs" / "images" / "benchmarks-speed.png"
BULK = ROOT / "docs" / "images" / "benchmarks-bulk.png"
AUDIT = ROOT / "docs" / "images" / "benchmarks-audit.png"
AUDIT_ROWS = ROOT / "docs" / "images" / "benchmarks-audit-rows.png"

PEERS = (
    "adbc-driver-postgresql",
    "adbc-driver-sqlite",
    "asyncpg",
    "connectorx",
    "django",
    "pandas",
    "polars",
    "postgresql-audit",
    "pyarrow",
    "sqlalchemy-audit-trail",
    "sqlalchemy-continuum",
    "sqlalchemy-history",
    "sqlite-utils",
)
"""Whose versions are told, where they are there."""

OURS = re.compile(r"bulk_insert\b|bulk_upsert|copy_out|sessionwise,|sessionwise load")
"""How the names of our own contenders begin."""

CASES = (
    dropin_cost.CASE,
    "receipts",
    bad_rows.CASE,
    objects.CASE,
    autoflush.CASE,
    bulk.CASE,
    load.CASE,
    audit.CASE,
)
DATABASES = ("sqlite", "postgresql", "mariadb")

HEAD = """# Benchmarks

`make bench` writes this page. The contenders of a case are timed in turn within one run; a figure
is the median over the rounds, a ratio the median of the rounds' ratios to the first contender.
Compare ratios: absolute times belong to the machine. Contenders that take seconds have fewer
rounds than the others.

"""


def write(new: list[Result], said: dict[str, str], versions: dict[str, str]) -> None:
    """Write the JSON of what was measured, and the page and the plots of all that ever was.

    :param said: findings in words, by the name of their file.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, line in said.items():
        (RESULTS / f"{name}.json").write_text(json.dumps({"said": line}) + "\n")
    for result in new:
        _write_json(result, versions)
    results, words = _read_json()
    PAGE.write_text(HEAD + _table(results) + words + _environment(versions))
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    _plot_cost([one for one in results if one.case.startswith(dropin_cost.CASE)])
    _plot_speed([one for one in results if one.case.startswith((objects.CASE, bad_rows.CASE))])
    _plot_fields([one for one in results if one.case.startswith((bulk.CASE, load.CASE))], BULK)
    audited = [one for one in results if one.case.startswith(audit.CASE)]
    _plot_fields(audited, AUDIT)
    _plot_by_rows([one for one in audited if audit.rows_of(one.case)])


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
    return next(case for case in CASES if result.case.partition(":")[0].startswith(case))


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def library_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("sqlalchemy", "sessionwise", "psycopg", "PyMySQL", *PEERS):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _table(results: list[Result]) -> str:
    rows = [
        "| case | database | contender | ms | rounds | ratio | to reach |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for timing in result.timings:
            reference = timing is result.timings[0]
            rows.append(
                f"| {result.case} | {result.database} | {timing.contender} "
                f"| {timing.median * 1000:.1f} | {len(timing.seconds)} "
                f"| {result.ratio(timing):.3f} "
                f"| {'' if reference else result.target} |"
            )
    units = sorted({result.unit for result in results})
    measured = "".join(f"\nOne round: {unit}.\n" for unit in units)
    return "\n".join(rows) + "\n" + measured


def _environment(versions: dict[str, str]) -> str:
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    plots = (
        f"![Each round's ratio to plain SQLAlchemy](images/{PLOT.name})\n\n"
        f"![How many times as fast as the first contender](images/{SPEED.name})\n\n"
        f"![Rows in and out, as multiples of the first contender's speed](images/{BULK.name})\n\n"
        f"![Audited, as multiples of the speed without](images/{AUDIT.name})\n\n"
        f"![What recording a row costs, by the rows of the statement](images/{AUDIT_ROWS.name})"
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


def _plot_fields(results: list[Result], path: Path) -> None:
    """Draw a field for each case, on each database."""
    if not results:
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cases = list(dict.fromkeys(result.case for result in results))
    by_place = {(result.case, result.database): result for result in results}
    heights = [
        max(len(result.timings) for result in results if result.case == case) for case in cases
    ]
    figure, fields = plt.subplots(
        len(cases),
        len(DATABASES),
        figsize=(19, 0.27 * sum(heights) + 1.0 * len(cases)),
        height_ratios=[height + 1 for height in heights],
        layout="constrained",
        squeeze=False,
    )
    for case, row in zip(cases, fields, strict=True):
        for database, axes in zip(DATABASES, row, strict=True):
            result = by_place.get((case, database))
            if result is None:
                axes.axis("off")
            else:
                _bars(axes, result)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _plot_by_rows(results: list[Result]) -> None:
    """Draw the time of a row against the rows of a statement: level lines are what is wanted."""
    if not results:
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, fields = plt.subplots(1, len(DATABASES), figsize=(14, 4), layout="constrained")
    for database, axes in zip(DATABASES, fields, strict=True):
        lines: dict[str, list[tuple[int, float]]] = {}
        for result in results:
            if result.database == database:
                for timing in result.timings:
                    rows = audit.rows_of(result.case)
                    point = (rows, timing.median * 1_000_000 / rows)
                    lines.setdefault(timing.contender, []).append(point)
        for contender, points in lines.items():
            axes.loglog(*zip(*sorted(points), strict=True), marker="o", label=contender)
        axes.set_title(f"UPDATE by one statement, {database}", fontsize=9)
        axes.set_xlabel("rows")
        axes.set_ylabel("µs for a row")
        if lines:
            axes.legend(fontsize=7)
    figure.savefig(AUDIT_ROWS, dpi=90)
    plt.close(figure)


def _bars(axes: Any, result: Result) -> None:
    timings = sorted(result.timings, key=result.ratio, reverse=True)
    labels = [timing.contender for timing in timings]
    colours = ["tab:blue" if OURS.match(label) else "0.7" for label in labels]
    factors = [1 / result.ratio(timing) for timing in timings]
    drawn = axes.barh(labels, factors, height=0.7, color=colours)
    axes.bar_label(drawn, fmt=" %.2f ×", fontsize=8)
    axes.margins(x=0.15)
    axes.set_title(f"{result.case}, {result.database}", fontsize=9)
    axes.tick_params(labelsize=8)


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
