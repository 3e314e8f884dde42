"""``make bench``: run the cases, write ``benchmarks/results/`` and ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import sys

from tests.servers import ServerUnavailable

from benchmarks import autoflush, bad_rows, dropin_cost, memory, objects, receipts, report
from benchmarks.databases import DATABASES, database

CASES = {case.CASE: case.run for case in (dropin_cost, receipts, bad_rows, objects, autoflush)}
MEMORY = "memory"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--db", action="append", choices=DATABASES, help="default: all")
    parser.add_argument("--case", action="append", choices=[*CASES, MEMORY], help="default: all")
    parser.add_argument("--rounds", type=int, default=25, help="rounds per case (default: 25)")
    options = parser.parse_args()
    results, said, versions = [], {}, report.library_versions()
    for name in options.db or DATABASES:
        try:
            with database(name) as new_engine:
                with new_engine().connect() as connection:
                    server = connection.dialect.server_version_info
                versions[name] = ".".join(map(str, server or ()))
                for case in options.case or [*CASES, MEMORY]:
                    if case == MEMORY:
                        for line in memory.run(name, new_engine):
                            said[name] = line
                            print(line)
                        continue
                    for result in CASES[case](name, new_engine, options.rounds):
                        results.append(result)
                        print(f"{result.case} on {name}: {result.ratio(result.timings[-1]):.3f}")
        except ServerUnavailable as unavailable:
            print(f"{name} left out: {unavailable}", file=sys.stderr)
    report.write(results, said, versions)
    print(f"written: {report.PAGE}")
    return 0 if results else 1


if __name__ == "__main__":
    sys.exit(main())
