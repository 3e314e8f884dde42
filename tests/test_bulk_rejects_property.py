"""Rows are rejected just where a savepoint for each of them would have rejected them.

Random rows, of which some cannot be stored for any of the reasons there are, go one by one through
plain SQLAlchemy, and then through ``on_error="reject"``: the same rows are stored, the same
positions are rejected, and the counts add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session as PlainSession

from sessionwise import Session
from tests.backends import Database, on
from tests.guests import FIRST, Guest, fill

TABLE: Any = Guest.__table__

names = st.sampled_from(["taken", None, "x" * 21]) | st.integers(0, 150).map("name {}".format)
good_names = st.integers(0, 10**9).map("name {}".format)

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": st.one_of(good_names, good_names, names),
    "age": st.one_of(st.integers(0, 99), st.integers(0, 99), st.sampled_from([None, -1, 2**40])),
    "room_id": st.sampled_from([1, 1, 1, None, 77]),
    "host_id": st.sampled_from([None, None, FIRST, 77]),
    "floor": st.one_of(st.none(), st.integers(0, 100)),
    "door": st.sampled_from([None, "a", "b", "c", "too long"]),
    "stars": st.sampled_from([None, 1, 2, 3, 10**5]),
    "active": st.sampled_from([True, True, True, False, None, "maybe"]),
}


@st.composite
def inputs(draw: st.DrawFn, least: int, most: int) -> tuple[list[dict[str, Any]], int]:
    """Draw rows, most of which are good, and how many are to be in memory."""
    optional = draw(st.sets(st.sampled_from(sorted(FIELDS.keys() - {"name"}))))
    usual: dict[str, Any] = {"age": 1, "room_id": 1, "active": True}
    rows = []
    for at in range(draw(st.integers(least, most))):
        row: dict[str, Any] = {"name": f"guest {at}"}
        row.update((name, usual.get(name)) for name in optional)
        rows.append(row)
    for at in draw(st.lists(st.integers(0, len(rows) - 1), max_size=len(rows))) if rows else ():
        name = draw(st.sampled_from(["name", *sorted(optional)]))
        rows[at][name] = draw(FIELDS[name])
    return rows, draw(st.sampled_from([3, 64, 1_000]))


@contextmanager
def undone(db: Database, class_: Any) -> Iterator[Any]:
    """Give a session whose work is undone."""
    fill(db)
    with class_(db.sync_engine) as session:
        if db.driver.server == "sqlite":
            session.connection().exec_driver_sql("PRAGMA foreign_keys = ON")
        yield session


def stored(session: Any) -> list[Any]:
    columns = [one for one in TABLE.c if one is not TABLE.c.id]
    return list(session.connection().execute(select(*columns).order_by(TABLE.c.name)))


def row_by_row(db: Database, rows: list[dict[str, Any]]) -> tuple[list[Any], list[int]]:
    rejected = []
    with undone(db, PlainSession) as session:
        connection = session.connection()
        for at, row in enumerate(rows):
            savepoint = connection.begin_nested()
            try:
                connection.execute(insert(TABLE), row)
                savepoint.commit()
            except (SQLAlchemyError, OverflowError):
                savepoint.rollback()
                rejected.append(at)
        return stored(session), rejected


def check(db: Database, rows: list[dict[str, Any]], size: int) -> None:
    expected = row_by_row(db, rows)
    with undone(db, Session) as session:
        result = session.bulk_insert(Guest, rows, on_error="reject", chunk_size=size)
        positions = [one.position for one in result.rejected]
        assert (stored(session), positions) == expected
    assert result.inserted == len(rows) - len(positions)
    assert result.read == len(rows)
    assert all(one.row is rows[one.position] for one in result.rejected)
    assert all(one.message and "\n" not in one.message for one in result.rejected)


options: Any = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.large_base_example,
        HealthCheck.data_too_large,
    ],
}


@on("sqlite3", "psycopg", "psycopg2", "pymysql")
class TestRejects:
    @settings(max_examples=40, **options)
    @given(data=inputs(0, 30))
    def test_few(self, db: Database, data: Any) -> None:
        check(db, *data)

    @settings(max_examples=25, **options)
    @given(data=inputs(60, 140))
    def test_many(self, db: Database, data: Any) -> None:
        check(db, *data)


def upserted_row_by_row(db: Database, rows: list[dict[str, Any]]) -> tuple[list[Any], list[int]]:
    """Insert or update one row after the other; of rows with the same name only the first one."""
    rejected, seen = [], set()
    with undone(db, PlainSession) as session:
        connection = session.connection()
        for at, row in enumerate(rows):
            name = row["name"]
            savepoint = connection.begin_nested()
            try:
                if name in seen:
                    raise OverflowError
                seen.add(name)
                there = select(TABLE.c.id).where(TABLE.c.name == name)
                if connection.execute(there).first() is None:
                    connection.execute(insert(TABLE), row)
                else:
                    # As databases do: what would be inserted has to meet the constraints, too.
                    proposed = connection.begin_nested()
                    connection.execute(insert(TABLE), {**row, "name": "proposed", **PROPOSED})
                    proposed.rollback()
                    connection.execute(update(TABLE).where(TABLE.c.name == name).values(row))
                savepoint.commit()
            except (SQLAlchemyError, OverflowError):
                savepoint.rollback()
                rejected.append(at)
        return stored(session), rejected


PROPOSED: dict[str, Any] = {"floor": None, "room_id": None, "host_id": None}


@on("sqlite3", "psycopg", "pymysql")
@settings(max_examples=40, **options)
@given(data=inputs(0, 30) | inputs(60, 90))
def test_upserts(db: Database, data: Any) -> None:
    rows, size = data
    rows = [row for row in rows if row["name"] is not None]
    expected = upserted_row_by_row(db, rows)
    with undone(db, Session) as session:
        result = session.bulk_upsert(
            Guest, rows, keys=["name"], on_error="reject", chunk_size=size
        )
        positions = [one.position for one in result.rejected]
        assert (stored(session), positions) == expected
    assert result.read == len(rows)
    assert all(one.row is rows[one.position] for one in result.rejected)
