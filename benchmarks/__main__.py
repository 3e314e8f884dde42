"""``make bench``: run the cases, write ``benchmarks/results/`` and ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from tests.servers import ServerUnavailable

from benchmarks import (
    audit,
    autoflush,
    bad_rows,
    bulk,
    dropin_cost,
    load,
    memory,
    objects,
    receipts,
    report,
)
from benchmarks.databases import DATABASES, database

CASES = {
    case.CASE: case.run
    for case in (dropin_cost, receipts, bad_rows, objects, autoflush, bulk, load, audit)
}
MEMORY = "memory"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--db", action="append", choices=DATABASES, help="default: all")
    parser.add_argument("--case", action="append", choices=[*CASES, MEMORY], help="default: all")
    parser.add_argument("--rounds", type=int, default=25, help="rounds per case (default: 25)")
    parser.add_argument(
        "--rows",
        type=int,
        help="at most so many in bulk, load and memory, for trying: nothing is kept",
    )
    options = parser.parse_args()
    few = {case.CASE: partial(case.run, at_most=options.rows) for case in (bulk, load)}
    cases = {**CASES, **few}
    results, said, versions = [], {}, report.library_versions()
    for name in options.db or DATABASES:
        try:
            with database(name) as new_engine:
                with new_engine().connect() as connection:
                    server = connection.dialect.server_version_info
                versions[name] = ".".join(map(str, server or ()))
                for case in options.case or [*CASES, MEMORY]:
                    if case == MEMORY:
                        for what, line in memory.run(name, new_engine, options.rows):
                            said[f"{what}-{name}"] = line
                            print(line, flush=True)
                        continue
                    for result in cases[case](name, new_engine, options.rounds):
                        results.append(result)
                        ratio = result.ratio(result.timings[-1])
                        print(f"{result.case} on {name}: {ratio:.3f}", flush=True)
        except ServerUnavailable as unavailable:
            print(f"{name} left out: {unavailable}", file=sys.stderr)
    if options.rows is None:
        report.write(results, said, versions)
        print(f"written: {report.PAGE}")
    return 0 if results or said else 1


if __name__ == "__main__":
    sys.exit(main())
