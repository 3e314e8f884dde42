"""Rows that are written in bulk are the rows that the ORM stores, whatever the table is.

For each random table and input: what plain ``session.add_all`` stores is read, and then what each
writer of the database stores; the two are the same, value by value, or both refuse the rows.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from unittest import mock

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.orm import Session as PlainSession

from sessionwise import Session
from sessionwise.bulk import insert as inserting
from sessionwise.bulk.writers import core, mysql, postgresql, sqlite
from tests.backends import Database, on

WRITERS: dict[str, list[Any]] = {
    "sqlite": [core.WRITER, *sqlite.WRITERS],
    "postgresql": postgresql.WRITERS,
    "mariadb": [core.WRITER, *mysql.WRITERS],
}
"""Each way there is; what one does not take goes by the one that would be chosen."""


class Size(enum.Enum):
    SMALL = "s"
    LARGE = 'it\'s "large"\\'


class Trimmed(sa.TypeDecorator[str]):
    impl = sa.String(60)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return "-" if value is None else value.strip()


class Words(sa.TypeDecorator[list[str]]):
    impl = sa.JSON
    cache_ok = True


# Texts that writers trip over are more likely here than among all texts.
NASTY = st.sampled_from(
    ["", " ", "\\", "\\N", "\\.", "NULL", "'", '"', ",", "\t", "\n", "\r", "%s"]
)
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
text = st.one_of(NASTY, st.text(LETTERS, max_size=20), st.lists(NASTY, max_size=9).map("".join))
words = text.filter(lambda one: len(one) <= 20)
zones = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))]
)
years = {"min_value": datetime(1000, 1, 2), "max_value": datetime(9999, 12, 30)}
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@dataclass(frozen=True)
class Kind:
    """A type, and what values a column of it is given."""

    type: Any
    values: st.SearchStrategy[Any]


COMMON = [
    Kind(sa.SmallInteger(), integers(16)),
    Kind(sa.Integer(), integers(32)),
    Kind(sa.Integer(), integers(34)),  # too large, once in a while
    Kind(sa.BigInteger(), integers(64)),
    Kind(sa.String(20), words),
    Kind(sa.String(10), words),  # too long, once in a while
    Kind(sa.Text(), text),
    Kind(Trimmed(), words),
    Kind(sa.Double(), st.floats(allow_nan=False, allow_infinity=False)),
    Kind(sa.Numeric(12, 3), st.decimals(-(10**8), 10**8, places=3)),
    Kind(sa.Boolean(), st.booleans()),
    Kind(sa.LargeBinary(), st.binary(max_size=30)),
    Kind(sa.JSON(), documents),
    Kind(sa.JSON(none_as_null=True), documents),
    Kind(Words(), st.lists(text, max_size=3)),
    Kind(sa.Enum(Size, native_enum=False, length=9), st.sampled_from(Size)),
    Kind(sa.Uuid(), st.uuids()),
    Kind(sa.Date(), st.dates(date(1000, 1, 1))),
    Kind(sa.Time(), st.times()),
    Kind(sa.DateTime(), st.datetimes(**years)),
    Kind(sa.DateTime(timezone=True), st.datetimes(**years, timezones=zones)),
    Kind(sa.Interval(), st.timedeltas(timedelta(-9999), timedelta(9999))),
    Kind(sa.PickleType(), documents),
]

KINDS = {
    "sqlite": [*COMMON, Kind(sa.Float(), st.floats()), Kind(sa.Text(), st.text(max_size=9))],
    "mariadb": COMMON,
    "postgresql": [
        *COMMON,
        Kind(sa.Float(), st.floats()),
        Kind(JSONB(), documents),
        Kind(ARRAY(sa.Text()), st.lists(st.none() | text, max_size=3)),
        Kind(ARRAY(sa.Integer()), st.lists(st.none() | integers(32), max_size=3)),
        Kind(ARRAY(sa.DateTime()), st.lists(st.datetimes(**years), max_size=2)),
    ],
}

NAMES = ["a", "order", "Mixed Case", "per%cent", 'quo"te', "ü"]


@dataclass
class Column:
    """A column of a random table."""

    name: str
    kind: Kind
    default: str | None
    """What makes a value for rows that have none: ``"scalar"``, ``"called"`` or ``"served"``."""

    def make(self) -> Any:
        options: dict[str, Any] = {"nullable": True}
        if self.default == "scalar":
            options["default"] = "it's scalar"
        elif self.default == "called":
            options["default"] = lambda context: f"{context.get_current_parameters()['mark']}%"
        elif self.default == "served":
            options["server_default"] = "it's \\ served"
        return mapped_column(self.name, self.kind.type, **options)


@dataclass
class Load:
    """A random table, rows for it, and how they are given."""

    columns: list[Column]
    rows: list[dict[str, Any]]
    form: str
    chunk_size: int | None
    returning: bool
    given_ids: bool


@st.composite
def loads(draw: st.DrawFn, server: str) -> Load:
    columns = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)):
        kind = draw(st.sampled_from(KINDS[server]))
        default = None
        if isinstance(kind.type, sa.Text):
            default = draw(st.sampled_from([None, "scalar", "called"]))
        elif type(kind.type) is sa.String and kind.type.length == 20:
            default = draw(st.sampled_from([None, "scalar", "served"]))
        columns.append(Column(name, kind, default))
    form = draw(st.sampled_from(["dicts", "tuples", "objects", "arrow"]))
    given_ids = draw(st.booleans())
    rows = []
    for mark in range(draw(st.integers(1, 12))):
        row: dict[str, Any] = {"mark": mark}
        for at, column in enumerate(columns):
            # A flush has the type make something of no value; an INSERT leaves the column out.
            may_lack = form in {"dicts", "objects"} and not isinstance(column.kind.type, Trimmed)
            if may_lack and draw(st.integers(0, 5)) == 0:
                continue
            # To the ORM, None where there is a default is as if it were not said.
            values = column.kind.values
            row[f"c{at}"] = draw(values if column.default else st.none() | values)
        if given_ids:
            row["id"] = 1000 - mark
        rows.append(row)
    chunk_size = draw(st.sampled_from([None, 1, 3]))
    return Load(columns, rows, form, chunk_size, draw(st.booleans()), given_ids)


def model_of(load: Load) -> Any:
    """Return the class of a random table."""

    class Base(DeclarativeBase):
        pass

    attributes: dict[str, Any] = {
        "__tablename__": "bulk random",
        "id": mapped_column(sa.Integer, primary_key=True),
        "mark": mapped_column(sa.Integer),
    }
    attributes.update({f"c{at}": column.make() for at, column in enumerate(load.columns)})
    return type("Random", (Base,), attributes)


def input_of(load: Load, model: Any) -> tuple[Any, dict[str, Any]]:
    """Return the rows as the verb takes them, and its options."""
    names = list(load.rows[0])
    if load.form == "tuples":
        return [tuple(row.values()) for row in load.rows], {"columns": names}
    if load.form == "objects":
        return [model(**row) for row in load.rows], {}
    if load.form == "arrow":
        import pyarrow

        try:
            table = pyarrow.Table.from_pylist(load.rows)
        except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
            return load.rows, {}
        return (table if repr(table.to_pylist()) == repr(load.rows) else load.rows), {}
    return load.rows, {}


@contextmanager
def only_by(writer: Any) -> Iterator[None]:
    """Have a writer write whatever it takes, however little that is."""

    def choose(connection: Any, plan: Any, chunk: Any = None) -> Any:
        if plan.only_core is None and writer.takes(connection, plan):
            return writer
        return core.WRITER

    with mock.patch.object(inserting, "choose", choose):
        yield


def contents(session: Any, model: Any, *, with_ids: bool) -> list[Any]:
    """Return all values, and of which type each is."""
    columns = [one for one in model.__table__.c if with_ids or one.name != "id"]
    found = session.execute(sa.select(*columns).order_by(model.mark)).all()
    return [[(type(value), repr(value)) for value in row] for row in found]


def by_the_orm(session: Any, model: Any, load: Load) -> list[Any] | None:
    """Return what the ORM stores; None where it refuses."""
    savepoint = session.begin_nested()
    try:
        session.add_all([model(**row) for row in load.rows])
        session.flush()
        return contents(session, model, with_ids=load.given_ids)
    except (SQLAlchemyError, OverflowError, UnicodeError):
        return None
    finally:
        savepoint.rollback()
        session.expunge_all()


def in_bulk(session: Any, model: Any, load: Load) -> list[Any] | None:
    """Return what the verb stores; None where it refuses, and nothing is stored."""
    rows, options = input_of(load, model)
    savepoint = session.begin_nested()
    try:
        result = session.bulk_insert(
            model, rows, chunk_size=load.chunk_size, returning=load.returning, **options
        )
        if load.returning:
            by_mark = sa.select(model.id).order_by(model.mark)
            assert list(session.scalars(by_mark)) == result.ids
        return contents(session, model, with_ids=load.given_ids)
    except (SQLAlchemyError, OverflowError, UnicodeError):
        assert contents(session, model, with_ids=False) == []
        return None
    finally:
        savepoint.rollback()


class Check:
    """Compares the writers of one database with the ORM."""

    def __init__(self, engine: Any, server: str) -> None:
        self.engine = engine
        self.server = server

    def __call__(self, load: Load) -> None:
        model = model_of(load)
        metadata = model.metadata
        metadata.drop_all(self.engine)
        metadata.create_all(self.engine)
        try:
            with PlainSession(self.engine) as plain:
                expected = by_the_orm(plain, model, load)
            for writer in WRITERS[self.server]:
                with Session(self.engine) as session, only_by(writer):
                    assert in_bulk(session, model, load) == expected, writer.name
        finally:
            metadata.drop_all(self.engine)


def check_many(db: Database, server: str, **options: Any) -> None:
    engine = db.new_engine(**options)
    check = Check(engine, server)

    @given(load=loads(server))
    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    def each(load: Load) -> None:
        check(load)

    try:
        each()
    finally:
        engine.dispose()


@on("sqlite3")
def test_on_sqlite(db: Database) -> None:
    check_many(db, "sqlite")


@on("psycopg")
def test_on_postgresql(db: Database) -> None:
    check_many(db, "postgresql")


@on("pymysql")
def test_on_mariadb(db: Database) -> None:
    check_many(db, "mariadb", connect_args={"local_infile": True})
