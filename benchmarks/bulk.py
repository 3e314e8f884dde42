"""Rows in and out: bulk_insert, bulk_upsert and copy_out beside what else is there.

Each contender opens what it needs, writes and commits within what is timed; the table is emptied
before, and its rows are counted after. Forms of input other than the case's own are made before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, create_engine, func, insert, orm, select

import sessionwise
from benchmarks.bulk_data import KEYLESS, TABLE, Base, Flight, Flights, User, flights, users
from benchmarks.bulk_exports import TO_CSV, TO_PARQUET
from benchmarks.bulk_peers import (
    FROM_ARROW,
    FROM_CSV,
    FROM_DICTS,
    MAPPINGS,
    RETURNING,
    SHELLS,
    Peer,
    available,
)
from benchmarks.bulk_upserts import MERGE, UPSERTS
from benchmarks.harness import Result, Timing, compare
from sessionwise.bulk.reading.sources import read

CASE = "bulk"
ROUNDS = 5
"""At most: some contenders take seconds for each."""
PATIENCE = 4.0
"""Seconds after which a contender has had its rounds, be it only one."""
TRIED = 200
"""Rows that each contender writes once, before it is timed."""
OLD = -1
"""The distance of a flight that waits to be updated."""
LOCAL_FILES = "128"
"""PyMySQL's flag for LOAD DATA LOCAL."""

HALF = TABLE.to_metadata(Base.metadata, name="bulk_flight_half")
"""What is in the table before an upsert: every other row."""

Contenders = dict[str, Callable[[Any], object]]


@dataclass(frozen=True)
class Sizes:
    """How many rows each case has."""

    users: int = 10_000
    flights: int = 100_000
    merged: int = 5_000
    exported: int = 300_000

    def at_most(self, number: int) -> Sizes:
        return Sizes(*(min(one, number) for one in vars(self).values()))


@dataclass(frozen=True)
class Place:
    """Where and how the cases run."""

    database: str
    plain: Engine
    own: Engine
    loading: Engine | None
    """Ours, where LOAD DATA LOCAL has to be allowed to be used."""
    rounds: int

    def ours(
        self, verb: str, work: Callable[[Any, Any], object], *, may_load: bool = True
    ) -> Contenders:
        """Return contenders of our own, by name.

        :param may_load: whether LOAD DATA can make a difference.
        """
        found = {verb: _in_session(self.own, work)}
        if self.loading is not None and may_load:
            found[f"{verb}, LOAD DATA allowed"] = _in_session(self.loading, work)
        return found

    def peers(
        self, peers: Iterable[Peer], form: Callable[[Flights], Any] = lambda data: data
    ) -> Contenders:
        """Return those that can run, by name.

        :param form: what of the data they take.
        """
        return {
            one.name: lambda data, one=one: one.work(self.plain, form(data))
            for one in available(peers, self.database)
        }

    def empty(self, *tables: Table) -> None:
        clear = "DELETE FROM" if self.database == "sqlite" else "TRUNCATE TABLE"
        with self.plain.begin() as connection:
            for table in tables:
                connection.exec_driver_sql(f"{clear} {table.name}")

    def count(self, *tables: Table, where: Sequence[ColumnElement[bool]] = ()) -> int:
        statements = [select(func.count()).select_from(one).where(*where) for one in tables]
        with self.plain.connect() as connection:
            return sum(connection.scalars(one).one() for one in statements)


def run(
    database: str, new_engine: Callable[[], Engine], rounds: int, at_most: int | None = None
) -> Iterator[Result]:
    """Write and read the same rows in every way there is.

    :param at_most: rows of each case, for trying.
    """
    sizes = Sizes() if at_most is None else Sizes().at_most(at_most)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        own, loading = new_engine(), None
        if database == "mariadb":
            loading = create_engine(own.url.update_query_dict({"client_flag": LOCAL_FILES}))
            stack.callback(loading.dispose)
        place = Place(database, new_engine(), own, loading, min(rounds, ROUNDS))
        Base.metadata.drop_all(own)
        Base.metadata.create_all(own)
        yield _users(place, sizes.users)
        every = flights(max(sizes.flights, sizes.exported), directory)
        data = every.head(sizes.flights).prepare()
        for case in (_from_dicts, _with_ids, _from_csv, _from_arrow, _upsert):
            yield case(place, data)
        yield _merge(place, data.head(sizes.merged).prepare())
        yield from _export(place, every.head(sizes.exported))
        Base.metadata.drop_all(own)


# Into a table


def _users(place: Place, number: int) -> Result:
    def add_all(rows: list[dict[str, Any]]) -> None:
        with orm.Session(place.plain) as session, session.begin():
            session.add_all([User(**row) for row in rows])

    def mappings(rows: list[dict[str, Any]]) -> None:
        with orm.Session(place.plain) as session, session.begin():
            session.bulk_insert_mappings(orm.class_mapper(User), rows)

    contenders: Contenders = {
        "SQLAlchemy's add_all": add_all,
        "SQLAlchemy's bulk_insert_mappings": mappings,
        **place.ours("bulk_insert", lambda session, rows: session.bulk_insert(User, rows)),
    }
    least = {"postgresql": 10, "sqlite": 7, "mariadb": 4}[place.database]
    table = Base.metadata.tables[User.__tablename__]
    timings = _inserted(place, contenders, users(TRIED), users(number), (table,))
    unit = f"insert {number:,} users, which are dicts"
    return Result(f"{CASE}: users", place.database, unit, f"≥ {least} × add_all", timings)


def _from_dicts(place: Place, data: Flights) -> Result:
    contenders: Contenders = {
        **place.peers([MAPPINGS, *FROM_DICTS], _dicts),
        **place.peers(SHELLS),
        **place.ours("bulk_insert", lambda session, data: session.bulk_insert(Flight, data.dicts)),
    }
    target = {
        "postgresql": "≥ 8 × bulk_insert_mappings, ≥ 0.65 × psql",
        "sqlite": "≥ 4 × bulk_insert_mappings, faster than .import",
        "mariadb": "≥ 1.7 × bulk_insert_mappings; LOAD DATA: ≥ 3.5 ×",
    }[place.database]
    unit = f"insert {len(data):,} flights of 19 columns, which are dicts"
    timings = _inserted(place, contenders, data.head(TRIED).prepare(), data)
    return Result(f"{CASE}: from dicts", place.database, unit, target, timings)


def _with_ids(place: Place, data: Flights) -> Result:
    contenders: Contenders = {
        **place.peers([RETURNING], _dicts),
        **place.ours("bulk_insert, returning=True", _insert_returning, may_load=False),
    }
    target = "≥ 10 × on PostgreSQL"
    unit = f"insert {len(data):,} flights, which are dicts; return their ids in order"
    timings = _inserted(place, contenders, data.head(TRIED).prepare(), data)
    return Result(f"{CASE}: with ids", place.database, unit, target, timings)


def _insert_returning(session: Any, data: Flights) -> None:
    ids = session.bulk_insert(Flight, data.dicts, returning=True).ids
    assert len(ids) == len(data)


def _from_csv(place: Place, data: Flights) -> Result:
    contenders: Contenders = {
        **place.peers(FROM_CSV),
        **place.ours(
            "bulk_insert, read()",
            lambda session, data: session.bulk_insert(Flight, read(data.csv)),
        ),
    }
    target = {
        "postgresql": "≥ 1.0 × psql",
        "sqlite": "faster than .import",
        "mariadb": "",
    }[place.database]
    unit = f"insert {len(data):,} flights, which are in a CSV file"
    timings = _inserted(place, contenders, data.head(TRIED).prepare(), data)
    return Result(f"{CASE}: from CSV", place.database, unit, target, timings)


def _from_arrow(place: Place, data: Flights) -> Result:
    contenders: Contenders = {
        **place.peers(FROM_ARROW),
        **place.peers(SHELLS),
        **place.ours("bulk_insert", lambda session, data: session.bulk_insert(Flight, data.arrow)),
    }
    target = "≥ 1.0 × psql on PostgreSQL"
    unit = f"insert {len(data):,} flights, which are an Arrow table"
    timings = _inserted(place, contenders, data.head(TRIED).prepare(), data)
    return Result(f"{CASE}: from Arrow", place.database, unit, target, timings)


def _dicts(data: Flights) -> list[dict[str, Any]]:
    return data.dicts


def _inserted(
    place: Place,
    contenders: Contenders,
    tried: Any,
    data: Any,
    tables: tuple[Table, ...] = (TABLE, KEYLESS),
) -> list[Timing]:
    def check(data: Any) -> None:
        _see(place.count(*tables), len(data), "rows are stored")

    def empty(_: object) -> None:
        place.empty(*tables)

    return _timed(place, contenders, tried, data, before=empty, after=check)


# Over what is in a table


def _upsert(place: Place, data: Flights) -> Result:
    contenders: Contenders = {
        **place.peers(UPSERTS, _numbered),
        **place.ours("bulk_upsert", _bulk_upsert),
    }
    target = "≥ 1.5 × executemany on PostgreSQL"
    unit = f"upsert {len(data):,} flights; of every other one there is an older state"
    timings = _upserted(place, contenders, data.head(TRIED).prepare(), data)
    return Result(f"{CASE}: upsert", place.database, unit, target, timings)


def _merge(place: Place, data: Flights) -> Result:
    contenders: Contenders = {
        **place.peers([MERGE], _numbered),
        **place.ours("bulk_upsert", _bulk_upsert, may_load=False),
    }
    unit = f"upsert {len(data):,} flights, no more; of every other one there is an older state"
    timings = _upserted(place, contenders, data.head(TRIED).prepare(), data)
    return Result(f"{CASE}: merge", place.database, unit, "≥ 50 × merge", timings)


def _bulk_upsert(session: Any, data: Flights) -> None:
    session.bulk_upsert(Flight, data.numbered)


def _numbered(data: Flights) -> list[dict[str, Any]]:
    return data.numbered


def _upserted(place: Place, contenders: Contenders, tried: Any, data: Any) -> list[Timing]:
    with place.plain.begin() as connection:
        connection.execute(HALF.delete())
        older = [{**row, "distance": OLD} for row in data.numbered[1::2]]
        connection.execute(insert(HALF), older)

    def older_ones(data: Flights) -> None:
        place.empty(TABLE)
        some = select(HALF).where(HALF.c.id <= len(data))
        with place.plain.begin() as connection:
            connection.execute(insert(TABLE).from_select(HALF.columns.keys(), some))

    def check(data: Flights) -> None:
        _see(place.count(TABLE), len(data), "rows are stored")
        _see(place.count(TABLE, where=[TABLE.c.distance == OLD]), 0, "rows have not been updated")

    return _timed(place, contenders, tried, data, before=older_ones, after=check)


# Out of a table


def _export(place: Place, data: Flights) -> Iterator[Result]:
    place.empty(TABLE, KEYLESS)
    with sessionwise.Session(place.own) as session, session.begin():
        session.bulk_insert(Flight, data.dicts)
    counts = {"csv": _csv_rows, "parquet": _parquet_rows}
    target = "≥ 8 × the objects, ≥ 0.9 × the fastest"
    for kind, peers in (("csv", TO_CSV), ("parquet", TO_PARQUET)):
        path = data.directory / f"exported.{kind}"

        def check(_: object, path: Path = path, kind: str = kind) -> None:
            _see(counts[kind](path), len(data), f"rows are in the {kind} file")

        contenders: Contenders = {
            **place.peers(peers),
            **place.ours("copy_out", _copy_out, may_load=False),
        }
        timings = _timed(place, contenders, None, path, before=_remove, after=check)
        unit = f"write {len(data):,} flights of 20 columns into a {kind} file"
        yield Result(f"{CASE}: to {kind}", place.database, unit, target, timings)


def _copy_out(session: Any, path: Path) -> None:
    session.copy_out(select(Flight), path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _csv_rows(path: Path) -> int:
    return path.read_bytes().count(b"\n") - 1


def _parquet_rows(path: Path) -> int:
    from pyarrow import parquet

    return int(parquet.read_metadata(path).num_rows)


# Each of them


def _in_session(engine: Engine, work: Callable[[Any, Any], object]) -> Callable[[Any], object]:
    def contender(data: Any) -> None:
        with sessionwise.Session(engine) as session, session.begin():
            work(session, data)

    return contender


def _timed(
    place: Place,
    contenders: Contenders,
    tried: Any,
    data: Any,
    *,
    before: Callable[[Any], object],
    after: Callable[[Any], object],
) -> list[Timing]:
    """Let each write a few rows first: what is made once is made, and who fails does so early.

    :param tried: a little of the data; None for none.
    """
    for contend in contenders.values() if tried is not None else ():
        before(tried)
        contend(tried)
        after(tried)
    return compare(
        {name: lambda contend=contend: contend(data) for name, contend in contenders.items()},
        rounds=place.rounds,
        warm_up=0,
        before=lambda: before(data),
        after=lambda: after(data),
        patience=PATIENCE,
    )


def _see(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{found:,} {what}, not {expected:,}")
