"""PostgreSQL's triggers on tables of every kind, with columns of every type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    Computed,
    Date,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import UserDefinedType

from sessionwise.audit import Audit, AuditLog
from sessionwise.audit.tables import METADATA
from tests import servers
from tests.backends import Database, on
from tests.test_audit_postgresql import forget, log, owned, run

pytestmark = on("psycopg")
LOG = AuditLog.__table__


class Pair(UserDefinedType[Any]):
    """A composite type, which SQLAlchemy knows nothing of."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "pair"


@contextmanager
def audited(db: Database, metadata: MetaData, *ddl: str, **options: Any) -> Iterator[Audit]:
    audit = Audit(metadata, **options)
    run(db, *ddl)
    metadata.create_all(db.observer)
    audit.install(db.observer)
    assert audit.doctor(db.observer) == []
    forget(db)
    try:
        yield audit
    finally:
        audit.uninstall(db.observer)
        metadata.drop_all(db.observer)


@pytest.fixture(autouse=True)
def _tables(db: Database) -> Iterator[None]:
    METADATA.create_all(db.observer)
    run(db, 'CREATE SCHEMA IF NOT EXISTS "Other Place"')
    yield
    run(db, 'DROP SCHEMA "Other Place" CASCADE', f"DROP TABLE {', '.join(METADATA.tables)}")


def test_names(db: Database) -> None:
    metadata = MetaData()
    odd = Table(
        'It\'s a "Table" % :x {y} of a.name that is longer than sixty',
        metadata,
        Column("The Key", Integer, primary_key=True),
        Column('say "%s" :it\'s {}', String(20)),
        Column("select", String(20)),
        schema="Other Place",
    )
    Table("people", metadata, Column("id", Integer, primary_key=True), schema="Other Place")
    Table("people", metadata, Column("id", Integer, primary_key=True))
    with audited(db, metadata) as audit:
        with db.observer.begin() as connection:
            connection.execute(odd.insert(), {"The Key": 1, "select": "s"})
            connection.execute(odd.update().values({'say "%s" :it\'s {}': "x"}))
            connection.execute(text('INSERT INTO "Other Place".people VALUES (5)'))
            connection.execute(text("INSERT INTO people VALUES (6)"))
            connection.execute(text('TRUNCATE "Other Place".people, people'))
        name = f"Other Place.{odd.name}"
        assert log(db) == [
            ("INSERT", name, "1"),
            ("UPDATE", name, "1"),
            ("INSERT", "Other Place.people", "5"),
            ("INSERT", "people", "6"),
            ("TRUNCATE", "Other Place.people", "5"),
            ("TRUNCATE", "people", "6"),
        ]
        assert log(db, "new")[1] == {'say "%s" :it\'s {}': "x"}
        forget(db)
        assert audit.backfill(db.observer) == {name: 1, "Other Place.people": 0, "people": 0}
        narrow = Audit(metadata, tables=["people"])
        narrow.install(db.observer)
        assert narrow.doctor(db.observer) == []


def test_the_audits_tables_may_be_in_another_schema(db: Database) -> None:
    engine = db.new_engine(connect_args={"options": '-c search_path="Other\\ Place",public'})
    metadata = MetaData()
    Table("things", metadata, Column("id", Integer, primary_key=True), schema="public")
    audit = Audit(metadata)
    run(db, f"DROP TABLE {', '.join(METADATA.tables)}")
    try:
        metadata.create_all(engine)
        audit.install(engine)
        assert audit.doctor(engine) == []
        run(db, "INSERT INTO things VALUES (1)")
        with engine.connect() as connection:
            found = connection.execute(text('SELECT "table" FROM "Other Place".audit_log'))
            assert found.all() == [("public.things",)]
        audit.uninstall(engine)
        audit.uninstall(engine)
    finally:
        metadata.drop_all(engine)
        engine.dispose()
        METADATA.create_all(db.observer)


def test_partitions(db: Database) -> None:
    metadata = MetaData()
    Table(
        "events",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("day", Date, primary_key=True),
        Column("words", String(20)),
        postgresql_partition_by="RANGE (day)",
    )
    partition = (
        "CREATE TABLE events_{0} PARTITION OF events "
        "FOR VALUES FROM ('{0}-01-01') TO ('{1}-01-01')"
    )
    with audited(db, metadata) as audit:
        run(
            db,
            *(partition.format(year, year + 1) for year in (2025, 2026)),
            "INSERT INTO events VALUES (1, '2025-05-05', 'by the table')",
            "INSERT INTO events_2026 VALUES (2, '2026-06-06', 'by the partition')",
            "UPDATE events_2026 SET words = 'changed'",
            "UPDATE events SET words = words",
            "UPDATE events SET day = '2026-01-01' WHERE id = 1",
            "DELETE FROM events_2026 WHERE id = 2",
            "INSERT INTO events_2026 SELECT 3, '2026-03-03' ON CONFLICT DO NOTHING",
        )
        assert log(db) == [
            ("INSERT", "events", '[1, "2025-05-05"]'),
            ("INSERT", "events", '[2, "2026-06-06"]'),
            ("UPDATE", "events", '[2, "2026-06-06"]'),
            # A row that goes to another partition is deleted there, and inserted here.
            ("DELETE", "events", '[1, "2025-05-05"]'),
            ("INSERT", "events", '[1, "2026-01-01"]'),
            ("DELETE", "events", '[2, "2026-06-06"]'),
            ("INSERT", "events", '[3, "2026-03-03"]'),
        ]
        assert log(db, "new")[2] == {"words": "changed"}
        assert audit.doctor(db.observer) == []
        forget(db)
        run(db, "SET LOCAL session_replication_role = replica", "TRUNCATE events")
        assert sorted(log(db)) == [
            ("TRUNCATE", "events", '[1, "2026-01-01"]'),
            ("TRUNCATE", "events", '[3, "2026-03-03"]'),
        ]


def test_types(db: Database) -> None:
    metadata = MetaData()
    place = postgresql.DOMAIN("place", Integer, check=text("VALUE > 0"))
    Table(
        "things",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("twice", Integer, Computed("id * 2", persisted=True)),
        Column("place", place),
        Column("point", Pair),
        Column("numbers", ARRAY(Integer)),
        Column("prices", ARRAY(Numeric(10, 2))),
        Column("words", ARRAY(String(20))),
        Column("bits", ARRAY(LargeBinary)),
        Column("range", postgresql.TSTZRANGE),
        Column("address", postgresql.INET),
        Column("document", JSON),
        Column("binary", postgresql.JSONB),
        Column("ratio", Float),
        Column("fixed", postgresql.CHAR(5)),
        Column("zoned", DateTime(timezone=True)),
    )
    with audited(db, metadata, 'CREATE TYPE pair AS (a int, "B" timestamptz)'):
        run(
            db,
            "SET LOCAL TimeZone = 'Asia/Tokyo'",
            """INSERT INTO things (id, place, point, numbers, prices, words, bits, range, address,
                 document, "binary", ratio, fixed, zoned)
               VALUES (7, 3, ROW(1, '2026-01-01 00:00+00'), '{{1,2},{3,NULL}}', '{1.50,NULL}',
                 '{a,"b,c",NULL}', ARRAY['\\x00ff'::bytea], '[2026-01-01 00:00+00,)', '10.0.0.1',
                 '{"a": "\\u0041\\ud83d\\ude42"}', '{"b": 1.50}', 'NaN', 'ab', 'infinity')""",
            "UPDATE things SET document = '{\"a\": \"\\u0000\"}', ratio = '-Infinity'",
            "UPDATE things SET document = '\"\\ud83d\"', point = NULL",
            "UPDATE things SET document = '{}'",
            "UPDATE things SET document = '{ }'",
        )
        inserted, second, third, fourth = log(db, "new")
        assert inserted == {
            "id": 7,
            "twice": 14,
            "place": 3,
            "point": '(1,"2026-01-01 00:00:00+00")',
            "numbers": [[1, 2], [3, None]],
            "prices": ["1.50", None],
            "words": ["a", "b,c", None],
            "bits": ["\\x00ff"],
            "range": '["2026-01-01 00:00:00+00",)',
            "address": "10.0.0.1/32",
            "document": {"a": "A🙂"},
            "binary": {"b": 1.50},
            "ratio": "NaN",
            "fixed": "ab   ",
            "zoned": "infinity",
        }
        assert second == {"document": '{"a": "\\u0000"}', "ratio": "-Infinity"}
        assert third == {"document": '"\\ud83d"', "point": None}
        assert fourth == {"document": {}}
    run(db, "DROP TYPE pair")


def test_more_columns_than_a_function_takes(db: Database) -> None:
    metadata = MetaData()
    columns = [Column(f"c{n}", Integer, default=n) for n in range(300)]
    wide = Table("wide", metadata, Column("id", Integer, primary_key=True), *columns)
    with audited(db, metadata):
        with db.observer.begin() as connection:
            connection.execute(wide.insert(), {"id": 1})
            connection.execute(wide.update().values(c299=0))
        assert log(db, "new") == [
            {"id": 1, **{f"c{n}": n for n in range(300)}},
            {"c299": 0},
        ]


def test_rules_of_row_security(db: Database) -> None:
    metadata = MetaData()
    Table("secrets", metadata, Column("id", Integer, primary_key=True))
    with audited(db, metadata):
        run(
            db,
            "ALTER TABLE secrets ENABLE ROW LEVEL SECURITY",
            "CREATE ROLE reader",
            "GRANT ALL ON secrets TO reader",
            "CREATE POLICY few ON secrets TO reader USING (id < 2)",
            "INSERT INTO secrets VALUES (1), (2)",
            "SET ROLE reader",
            "TRUNCATE secrets",
            "RESET ROLE",
            "DROP OWNED BY reader",
            "DROP ROLE reader",
        )
        assert log(db)[2:] == [("TRUNCATE", "secrets", "1"), ("TRUNCATE", "secrets", "2")]


def test_rows_that_a_policy_hides_from_the_functions(db: Database) -> None:
    """What is not seen cannot be recorded: it is not deleted either."""
    metadata = MetaData()
    Table("secrets", metadata, Column("id", Integer, primary_key=True))
    with audited(db, metadata):
        run(db, "INSERT INTO secrets VALUES (1), (2)")
        with owned(db):
            run(
                db,
                "ALTER TABLE secrets ENABLE ROW LEVEL SECURITY",
                "CREATE POLICY few ON secrets TO owner USING (id < 2)",
            )
            with pytest.raises(DBAPIError, match="row-level security"):
                run(db, "TRUNCATE secrets")
        assert [action for action, _, _ in log(db)] == ["INSERT", "INSERT"]


LOOSE = (
    "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
)


def test_texts_that_a_collation_takes_for_the_same(
    db: Database, request: pytest.FixtureRequest
) -> None:
    """``citext``, and collations that are not deterministic: another case is a change."""
    stack = ExitStack()
    request.addfinalizer(stack.close)
    try:
        url = stack.enter_context(servers.postgresql_with_contrib())
    except servers.ServerUnavailable as unavailable:
        pytest.skip(str(unavailable))
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    metadata = MetaData()
    Table(
        "things",
        metadata,
        Column("id", postgresql.CITEXT, primary_key=True),
        Column("word", postgresql.CITEXT),
        Column("loose", String(20, collation="loose")),
    )
    audit = Audit(metadata)
    with engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION citext"))
        connection.execute(text(LOOSE))
    metadata.create_all(engine)
    audit.install(engine)
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO things VALUES ('a', 'word', 'loose')",
            "UPDATE things SET word = 'Word'",
            "UPDATE things SET loose = 'Loose'",
            "UPDATE things SET id = 'A'",
        ):
            connection.execute(text(statement))
        rows = connection.execute(
            select(LOG.c.object_id, LOG.c.previous_id, LOG.c.new).order_by(LOG.c.id)
        )
        assert [tuple(row) for row in rows] == [
            ("a", None, {"id": "a", "word": "word", "loose": "loose"}),
            ("a", None, {"word": "Word"}),
            ("a", None, {"loose": "Loose"}),
            ("A", "a", {"id": "A"}),
        ]
    engine.dispose()
