"""The writers for MariaDB: what they store is the ORM's values, and no warning is overlooked."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PickleType,
    String,
    Table,
    Text,
    Uuid,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import mysql as types
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError

from sessionwise.bulk.plan import Plan
from sessionwise.bulk.reading.rows import Chunk
from sessionwise.bulk.target import Target
from sessionwise.bulk.writers import mysql, mysql_load, mysql_text
from tests.backends import Database, on
from tests.test_bulk_conformance import OnDatabase

pytestmark = [on("mariadb"), pytest.mark.filterwarnings("ignore:Data truncated")]
# aiomysql warns of what the server notes, whoever sends the INSERT.

EXECUTEMANY = mysql.ExecutemanyWriter()
LOAD = mysql_load.LoadDataWriter(EXECUTEMANY, fewest=1)
LOCAL_FILES = {"connect_args": {"client_flag": 128 | 2}}
"""The flag alone: the driver itself then serves no file. 2 is FOUND_ROWS, as SQLAlchemy has it."""

metadata = MetaData()
things = Table(
    "my_things",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("na me%", String(20), key="name"),
    Column("text", Text),
    Column("size", Integer),
    Column("flag", Boolean),
    Column("weight", Float(53)),
    Column("price", Numeric(12, 2)),
    Column("at", types.DATETIME(fsp=6)),
    Column("day", Date),
    Column("time", types.TIME(fsp=6)),
    Column("raw", LargeBinary),
    Column("doc", JSON),
    Column("kind", Enum("a", "it's\\", name="kind")),
    Column("uid", Uuid),
    Column("pickle", PickleType),
    mariadb_charset="utf8mb4",
)
strict = Table(
    "my_strict",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(5), nullable=False, unique=True),
    Column("size", types.SMALLINT),
    Column("day", Date),
    Column("at", DateTime),
    Column("price", Numeric(4, 1)),
    Column("parent", ForeignKey("my_things.id")),
    CheckConstraint("size >= 0", name="my_size"),
)
myisam = Table(
    "my_isam", metadata, Column("id", Integer, primary_key=True), mariadb_engine="MyISAM"
)


@pytest.fixture(scope="module", params=["executemany", "load"])
def writer(request: pytest.FixtureRequest) -> Any:
    return EXECUTEMANY if request.param == "executemany" else LOAD


@pytest.fixture(scope="module")
def tables(database: Database) -> Iterator[Database]:
    """Give a database with the tables, which stay empty: nothing is committed."""
    metadata.create_all(database.observer)
    yield database
    metadata.drop_all(database.observer)


@pytest.fixture(scope="module")
def engine(tables: Database) -> Iterator[Any]:
    engine = tables.new_engine(**LOCAL_FILES)
    yield engine
    tables.dispose(engine)


@pytest.fixture
def run(tables: Database, engine: Any) -> Any:
    """Give what calls a function with a session, and closes that without a commit."""

    def run(function: Any) -> Any:
        with tables.session(engine) as session:
            return session.run_sync(function) if tables.driver.is_async else function(session)

    return run


def write(
    writer: Any, session: Any, table: Table, names: tuple[str, ...], rows: list[Any]
) -> Plan:
    connection = session.connection()
    plan = Plan(Target.of(table), names, connection.dialect)
    assert writer.takes(connection, plan)
    writer.write(connection, plan, Chunk(names, range(100, 100 + len(rows)), rows))
    return plan


def is_loaded(session: Any, before: int) -> bool:
    return loads(session) > before


def loads(session: Any) -> int:
    status = "SHOW SESSION STATUS LIKE 'Com_load'"
    return int(session.connection().exec_driver_sql(status).one()[1])


TEXTS = [
    *("", " ", "NULL", "\\N", "N", "\\", "a\\", "\\'", "'", '"', "a\tb", "a\nb", "a\r\nb", "\0"),
    *("\x1a", "\b", "é", "😀", "%s", "%", "%%", "a,b", "),(", "0x41", "\x7f", "\u2028"),
]
VALUES: list[dict[str, Any]] = [
    *({"name": text, "text": text * 3} for text in TEXTS),
    {"text": "".join(map(chr, range(1, 500)))},
    {"size": -(2**31), "flag": True},
    {"size": True, "flag": False},
    {"size": "7", "weight": 1},
    {"weight": 1.5e300, "price": Decimal("-1234567890.12")},
    {"weight": -0.1, "price": 1.25},
    {"weight": Decimal("2.5"), "price": Decimal("1E+3")},
    {"at": dt.datetime(2013, 1, 2, 3, 4, 5), "day": dt.date(1000, 1, 2)},
    {"at": dt.datetime(2013, 1, 2, 3, 4, 5, 7, dt.UTC), "day": dt.datetime(2013, 1, 2, 3)},
    {"at": dt.date(2013, 1, 2), "day": "2013-01-02"},
    {"time": dt.time(3, 4, 5, 6)},
    {"time": dt.timedelta(hours=-30, seconds=1)},
    {"doc": {"a": ["\\n", '"', None, "😀\n"]}},
    {"doc": None},
    {"kind": "it's\\"},
    {"price": Decimal("1.005")},
    {"name": 5, "text": 1.5},
]


@pytest.mark.parametrize(
    "mode", ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES", "STRICT_ALL_TABLES,ANSI"]
)
def test_values_are_as_by_core(run: Any, writer: Any, mode: str) -> None:
    def test(session: Any) -> None:
        connection = session.connection()
        added = f"SET SESSION sql_mode = concat(@@sql_mode, ',{mode}')"
        connection.exec_driver_sql(added)
        try:
            before = loads(session)
            for at, values in enumerate(VALUES):
                session.execute(insert(things), [{"id": 2 * at + 1, **values}])
                rows = [(2 * at + 2, *values.values())]
                write(writer, session, things, ("id", *values), rows)
            assert is_loaded(session, before) == (writer is LOAD)
            assert_pairs(session)
        finally:
            connection.exec_driver_sql("SET SESSION sql_mode = DEFAULT")

    run(test)


def assert_pairs(session: Any) -> None:
    columns = [func.hex(column) for column in things.c if column.key != "id"]
    found = session.execute(select(*columns).order_by(things.c.id)).all()
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert tuple(first) == tuple(second)


def test_bytes(run: Any, writer: Any) -> None:
    """As they are; the ORM on aiomysql cannot send them with each version of PyMySQL."""
    values = [b"", b"\0\xff\\\t\n", bytes(range(256)), None, bytearray(b"ab")]
    uid = uuid.uuid4()

    def test(session: Any) -> None:
        before = loads(session)
        rows = [(at, value, uid, {"a": value}) for at, value in enumerate(values, 1)]
        write(writer, session, things, ("id", "raw", "uid", "pickle"), rows)
        found = session.execute(
            select(things.c.raw, things.c.uid, things.c.pickle).order_by(things.c.id)
        )
        assert [tuple(row) for row in found] == [(v, uid, {"a": v}) for v in values]
        assert is_loaded(session, before) == (writer is LOAD)

    run(test)


def test_all_at_once(run: Any, writer: Any) -> None:
    """Columns of one type, and of several, with NULLs in between; more than one statement."""

    def test(session: Any) -> None:
        names = ("id", "name", "text", "size", "weight")
        rows: list[Any] = []
        for at in range(1, 3001):
            text = None if at % 7 == 0 else f"{at}\t'\\" if at % 5 == 0 else "x" * 900
            rows.append((at, f"n{at}", text, None if at % 3 else at, at / 7))
        write(writer, session, things, names, rows)
        found = session.execute(select(*(things.c[name] for name in names)).order_by(things.c.id))
        assert [tuple(row) for row in found] == rows

    run(test)


BAD: dict[str, tuple[dict[str, Any], type[DBAPIError]]] = {
    "too long": ({"name": "toolong"}, DataError),
    "twice": ({"name": "a"}, IntegrityError),
    "NULL": ({"name": None}, IntegrityError),
    "out of range": ({"size": 2**15}, DataError),
    "no number": ({"size": "x"}, DBAPIError),
    "no day": ({"day": "2013-02-30"}, DBAPIError),
    "no moment": ({"at": "yesterday"}, DBAPIError),
    "too much": ({"price": Decimal(1000)}, DataError),
    "no parent": ({"parent": 77}, IntegrityError),
    "check": ({"size": -1}, DBAPIError),
    "not a number": ({"price": float("nan")}, DBAPIError),
}


@pytest.mark.parametrize("why", BAD)
def test_what_is_refused(run: Any, writer: Any, why: str) -> None:
    values, class_ = BAD[why]
    names = tuple({"name": None, **values})
    rows = [tuple({"name": name}.get(one) for one in names) for name in ("a", "b", "c")]
    rows.append(tuple({"name": "d", **values}[one] for one in names))

    def test(session: Any) -> None:
        session.execute(insert(strict), [{"name": "first"}])
        with pytest.raises(class_), session.begin_nested():
            write(writer, session, strict, names, rows)
        assert session.scalars(select(strict.c.name)).all() == ["first"]
        write(writer, session, strict, ("name",), [("a",)])

    run(test)


def test_the_error_names_what_is_wrong(run: Any) -> None:
    rows = [("ok",), ("toolong",), *((f"toolong{at}",) for at in range(70))]

    def test(session: Any) -> None:
        with pytest.raises(DataError, match=r"column 'name' in row 101; .*and more, 141 in all"):
            write(LOAD, session, strict, ("name",), rows)
        assert session.scalars(select(strict.c.name)).all() == []

    run(test)


@pytest.mark.parametrize("count", [0, 1])
def test_warnings_that_are_not_kept(run: Any, count: int) -> None:
    def test(session: Any) -> None:
        connection = session.connection()
        connection.exec_driver_sql(f"SET max_error_count = {count}")
        with pytest.raises(DBAPIError):
            write(LOAD, session, strict, ("name",), [("a",), ("toolong",), ("b",)])
        with pytest.raises(IntegrityError):
            write(LOAD, session, strict, ("name",), [("a",), ("a",)])
        connection.exec_driver_sql("SET max_error_count = DEFAULT")

    run(test)


def test_a_server_that_is_lenient(run: Any) -> None:
    """By a mode that is not strict, a load still fails: nothing was asked to be changed."""

    def test(session: Any) -> None:
        connection = session.connection()
        connection.exec_driver_sql("SET SESSION sql_mode = ''")
        try:
            with pytest.raises(DataError):
                write(LOAD, session, strict, ("name",), [("a",), ("toolong",)])
            assert session.scalars(select(strict.c.name)).all() == []
        finally:
            connection.exec_driver_sql("SET SESSION sql_mode = DEFAULT")

    run(test)


def test_a_note_is_for_insert_to_decide(run: Any) -> None:
    def test(session: Any) -> None:
        write(LOAD, session, strict, ("name", "price"), [("a", Decimal("1.25")), ("b", None)])
        assert session.scalars(select(strict.c.price).order_by("name")).all() == [
            Decimal("1.3"),
            None,
        ]

    run(test)


def test_no_more_than_the_rows_is_undone(run: Any) -> None:
    def test(session: Any) -> None:
        write(LOAD, session, strict, ("name",), [("a",)])
        with session.begin_nested() as savepoint:
            write(LOAD, session, strict, ("name",), [("b",)])
            savepoint.rollback()
        with pytest.raises(IntegrityError):
            write(LOAD, session, strict, ("name",), [("a",)])
        assert session.scalars(select(strict.c.name)).all() == ["a"]
        session.rollback()
        assert session.scalars(select(strict.c.name)).all() == []

    run(test)


class TestKeys:
    def returned(self, session: Any, names: tuple[str, ...], rows: list[Any]) -> list[Any]:
        connection = session.connection()
        plan = Plan(Target.of(things), names, connection.dialect)
        chunk = Chunk(names, range(len(rows)), rows)
        return EXECUTEMANY.write_returning(connection, plan, chunk)

    def check(self, session: Any, keys: list[Any], sizes: list[int]) -> None:
        stored = {row.id: row.size for row in session.execute(select(things.c.id, things.c.size))}
        assert [stored[key] for (key,) in keys] == sizes

    def test_made_by_the_server(self, run: Any) -> None:
        def test(session: Any) -> None:
            sizes = list(range(2000))
            keys = self.returned(session, ("size",), [(size,) for size in sizes])
            self.check(session, keys, sizes)

        run(test)

    def test_given(self, run: Any) -> None:
        def test(session: Any) -> None:
            keys = self.returned(session, ("id", "size"), [(9000, 1), (7, 2), (-5, 3)])
            assert keys == [(9000,), (7,), (-5,)]
            self.check(session, keys, [1, 2, 3])
            assert self.returned(session, ("size",), [(4,)]) > [(9000,)]

        run(test)

    def test_some_are_given(self, run: Any) -> None:
        def test(session: Any) -> None:
            keys = self.returned(session, ("id", "size"), [(9000, 1), (None, 2), (0, 3), (7, 4)])
            assert (keys[0], keys[3]) == ((9000,), (7,))
            self.check(session, keys, [1, 2, 3, 4])

        run(test)

    def test_zero(self, run: Any) -> None:
        def test(session: Any) -> None:
            connection = session.connection()
            connection.exec_driver_sql("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
            assert self.returned(session, ("id", "size"), [(0, 1), (5, 2)]) == [(0,), (5,)]
            connection.exec_driver_sql("SET SESSION sql_mode = DEFAULT")

        run(test)

    def test_without_returning(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def test(session: Any) -> None:
            dialect = session.connection().dialect
            monkeypatch.setattr(dialect, "insert_executemany_returning", False)
            keys = self.returned(session, ("size",), [(3,), (1,), (2,)])
            self.check(session, keys, [3, 1, 2])

        run(test)


def test_sql_is_not_stored_as_text(run: Any, writer: Any) -> None:
    def test(session: Any) -> None:
        with pytest.raises((mysql_text.NotTextError, TypeError)):
            write(writer, session, things, ("text",), [("a",), (func.now(),)])

    run(test)


class TestTakes:
    def takes(self, session: Any, table: Table = strict, *names: str, **options: Any) -> bool:
        connection = session.connection()
        if options:
            connection = connection.execution_options(**options)
        plan = Plan(Target.of(table), names or ("id",), connection.dialect)
        return LOAD.takes(connection, plan)

    def test_the_flag(self, tables: Database, run: Any) -> None:
        assert run(self.takes)
        with tables.session() as session:
            assert not (
                session.run_sync(self.takes) if tables.driver.is_async else self.takes(session)
            )

    def test_tables(self, run: Any) -> None:
        assert not run(lambda session: self.takes(session, myisam))
        missing = Table("my_missing", MetaData(), Column("id", Integer, primary_key=True))
        assert not run(lambda session: self.takes(session, missing))

    def test_types(self, run: Any) -> None:
        for type_ in (types.BIT(8), types.SET("a", "b"), types.YEAR()):
            table = Table("my_things", MetaData(), Column("x", type_))
            assert not run(lambda session, table=table: self.takes(session, table, "x"))

    def test_autocommit(self, run: Any) -> None:
        def test(session: Any) -> None:
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            assert not self.takes(session)

        run(test)

    def test_a_schema_that_is_translated(self, run: Any) -> None:
        options = {"schema_translate_map": {None: "elsewhere"}}
        assert not run(lambda session: self.takes(session, **options))

    def test_few_rows(self, run: Any) -> None:
        def test(session: Any) -> None:
            connection = session.connection()
            plan = Plan(Target.of(strict), ("id",), connection.dialect)
            some = [(at,) for at in range(300)]
            first = mysql.WRITERS[0]
            assert first.takes(connection, plan, Chunk(("id",), range(300), some))
            assert not first.takes(connection, plan, Chunk(("id",), range(3), some[:3]))

        run(test)


def test_a_deadlock(tables: Database, engine: Any) -> None:
    """It is the error that is raised, not that the savepoint is gone with it."""
    if tables.driver.is_async:
        pytest.skip("by threads")
    both, errors = threading.Barrier(2), []

    def write_both(first: int, second: int) -> None:
        with tables.session(engine) as session:
            write(LOAD, session, strict, ("id", "name"), [(first, f"{first}")])
            both.wait(10)
            try:
                write(LOAD, session, strict, ("id", "name"), [(second, f"{second}")])
            except DBAPIError as error:
                errors.append(error)

    others = [threading.Thread(target=write_both, args=ids) for ids in ((1, 2), (2, 1))]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join()
    [error] = errors
    assert error.orig.args[0] == 1213


class TestConversation:
    """What goes wrong between the driver and the server leaves nothing half done."""

    def test_no_such_table(self, run: Any) -> None:
        def test(session: Any) -> None:
            missing = Table("my_missing", MetaData(), Column("id", Integer, primary_key=True))
            connection = session.connection()
            plan = Plan(Target.of(missing), ("id",), connection.dialect)
            with pytest.raises(DBAPIError, match="my_missing"):
                LOAD.write(connection, plan, Chunk(("id",), range(1), [(1,)]))
            assert session.scalar(select(1)) == 1

        run(test)

    def test_another_file_is_not_sent(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a server does that is not to be trusted: it asks for what was not offered."""
        statement = mysql_load._statement

        def changed(plan: Plan, name: str) -> str:
            return statement(plan, "/etc/hostname")

        monkeypatch.setattr(mysql_load, "_statement", changed)

        def test(session: Any) -> None:
            with pytest.raises(InterfaceError, match="hostname"):
                write(LOAD, session, strict, ("name",), [("a",)])
            assert session.scalars(select(strict.c.name)).all() == []

        run(test)

    def test_an_interruption(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def test(session: Any) -> None:
            session.execute(insert(strict), [{"name": "first"}])
            connection = session.connection()
            driver = connection.connection.driver_connection
            send, sent = driver.write_packet, []

            def write_packet(data: bytes) -> None:
                sent.append(data)
                if len(sent) > 1:
                    raise KeyboardInterrupt
                send(data)

            driver.write_packet = write_packet
            rows = [(f"{at}",) for at in range(20_000)]
            with pytest.raises(KeyboardInterrupt):
                write(LOAD, session, strict, ("name",), rows)
            assert connection.invalidated
            session.rollback()
            assert session.scalars(select(strict.c.name)).all() == []

        run(test)

    def test_a_connection_that_is_lost(self, tables: Database, run: Any) -> None:
        def test(session: Any) -> None:
            connection = session.connection()
            number = connection.exec_driver_sql("SELECT connection_id()").scalar()
            plan = Plan(Target.of(strict), ("name",), connection.dialect)
            with tables.observer.connect() as other:
                other.exec_driver_sql(f"KILL {number}")
            with pytest.raises((OperationalError, InterfaceError, DBAPIError)):
                LOAD.write(connection, plan, Chunk(("name",), range(1), [("a",)]))
            session.rollback()
            assert session.scalar(select(1)) == 1

        run(test)


class TestLoadOfAFewRows(OnDatabase):
    writer = LOAD
    options = LOCAL_FILES
