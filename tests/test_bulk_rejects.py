"""Technique 3: rows that cannot be stored are put aside, with the reason, the others stored."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, String, Table, event, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from sessionwise import BulkInputError, OptionError, TooManyRejectsError, UnsupportedError
from sessionwise.bulk import BulkProgress, Rejected, announce, read
from sessionwise.bulk.rejects.turns import in_turn
from tests import club, stock
from tests.backends import Database, on
from tests.club import Staff
from tests.guests import FIRST, Guest, Room, Size, fill, guests
from tests.stock import Item

MANY = 1_200
"""Rows that every writer thinks worth its while."""


@pytest.fixture
def session(db: Database) -> Iterator[Any]:
    fill(db)
    with session_of(db) as session:
        yield session


def session_of(db: Database) -> Any:
    return club.session_of(db)


def sync(session: Any) -> Any:
    """Return the session that does the work."""
    return getattr(getattr(session, "target", session), "sync_session", session)


def names(session: Any) -> list[str]:
    return sorted(session.scalars(select(Guest.name)))


def bad(rows: list[dict[str, Any]], **faults: dict[str, Any]) -> list[dict[str, Any]]:
    """Return rows of which some have other values: ``at_5={"name": None}``."""
    keys = dict.fromkeys(key for values in faults.values() for key in values)
    found = [{**dict.fromkeys(keys), **row} for row in rows]
    for at, values in faults.items():
        found[int(at.removeprefix("at_"))].update(values)
    return found


def told(result: Any) -> list[tuple[int, str, str | None]]:
    return [(one.position, one.kind, one.column) for one in result.rejected]


CONSTRAINTS: dict[str, tuple[dict[str, Any], str, str, str | None]] = {
    "not null": ({"name": None}, "not null", "name", None),
    "check": ({"age": -1}, "check", "age", "guest_age"),
    "unique, stored": ({"name": "taken"}, "unique", "name", None),
    "unique, in the input": ({"name": "guest 4"}, "unique", "name", None),
    "unique, of two columns": ({"floor": 1, "door": "a"}, "unique", "floor, door", "guest_place"),
    "primary key": ({"id": FIRST}, "unique", "id", None),
    "foreign key": ({"room_id": 77}, "foreign key", "room_id", None),
    "foreign key to itself": ({"host_id": 77}, "foreign key", "host_id", None),
}


class TestConstraints:
    @pytest.mark.parametrize("number", [20, MANY])
    @pytest.mark.parametrize("name", CONSTRAINTS)
    def test_each(self, session: Any, name: str, number: int) -> None:
        values, kind, column, constraint = CONSTRAINTS[name]
        rows = guests(number)
        if "id" in values:
            rows = [{**row, "id": at + 10} for at, row in enumerate(rows)]
        rows = bad(rows, at_7=values, at_15=values)
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert [one.position for one in result.rejected] == [7, 15]
        assert {one.kind for one in result.rejected} == {kind}
        assert [one.row for one in result.rejected] == [rows[7], rows[15]]
        for one in result.rejected:
            assert one.column == column or (one.column is None and kind == "check")
            assert constraint is None or one.constraint == constraint
            assert one.message
            assert "\n" not in one.message
            assert one.line is None
        assert (result.inserted, result.skipped, result.read) == (number - 2, 0, number)
        assert session.scalar(select(func.count(Guest.id))) == number - 1

    def test_all_at_a_time(self, session: Any) -> None:
        rows = bad(
            guests(MANY),
            at_0={"name": None},
            at_3={"age": -5, "room_id": 77},
            at_500={"name": "guest 4"},
            at_501={"room_id": 77},
            at_1199={"host_id": 77},
        )
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert told(result) == [
            (0, "not null", "name"),
            (3, "check", "age"),
            (500, "unique", "name"),
            (501, "foreign key", "room_id"),
            (1199, "foreign key", "host_id"),
        ]

    def test_the_message_names_the_value(self, session: Any) -> None:
        rows = bad(
            guests(MANY),
            at_1={"name": "taken"},
            at_6={"name": "guest 5"},
            at_8={"age": -7},
            at_9={"room_id": 77},
        )
        result = session.bulk_insert(Guest, rows, on_error="reject")
        stored, repeated, check, missing = [one.message for one in result.rejected]
        assert "name='taken'" in stored
        assert "name='guest 5' is in row 5" in repeated
        assert "age=-7" in check
        assert "room_id=77" in missing

    def test_the_first_one_that_is_stored_keeps_a_key(self, session: Any) -> None:
        rows = bad(
            guests(MANY),
            at_10={"name": "twice", "age": -1},
            at_20={"name": "twice", "floor": 1, "door": "a"},
            at_30={"name": "twice", "floor": 2, "door": "b"},
            at_40={"name": "twice", "floor": 3, "door": "c"},
            at_50={"floor": 3, "door": "c"},
            at_60={"floor": 2, "door": "b"},
        )
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert [one.position for one in result.rejected] == [10, 20, 40, 60]

    @pytest.mark.parametrize("number", [10, MANY])
    def test_rows_that_refer_to_others_of_the_input(self, session: Any, number: int) -> None:
        rows = [{**row, "id": at + 10} for at, row in enumerate(guests(number))]
        rows = bad(
            rows,
            at_2={"host_id": 10},
            at_3={"host_id": 13},
            at_5={"age": -1},
            at_6={"host_id": 15},
            at_7={"host_id": 16},
        )
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert [one.position for one in result.rejected] == [5, 6, 7]

    @on("psycopg", "asyncpg")
    @pytest.mark.parametrize("number", [10, MANY])
    def test_rows_that_refer_to_later_ones(self, session: Any, number: int) -> None:
        """PostgreSQL looks when all rows are there: with ``"raise"`` this is stored as well."""
        rows = [{**row, "id": at + 10} for at, row in enumerate(guests(number))]
        rows = bad(rows, at_1={"host_id": 19}, at_5={"age": -1}, at_6={"host_id": 15})
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert [one.position for one in result.rejected] == [5, 6]

    def test_no_column_but_those_with_defaults(self, session: Any) -> None:
        with pytest.raises(BulkInputError, match="'nmae'"):
            session.bulk_insert(Guest, [{"name": "a"}, {"nmae": "b"}], on_error="reject")
        assert names(session) == ["taken"]


VALUES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "text for an integer": ({"age": "many"}, {"postgresql", "mariadb"}),
    "a date that is none": ({"born": "2024-13-40"}, {"sqlite", "postgresql", "mariadb"}),
    "a string too long": ({"name": "x" * 21}, {"postgresql", "mariadb"}),
    "an integer out of range": ({"stars": 10**6}, {"postgresql", "mariadb"}),
    "an integer of 70 bits": ({"age": 2**70}, {"sqlite", "postgresql", "mariadb"}),
    "no member of an enumeration": ({"size": "huge"}, {"postgresql", "mariadb"}),
    "no uuid": ({"token": "nope"}, {"sqlite", "postgresql", "mariadb"}),
    "no boolean": ({"active": "maybe"}, {"sqlite", "postgresql", "mariadb"}),
    "a zero in a text": ({"name": "a\0b"}, {"postgresql"}),
    "half a sign": ({"name": "\ud800"}, {"sqlite", "postgresql", "mariadb"}),
}


class TestValues:
    @pytest.mark.parametrize("number", [20, MANY])
    @pytest.mark.parametrize("name", VALUES)
    def test_each(self, db: Database, session: Any, name: str, number: int) -> None:
        values, servers = VALUES[name]
        if db.driver.server not in servers:
            return  # it takes the value
        rows = [{**row, "active": True} for row in guests(number)]
        rows = bad(rows, at_7=values, at_15=values)
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert told(result) == [(at, "value", *values) for at in (7, 15)]
        assert result.inserted == number - 2
        assert session.scalar(select(func.count(Guest.id))) == number - 1

    def test_beside_constraints(self, db: Database, session: Any) -> None:
        rows = bad(
            [{**row, "active": True} for row in guests(MANY)],
            at_5={"name": None},
            at_600={"active": "maybe"},
            at_601={"name": "guest 4"},
        )
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert told(result) == [
            (5, "not null", "name"),
            (600, "value", "active"),
            (601, "unique", "name"),
        ]


class TestShares:
    @pytest.mark.parametrize("per_mille", [0, 1, 10, 100, 1_000])
    def test_counts_add_up(self, session: Any, per_mille: int) -> None:
        rows = guests(2 * MANY)
        wrong = [at for at in range(len(rows)) if at * per_mille % 1_000 < per_mille]
        for at in wrong:
            rows[at]["name"] = "taken"
        result = session.bulk_insert(Guest, iter(rows), on_error="reject", chunk_size=700)
        assert [one.position for one in result.rejected] == wrong
        assert result.inserted == len(rows) - len(wrong)
        assert (result.skipped, result.read) == (0, len(rows))
        assert session.scalar(select(func.count(Guest.id))) == result.inserted + 1

    def test_without_bad_rows_it_is_a_plain_load(self, db: Database, session: Any) -> None:
        with db.statements() as plain:
            session.bulk_insert(Guest, guests(MANY))
        with db.statements() as rejecting:
            result = session.bulk_insert(Guest, guests(MANY, MANY), on_error="reject")
        assert result.rejected == []
        extra = Counter(one.split()[0] for one in rejecting)
        extra.subtract(one.split()[0] for one in plain)
        assert +extra == {}

    def test_raise_is_what_it_was(self, db: Database, session: Any) -> None:
        session.flush()
        with db.statements() as seen, pytest.raises(IntegrityError):
            session.bulk_insert(Guest, bad(guests(3), at_1={"name": "taken"}))
        assert not [one for one in seen if "TEMPORARY" in one]
        assert names(session) == ["taken"]


class TestTooMany:
    @pytest.mark.parametrize("number", [20, MANY])
    def test_nothing_is_stored_and_the_session_goes_on(self, session: Any, number: int) -> None:
        session.add(Guest(name="before"))
        rows = bad(guests(number), at_4={"name": "taken"}, at_5={"age": -1}, at_6={"name": None})
        with pytest.raises(TooManyRejectsError) as caught:
            session.bulk_insert(Guest, rows, on_error="reject", max_errors=2, chunk_size=5)
        assert caught.value.max_errors == 2
        assert [one.position for one in caught.value.rejected] == [4, 5, 6]
        for said in ("3 rows", "max_errors=2", "Row 4, unique", "name='taken'"):
            assert said in str(caught.value)
        assert names(session) == ["before", "taken"]
        session.bulk_insert(Guest, guests(1))
        session.commit()
        assert names(session) == ["before", "guest 0", "taken"]

    def test_as_many_as_allowed(self, session: Any) -> None:
        rows = bad(guests(MANY), at_4={"name": "taken"}, at_5={"age": -1})
        result = session.bulk_insert(Guest, rows, on_error="reject", max_errors=2)
        assert len(result.rejected) == 2

    def test_none_of_a_value(self, session: Any) -> None:
        with pytest.raises(TooManyRejectsError, match="1 row was rejected, and max_errors=0"):
            session.bulk_insert(
                Guest, bad(guests(MANY), at_4={"active": "maybe"}), on_error="reject", max_errors=0
            )
        assert names(session) == ["taken"]

    def test_options(self, session: Any) -> None:
        with pytest.raises(OptionError, match="needs on_error="):
            session.bulk_insert(Guest, [], max_errors=3)
        with pytest.raises(OptionError, match="on_error='skip' is not a choice"):
            session.bulk_insert(Guest, [], on_error="skip")
        with pytest.raises(OptionError, match="max_errors=-1"):
            session.bulk_upsert(Guest, [], on_error="reject", max_errors=-1)

    def test_autocommit(self, db: Database) -> None:
        fill(db)
        with db.session() as session:
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            with pytest.raises(UnsupportedError, match="AUTOCOMMIT"):
                session.bulk_insert(Guest, guests(1), on_error="reject")
            with pytest.raises(UnsupportedError, match="AUTOCOMMIT"):
                session.bulk_upsert(Guest, guests(1), keys=["name"], on_error="reject")


class TestWith:
    @pytest.mark.parametrize("number", [20, MANY])
    def test_ids(self, session: Any, number: int) -> None:
        rows = bad(guests(number), at_3={"name": "taken"}, at_11={"age": -1})
        result = session.bulk_insert(Guest, rows, on_error="reject", returning=True)
        assert [at for at, id_ in enumerate(result.ids) if id_ is None] == [3, 11]
        stored = dict(session.execute(select(Guest.id, Guest.name)).all())
        for row, id_ in zip(rows, result.ids, strict=True):
            assert id_ is None or stored[id_] == row["name"]

    @pytest.mark.parametrize("number", [20, MANY])
    def test_events(self, session: Any, number: int) -> None:
        before, after = [], []

        def note_before(_mapper: Any, _connection: Any, guest: Guest) -> None:
            before.append(guest.name)
            guest.status = "seen"

        def note_after(_mapper: Any, _connection: Any, guest: Guest) -> None:
            after.append((guest.id, guest.name))

        event.listen(Guest, "before_insert", note_before)
        event.listen(Guest, "after_insert", note_after)
        rows = bad(guests(number), at_3={"name": "taken"}, at_11={"age": -1})
        try:
            result = session.bulk_insert(Guest, rows, on_error="reject", events=True)
        finally:
            event.remove(Guest, "before_insert", note_before)
            event.remove(Guest, "after_insert", note_after)
        assert before == [row["name"] for row in rows]
        stored = select(Guest.id, Guest.name).where(Guest.status == "seen").order_by(Guest.id)
        assert sorted(after) == session.execute(stored).all()
        assert [one.row for one in result.rejected] == [rows[3], rows[11]]

    def test_a_listener_that_raises(self, session: Any) -> None:
        def refuse(_mapper: Any, _connection: Any, guest: Guest) -> None:
            raise ValueError(guest.name)

        event.listen(Guest, "before_insert", refuse)
        try:
            with pytest.raises(ValueError, match="guest 0"):
                session.bulk_insert(Guest, guests(3), on_error="reject", events=True)
        finally:
            event.remove(Guest, "before_insert", refuse)
        assert names(session) == ["taken"]

    def test_joined_inheritance(self, db: Database) -> None:
        club.fill(db)
        with club.session_of(db) as session:
            rows = [{"id": 100 + at, "name": f"staff {at}", "desk": at} for at in range(30)]
            rows[7]["name"] = None  # type: ignore[assignment]
            rows[9]["desk"] = None  # type: ignore[assignment]
            result = session.bulk_insert(Staff, rows, on_error="reject", returning=True)
            assert told(result) == [(7, "not null", "name"), (9, "not null", "desk")]
            assert session.scalar(select(func.count(Staff.id))) == 2 + 28
            assert result.ids[7] is None
            assert session.get(Staff, result.ids[8]).name == "staff 8"

    def test_sets_of_keys_in_turn(self, session: Any) -> None:
        rows = guests(MANY)
        for at in range(0, MANY, 2):
            rows[at]["status"] = "gone"
        rows[5]["name"] = rows[8]["name"] = "taken"
        result = session.bulk_insert(Guest, rows, on_error="reject", returning=True)
        assert [one.row for one in result.rejected] == [rows[5], rows[8]]
        gone = select(func.count()).where(Guest.status == "gone")
        assert session.scalar(gone) == MANY // 2 - 1
        assert result.ids[5] is result.ids[8] is None

    def test_objects_dataclasses_and_tuples(self, session: Any) -> None:
        @dataclass(frozen=True)
        class Row:
            name: str | None
            age: int

        rows = [Row(f"row {at}", at) for at in range(60)]
        rows[5] = Row(None, 5)
        result = session.bulk_insert(Guest.__table__, rows, on_error="reject")
        assert [one.row for one in result.rejected] == [rows[5]]
        objects = [Guest(name=f"object {at}") for at in range(60)]
        objects[5].name = "taken"
        result = session.bulk_insert(Guest, objects, on_error="reject")
        assert result.rejected[0].row is objects[5]
        tuples = [("tuple", 1), ("tuple", 2)]
        result = session.bulk_insert(Guest, tuples, columns=["name", "age"], on_error="reject")
        assert [one.row for one in result.rejected] == [("tuple", 2)]

    def test_defaults_are_kept(self, session: Any) -> None:
        made = count(1)
        table = Table(
            "guest_guest",
            MetaData(),
            *(Column(one.name, one.type, primary_key=one.primary_key)
              for one in Guest.__table__.c if one.name not in {"age", "active"}),
            Column("age", Guest.__table__.c.age.type, default=lambda: next(made)),
            Column("active", Guest.__table__.c.active.type, default=True),
        )  # fmt: skip
        rows = [{"name": f"guest {at}"} for at in range(100)]
        rows[4]["name"] = "taken"
        result = session.bulk_insert(table, rows, on_error="reject")
        assert [one.position for one in result.rejected] == [4]
        ages = list(session.scalars(select(Guest.age).where(Guest.age.is_not(None))))
        assert len(set(ages)) == 99

    @pytest.mark.parametrize("number", [5, 100])
    def test_sql_expressions(self, session: Any, number: int) -> None:
        rows = bad(guests(number), at_0={"age": func.length("four")}, at_1={"name": "taken"})
        rows = bad(rows, at_3={"age": func.abs(-3) - 9})
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert [one.position for one in result.rejected] == [1, 3]
        assert session.scalar(select(Guest.age).where(Guest.name == "guest 0")) == 4

    @pytest.mark.parametrize("number", [20, MANY])
    def test_on_conflict_nothing(self, session: Any, number: int) -> None:
        rows = bad(
            guests(number),
            at_2={"name": "taken"},
            at_4={"age": -1},
            at_6={"name": None},
            at_8={"name": "guest 1"},
            at_9={"room_id": 77},
            at_10={"active": "maybe"},
        )
        for row in rows:
            row["active"] = row["active"] or True
        result = session.bulk_insert(Guest, rows, on_conflict="nothing", on_error="reject")
        assert [one.position for one in result.rejected] == [4, 6, 9, 10]
        assert (result.skipped, result.inserted) == (2, number - 6)
        assert result.read == number

    def test_progress(self, session: Any) -> None:
        seen: list[BulkProgress] = []
        rows = bad(guests(30), at_5={"name": None}, at_25={"name": None})
        session.bulk_insert(Guest, rows, on_error="reject", chunk_size=10, progress=seen.append)
        assert [(one.rows, one.rejected) for one in seen] == [(10, 1), (20, 1), (30, 2)]

    @pytest.mark.parametrize("number", [20, MANY])
    def test_announcements(self, session: Any, number: int) -> None:
        heard: list[Any] = []
        announce.listen(sync(session), heard.append)
        rows = bad(guests(number), at_2={"name": "taken"}, at_4={"active": "maybe"})
        for row in rows:
            row["active"] = row["active"] or True
        session.bulk_insert(Guest, rows, on_error="reject", returning=True)
        first, last = heard
        assert (first.done, last.done) == (False, True)
        everything = list(range(number))
        assert list(first.chunk.positions) == everything
        assert list(last.chunk.positions) == [at for at in everything if at not in {2, 4}]
        stored = dict(session.execute(select(Guest.id, Guest.name)).all())
        at = last.chunk.names.index("name")
        assert [stored[id_] for (id_,) in last.ids] == [row[at] for row in last.chunk.rows]


class TestArrow:
    def test_constraints_and_originals(self, session: Any) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        rows = bad(guests(MANY), at_5={"name": "taken"}, at_700={"age": -1})
        table = pyarrow.Table.from_pylist(rows)
        result = session.bulk_insert(Guest, table, on_error="reject", returning=True)
        assert told(result) == [(5, "unique", "name"), (700, "check", "age")]
        assert [one.row for one in result.rejected] == [rows[5], rows[700]]
        assert session.scalar(select(func.count(Guest.id))) == MANY - 1
        assert [at for at, id_ in enumerate(result.ids) if id_ is None] == [5, 700]

    def test_numbers_that_are_not_whole(self, session: Any) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        table = pyarrow.table({"name": ["a", "b", "c"], "age": [1.0, 2.5, None]})
        result = session.bulk_insert(Guest, table, on_error="reject")
        assert told(result) == [(1, "value", "age")]
        assert result.rejected[0].row == {"name": "b", "age": 2.5}
        assert result.rejected[0].message == "age=2.5 is not a whole number"
        assert session.scalar(select(Guest.age).where(Guest.name == "a")) == 1


class TestFiles:
    @pytest.mark.parametrize("number", [20, MANY])
    @pytest.mark.parametrize("is_open", [False, True])
    def test_csv(self, session: Any, tmp_path: Path, number: int, is_open: bool) -> None:
        lines = [f"guest {at},{at}," for at in range(number)]
        lines[3] = "guest 3,many,"
        lines[5] = '"a guest\nof two lines",5,'
        lines[7] = "taken,7,2024-02-30"
        lines[8] = "taken,8,2024-02-29"
        path = tmp_path / "guests.csv"
        path.write_text("\n".join(["name,age,born", *lines, ""]))
        if is_open:
            with path.open("rb") as file:
                source = read(Once(file), format="csv")
                result = session.bulk_insert(Guest, source, on_error="reject")
        else:
            result = session.bulk_insert(Guest, read(path), on_error="reject")
        found = [(one.position, one.line, one.kind, one.column) for one in result.rejected]
        assert found == [
            (3, 5, "value", "age"),
            (7, 10, "value", "born"),
            (8, 11, "unique", "name"),
        ]
        assert result.rejected[0].row == {"name": "guest 3", "age": "many", "born": None}
        assert result.rejected[0].message == "age='many' is not a whole number"
        assert result.rejected[2].row == {"name": "taken", "age": "8", "born": "2024-02-29"}
        assert result.inserted == number - 3

    def test_json_lines(self, session: Any, tmp_path: Path) -> None:
        path = tmp_path / "guests.jsonl"
        lines = ['{"name": "a", "size": "s"}', "", '{"name": "b", "born": "x"}', '{"name": null}']
        path.write_text("\n".join(lines))
        result = session.bulk_insert(Guest, read(path), on_error="reject")
        found = [(one.position, one.line, one.kind, one.row) for one in result.rejected]
        assert found == [
            (1, 3, "value", {"name": "b", "born": "x"}),
            (2, 4, "not null", {"name": None}),
        ]
        assert session.scalar(select(Guest.size).where(Guest.name == "a")) is Size.SMALL

    def test_parquet(self, session: Any, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        rows = bad(guests(MANY), at_5={"name": "taken"})
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "guests.parquet")
        result = session.bulk_insert(Guest, read(tmp_path / "guests.parquet"), on_error="reject")
        assert [(one.position, one.line, one.row) for one in result.rejected] == [
            (5, None, rows[5])
        ]

    def test_the_error_names_lines(self, session: Any, tmp_path: Path) -> None:
        path = tmp_path / "guests.csv"
        path.write_text("name,age\na,1\nb,x\n")
        with pytest.raises(TooManyRejectsError, match=r"Row 1 \(line 3\), value: age='x'"):
            session.bulk_insert(Guest, read(path), on_error="reject", max_errors=0)

    def test_a_file_that_is_no_such_file(self, session: Any, tmp_path: Path) -> None:
        path = tmp_path / "guests.csv"
        path.write_text("name,age\na,1\nb\n")
        with pytest.raises(BulkInputError, match=r"line 3 of guests\.csv has 1 values"):
            session.bulk_insert(Guest, read(path), on_error="reject")
        assert names(session) == ["taken"]


class Once:
    """A file that can be read once, as a pipe."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        found: bytes = self._file.read(size)
        return found


class TestUpsert:
    @pytest.mark.parametrize("number", [20, MANY])
    def test_rows_that_cannot_be_written(self, session: Any, number: int) -> None:
        rows = bad(
            guests(number),
            at_1={"name": "taken"},
            at_4={"age": -1},
            at_6={"room_id": 77},
            at_7={"floor": 5, "door": "b"},
            at_8={"floor": 5, "door": "b"},
            at_9={"active": "maybe"},
        )
        for row in rows:
            row["active"] = row["active"] or True
        result = session.bulk_upsert(Guest, rows, keys=["name"], on_error="reject", returning=True)
        assert [(one.position, one.kind) for one in result.rejected] == [
            (4, "check"),
            (6, "foreign key"),
            (8, "unique"),
            (9, "value"),
        ]
        assert [one.row for one in result.rejected] == [rows[at] for at in (4, 6, 8, 9)]
        assert (result.inserted, result.updated, result.skipped) == (number - 5, 1, 0)
        assert result.read == number
        assert [at for at, id_ in enumerate(result.ids) if id_ is None] == [4, 6, 8, 9]
        assert session.scalar(select(Guest.age).where(Guest.name == "taken")) == 1

    def test_an_update_that_is_refused(self, session: Any) -> None:
        session.bulk_insert(Guest, guests(3))
        rows = bad(guests(3), at_1={"age": 99})
        update = {"age": 50 - Guest.age - func.abs(Guest.age) * 60}
        result = session.bulk_upsert(Guest, rows, keys=["name"], update=update, on_error="reject")
        assert [(one.position, one.kind) for one in result.rejected] == [
            (1, "check"),
            (2, "check"),
        ]
        assert (result.inserted, result.updated) == (0, 1)

    def test_duplicates(self, session: Any) -> None:
        rows = bad(guests(60), at_7={"name": "guest 3"}, at_9={"name": "guest 3"})
        result = session.bulk_upsert(Guest, rows, keys=["name"], on_error="reject")
        assert told(result) == [(7, "unique", "name"), (9, "unique", "name")]
        assert "name='guest 3' is in row 3 of the input" in result.rejected[0].message
        assert session.scalar(select(Guest.age).where(Guest.name == "guest 3")) == 3

    def test_the_last_one(self, session: Any) -> None:
        rows = bad(guests(60), at_7={"name": "guest 3"}, at_9={"age": -1})
        result = session.bulk_upsert(
            Guest, rows, keys=["name"], duplicates="last", on_error="reject"
        )
        assert told(result)[0][:2] == (9, "check")
        assert (result.inserted, result.skipped, len(result.rejected)) == (58, 1, 1)
        assert session.scalar(select(Guest.age).where(Guest.name == "guest 3")) == 7

    def test_rows_without_a_key(self, db: Database) -> None:
        stock.empty(db)
        with db.session() as session:
            rows = [
                {"code": "a", "barcode": None},
                {"code": "a", "barcode": None},
                {"code": "b", "barcode": "1"},
                {"code": None, "barcode": "2"},
            ]
            result = session.bulk_upsert(Item, rows, keys=["barcode"], on_error="reject")
            assert told(result) == [(1, "unique", "code"), (3, "not null", "code")]
            assert (result.inserted, result.updated, result.read) == (2, 0, 4)

    def test_too_many(self, session: Any) -> None:
        rows = bad(guests(60), at_7={"age": -1}, at_9={"age": -1})
        with pytest.raises(TooManyRejectsError) as caught:
            session.bulk_upsert(Guest, rows, keys=["name"], on_error="reject", max_errors=1)
        assert len(caught.value.rejected) == 2
        assert names(session) == ["taken"]
        assert session.bulk_upsert(Guest, guests(60), keys=["name"]).inserted == 60

    def test_announcements(self, session: Any) -> None:
        heard: list[Any] = []
        announce.listen(sync(session), heard.append)
        rows = bad(guests(60), at_7={"age": -1})
        session.bulk_upsert(Guest, rows, keys=["name"], on_error="reject")
        assert [one.done for one in heard] == [False, True]
        assert len(heard[0].chunk) == 60
        assert list(heard[1].chunk.positions) == [at for at in range(60) if at != 7]

    def test_no_such_key(self, session: Any) -> None:
        with pytest.raises(BulkInputError, match="no unique key"):
            session.bulk_upsert(Guest, guests(60), keys=["age"], on_error="reject")


class TestWhatCannotBeSearched:
    @on("psycopg", "asyncpg")
    def test_a_trigger_that_mends_and_one_that_refuses(self, session: Any) -> None:
        session.execute(text(TRIGGER))
        session.execute(
            text(
                "CREATE TRIGGER guest_trigger BEFORE INSERT ON guest_guest "
                "FOR EACH ROW EXECUTE FUNCTION pg_temp.guest_trigger()"
            )
        )
        rows = bad(guests(MANY), at_3={"name": None}, at_5={"age": 13_000}, at_7={"age": -1})
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert [(one.position, one.kind) for one in result.rejected] == [
            (5, "database"),
            (7, "check"),
        ]
        assert "too old" in result.rejected[0].message
        assert session.scalar(select(Guest.age).where(Guest.name == "mended")) == 3

    @on("psycopg")
    def test_an_exclusion_and_a_partial_index(self, session: Any) -> None:
        session.execute(text("ALTER TABLE guest_guest ADD EXCLUDE (stars WITH =)"))
        session.execute(text("CREATE UNIQUE INDEX ON guest_guest (age) WHERE age > 1190"))
        rows = bad(guests(MANY), at_3={"stars": 1}, at_5={"stars": 1}, at_1192={"age": 1191})
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert [(one.position, one.kind) for one in result.rejected] == [
            (5, "exclusion"),
            (1192, "unique"),
        ]

    @on("psycopg")
    def test_deferred_constraints_wait_for_the_commit(self, session: Any) -> None:
        session.execute(
            text(
                "ALTER TABLE guest_guest ALTER CONSTRAINT guest_guest_room_id_fkey "
                "DEFERRABLE INITIALLY DEFERRED"
            )
        )
        rows = bad(guests(MANY), at_3={"room_id": 77}, at_5={"name": "taken"})
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert [one.position for one in result.rejected] == [5]
        session.add(Room(id=77, name="late"))
        session.flush()
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))

    @on("psycopg")
    def test_keys_that_are_looked_at_by_the_commit(self, session: Any) -> None:
        session.execute(
            text("ALTER TABLE guest_guest ADD UNIQUE (stars) DEFERRABLE INITIALLY DEFERRED")
        )
        rows = bad(guests(MANY), at_3={"stars": 1}, at_4={"stars": 1}, at_5={"name": None})
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert [one.position for one in result.rejected] == [5]

    @on("psycopg")
    def test_keys_of_which_null_is_one(self, session: Any) -> None:
        if session.connection().dialect.server_version_info < (15,):
            pytest.skip("NULLS NOT DISTINCT came with PostgreSQL 15")
        session.execute(text("CREATE UNIQUE INDEX ON guest_guest (stars) NULLS NOT DISTINCT"))
        rows = bad(guests(60), at_3={"stars": 1})
        result = session.bulk_insert(Guest, rows, on_error="reject")
        assert (result.inserted, len(result.rejected)) == (1, 59)  # one without stars was there

    @on("pymysql", "aiomysql")
    def test_signals_on_mariadb(self, db: Database) -> None:
        stock.empty(db)
        with db.observer.connect() as connection:
            connection.exec_driver_sql(
                "CREATE TRIGGER stock_refuse BEFORE INSERT ON stock_item FOR EACH ROW "
                "IF NEW.pieces > 900 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'too many'; "
                "END IF"
            )
        try:
            with db.session() as session:
                rows = [{"code": f"item {at}", "pieces": at} for at in range(910)]
                rows[3]["code"] = "item 2"
                result = session.bulk_insert(Item, rows, on_error="reject")
                assert [one.position for one in result.rejected] == [3, *range(901, 910)]
                assert result.rejected[-1].kind == "database"
                assert "too many" in result.rejected[-1].message
        finally:
            with db.observer.connect() as connection:
                connection.exec_driver_sql("DROP TRIGGER stock_refuse")

    @on("sqlite3", "aiosqlite")
    def test_a_table_that_leaves_rows_out(self, session: Any) -> None:
        words = Table("guest_words", MetaData(), Column("word", String(9), primary_key=True))
        session.execute(
            text("CREATE TEMP TABLE guest_words (word TEXT PRIMARY KEY ON CONFLICT IGNORE)")
        )
        rows = [{"word": f"word {at}"} for at in range(100)]
        rows[9]["word"] = "word 3"
        result = session.bulk_insert(words, rows, on_error="reject")
        assert [one.position for one in result.rejected] == [9]
        assert result.inserted == session.scalar(select(func.count()).select_from(words)) == 99
        session.execute(text("DROP TABLE temp.guest_words"))
        session.commit()

    def test_collations(self, db: Database, session: Any) -> None:
        """Which texts are the same, the database says."""
        rows = bad(guests(100), at_50={"name": "GUEST 7"}, at_60={"name": "Taken"})
        result = session.bulk_insert(Guest, rows, on_error="reject")
        same = [50, 60] if db.driver.server == "mariadb" else []
        assert [one.position for one in result.rejected] == same


TRIGGER = """
CREATE FUNCTION pg_temp.guest_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.name = coalesce(NEW.name, 'mended');
  IF NEW.age > 12000 THEN RAISE EXCEPTION 'too old'; END IF;
  RETURN NEW;
END $$
"""


class TestWhatIsNoRowsFault:
    def test_no_such_table(self, session: Any) -> None:
        table = Table("guest_nothing", MetaData(), Column("name", String(9)))
        with pytest.raises(DBAPIError):
            session.bulk_insert(table, [{"name": "a"}] * 60, on_error="reject")
        assert names(session) == ["taken"]

    def test_no_such_column(self, session: Any) -> None:
        table = Table(
            "guest_guest", MetaData(), Column("name", String(9)), Column("no", String(9))
        )
        rows = [{"name": f"a {at}", "no": "b"} for at in range(60)]
        with pytest.raises(DBAPIError):
            session.bulk_insert(table, rows, on_error="reject")
        assert names(session) == ["taken"]

    @on("psycopg", "asyncpg", "pymysql", "aiomysql")
    def test_a_lock_that_is_not_given(self, db: Database, session: Any) -> None:
        with db.observer.begin() as other:
            other.execute(insert(Guest), {"name": "guest 5", "active": True})
            if db.driver.server == "postgresql":
                session.execute(text("SET LOCAL lock_timeout = '200ms'"))
            else:
                session.execute(text("SET innodb_lock_wait_timeout = 1"))
            with pytest.raises(DBAPIError) as caught:
                session.bulk_insert(
                    Guest, bad(guests(100), at_3={"name": "taken"}), on_error="reject"
                )
            assert not isinstance(caught.value, IntegrityError)
            session.rollback()
            other.rollback()

    @on("psycopg", "asyncpg", "pymysql", "aiomysql")
    def test_a_deadlock(self, db: Database, session: Any) -> None:
        """Whoever is chosen to give way, no row of it is rejected for that."""
        db.read_committed(session)
        session.execute(text("UPDATE guest_room SET name = 'mine' WHERE id = 1"))
        other = db.observer.connect()
        other.execute(insert(Guest), {"name": "guest 50", "active": True})
        outcome: list[Any] = []

        def cross() -> None:
            try:
                other.execute(text("UPDATE guest_room SET name = 'theirs' WHERE id = 1"))
                other.commit()
                outcome.append(None)
            except DBAPIError as error:
                outcome.append(error)
                other.rollback()

        thread = threading.Thread(target=cross)
        thread.start()
        gave_way = result = None
        try:
            result = session.bulk_insert(Guest, guests(100), on_error="reject")
        except DBAPIError as error:
            gave_way = error
        session.rollback()
        thread.join()
        other.close()
        if result is not None:
            assert (result.inserted, result.rejected) == (100, [])
            assert outcome != [None]
        else:
            assert not isinstance(gave_way, IntegrityError)

    @on("psycopg", "asyncpg", "psycopg2", "pymysql", "aiomysql")
    def test_somebody_else_writes_the_same_rows(self, db: Database, session: Any) -> None:
        """What they have stored is rejected here, and everything else is stored."""
        stored: list[int] = []
        started = threading.Event()

        def write() -> None:
            for at in reversed(range(0, MANY, 7)):
                try:
                    with db.observer.begin() as other:
                        other.execute(insert(Guest), {"name": f"guest {at}", "active": True})
                    stored.append(at)
                except DBAPIError:
                    pass  # it is there already, or they had to give way
                started.set()

        thread = threading.Thread(target=write)
        thread.start()
        started.wait(30)
        rows = bad(guests(MANY), at_3={"age": -1})
        try:
            result = load(db, session, rows)
        finally:
            thread.join(60)
        assert {one.position for one in result.rejected} <= {3, *stored}
        assert result.inserted + len(result.rejected) == MANY
        session.rollback()
        everybody = {row["name"] for row in rows if row["name"] != "guest 3"}
        assert names(session) == sorted({"taken", *everybody})


def load(db: Database, session: Any, rows: list[dict[str, Any]]) -> Any:
    """Store rows and commit; again, where a deadlock has chosen this session to give way."""
    while True:
        db.read_committed(session)
        try:
            result = session.bulk_insert(Guest, rows, on_error="reject", chunk_size=100)
            session.commit()
            return result
        except OperationalError:
            session.rollback()


class TestTurns:
    """Who of several rows is stored, decided without a database."""

    def test_the_first_of_a_key(self) -> None:
        assert in_turn([{1: 1, 2: 1, 3: 1}], [], set(), at_once=False) == (
            {2: (0, 1), 3: (0, 1)},
            {},
        )

    def test_of_two_keys(self) -> None:
        # 2 has the first key of 1, so the second key is free for 3.
        keys = [{1: 1, 2: 1}, {2: 2, 3: 2}]
        assert in_turn(keys, [], set(), at_once=False)[0] == {2: (0, 1)}

    def test_one_that_is_refused_anyway(self) -> None:
        assert in_turn([{1: 1, 2: 1}], [], {1}, at_once=False) == ({}, {})

    @pytest.mark.parametrize("at_once", [False, True])
    def test_a_chain(self, at_once: bool) -> None:
        parents = [{2: {1}, 3: {2}, 4: {3}, 5: set[int](), 6: {5}, 8: {8}}]
        assert in_turn([], parents, {3}, at_once=at_once) == ({}, {4: 0, 5: 0, 6: 0})

    def test_backwards_only(self) -> None:
        parents = [{1: {2}, 2: {3}}]
        assert in_turn([], parents, set(), at_once=False) == ({}, {1: 0, 2: 0})
        assert in_turn([], parents, set(), at_once=True) == ({}, {})

    def test_an_orphan_frees_its_key(self) -> None:
        parents = [{1: {9}}]
        assert in_turn([{1: 1, 2: 1}], parents, {9}, at_once=True) == ({}, {1: 0})
        assert in_turn([{1: 1, 2: 1}], parents, {9}, at_once=False) == ({}, {1: 0})


def test_a_rejected_row_is_a_plain_fact() -> None:
    one = Rejected(3, 5, {"name": None}, "not null", None, "name", "name is NULL")
    assert one == Rejected(3, 5, {"name": None}, "not null", None, "name", "name is NULL")
    with pytest.raises(AttributeError):
        one.position = 4  # type: ignore[misc]
