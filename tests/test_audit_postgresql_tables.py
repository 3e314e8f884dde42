"""PostgreSQL's triggers on tables of every kind, with columns of every type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    Computed,
    Date,
    DateTime,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import UserDefinedType

from sessionwise.audit import Audit
from sessionwise.audit.tables import METADATA
from tests import servers
from tests.archive import EDGES, PLENTY, Sample
from tests.audited import installed
from tests.backends import Database, on
from tests.triggered import Client, audited, forget, happened, logged

on_postgresql = on("psycopg")


class Pair(UserDefinedType[Any]):
    """A composite type, which SQLAlchemy knows nothing of."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "pair"


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.observer


@pytest.fixture
def place(raw: Client) -> Iterator[None]:
    """Give a schema of an odd name."""
    raw.execute('CREATE SCHEMA "Other Place"')
    yield
    raw.execute('DROP SCHEMA "Other Place" CASCADE')


@on_postgresql
def test_names_in_another_schema(engine: Engine, raw: Client, place: None) -> None:
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
    with audited(engine, metadata) as audit:
        with engine.begin() as connection:
            connection.execute(odd.insert(), {"The Key": 1, "select": "s"})
            connection.execute(odd.update().values({'say "%s" :it\'s {}': "x"}))
            connection.execute(text('INSERT INTO "Other Place".people VALUES (5)'))
            connection.execute(text("INSERT INTO people VALUES (6)"))
            connection.execute(text('TRUNCATE "Other Place".people, people'))
        name = f"Other Place.{odd.name}"
        assert happened(engine) == [
            ("INSERT", name, "1"),
            ("UPDATE", name, "1"),
            ("INSERT", "Other Place.people", "5"),
            ("INSERT", "people", "6"),
            ("TRUNCATE", "Other Place.people", "5"),
            ("TRUNCATE", "people", "6"),
        ]
        assert logged(engine)[1].new == {'say "%s" :it\'s {}': "x"}
        forget(engine)
        assert audit.backfill(engine) == {name: 1, "Other Place.people": 0, "people": 0}
        narrow = Audit(metadata, tables=["people"])
        narrow.install(engine)
        assert narrow.doctor(engine) == []


@on_postgresql
def test_the_audits_tables_may_be_in_another_schema(
    database: Database, raw: Client, place: None
) -> None:
    options = {"options": '-c search_path="Other\\ Place",public'}
    engine = database.new_engine(connect_args=options)
    metadata = MetaData()
    Table("objects", metadata, Column("id", Integer, primary_key=True), schema="public")
    audit = Audit(metadata)
    METADATA.drop_all(database.observer)
    try:
        metadata.create_all(engine)
        audit.install(engine)
        assert audit.doctor(engine) == []
        raw.execute("INSERT INTO objects VALUES (1)")
        found = raw.ask('SELECT "table" FROM "Other Place".audit_log')
        assert found == [("public.objects",)]
        audit.uninstall(engine)
        audit.uninstall(engine)
    finally:
        metadata.drop_all(engine)
        engine.dispose()


@on_postgresql
def test_partitions(engine: Engine, raw: Client) -> None:
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
    with audited(engine, metadata) as audit:
        raw.together(
            *(partition.format(year, year + 1) for year in (2025, 2026)),
            "INSERT INTO events VALUES (1, '2025-05-05', 'by the table')",
            "INSERT INTO events_2026 VALUES (2, '2026-06-06', 'by the partition')",
            "UPDATE events_2026 SET words = 'changed'",
            "UPDATE events SET words = words",
            "UPDATE events SET day = '2026-01-01' WHERE id = 1",
            "DELETE FROM events_2026 WHERE id = 2",
            "INSERT INTO events_2026 SELECT 3, '2026-03-03' ON CONFLICT DO NOTHING",
        )
        assert happened(engine) == [
            ("INSERT", "events", '[1, "2025-05-05"]'),
            ("INSERT", "events", '[2, "2026-06-06"]'),
            ("UPDATE", "events", '[2, "2026-06-06"]'),
            # A row that goes to another partition is deleted there, and inserted here.
            ("DELETE", "events", '[1, "2025-05-05"]'),
            ("INSERT", "events", '[1, "2026-01-01"]'),
            ("DELETE", "events", '[2, "2026-06-06"]'),
            ("INSERT", "events", '[3, "2026-03-03"]'),
        ]
        assert logged(engine)[2].new == {"words": "changed"}
        assert audit.doctor(engine) == []
        forget(engine)
        raw.together("SET LOCAL session_replication_role = replica", "TRUNCATE events")
        assert sorted(happened(engine)) == [
            ("TRUNCATE", "events", '[1, "2026-01-01"]'),
            ("TRUNCATE", "events", '[3, "2026-03-03"]'),
        ]


@on_postgresql
def test_types(engine: Engine, raw: Client) -> None:
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
    raw.execute('CREATE TYPE pair AS (a int, "B" timestamptz)')
    with audited(engine, metadata):
        raw.together(
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
        inserted, second, third, fourth = (one.new for one in logged(engine))
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
    raw.execute("DROP TYPE pair")


@on_postgresql
def test_settings_of_the_client_do_not_count(db: Database, raw: Client) -> None:
    """Zone, digits, styles and the search path are those of whoever writes."""
    with installed(db), db.session() as session:
        session.add(Sample(id=1, **PLENTY))
        session.add(Sample(id=2, **EDGES))
        session.commit()
        plain = [one.new for one in logged(db.observer)]
        raw.together(
            "SET LOCAL TimeZone = 'Asia/Tokyo'",
            "SET LOCAL extra_float_digits = -10",
            "SET LOCAL bytea_output = 'escape'",
            "SET LOCAL DateStyle = 'SQL, DMY'",
            "SET LOCAL IntervalStyle = 'iso_8601'",
            "CREATE SCHEMA elsewhere",
            "CREATE TABLE elsewhere.audit_log (id int)",
            "CREATE FUNCTION elsewhere.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
            "AS $$ SELECT '1970-01-01 00:00+00'::timestamptz $$",
            "SET LOCAL search_path = elsewhere, pg_catalog, public",
            "DELETE FROM samples",
            "DROP SCHEMA elsewhere CASCADE",
        )
        assert [one.old for one in logged(db.observer)][2:] == plain
        assert raw.ask("SELECT extract(year FROM min(at)) > 1970 FROM audit_log") == [(True,)]
    assert plain[0]["zoned"] == "2026-01-02T03:04:05.678901+00:00"
    assert plain[0]["real"] == 0.1 + 0.2
    assert plain[0]["raw"] == PLENTY["raw"].hex()


LOOSE = (
    "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
)


@pytest.fixture
def with_contrib() -> Iterator[Engine]:
    with ExitStack() as stack:
        try:
            url = stack.enter_context(servers.postgresql_with_contrib())
        except servers.ServerUnavailable as unavailable:
            pytest.skip(str(unavailable))
        engine = create_engine(url.set(drivername="postgresql+psycopg"))
        yield engine
        engine.dispose()


def test_texts_that_a_collation_takes_for_the_same(with_contrib: Engine) -> None:
    """``citext``, and collations that are not deterministic: another case is a change."""
    metadata = MetaData()
    Table(
        "objects",
        metadata,
        Column("id", postgresql.CITEXT, primary_key=True),
        Column("word", postgresql.CITEXT),
        Column("loose", String(20, collation="loose")),
    )
    with Client(with_contrib) as raw:
        raw.execute("CREATE EXTENSION citext", LOOSE)
        with audited(with_contrib, metadata):
            raw.execute(
                "INSERT INTO objects VALUES ('a', 'word', 'loose')",
                "UPDATE objects SET word = 'Word'",
                "UPDATE objects SET loose = 'Loose'",
                "UPDATE objects SET id = 'A'",
            )
            found = [(one.object_id, one.previous_id, one.new) for one in logged(with_contrib)]
        raw.execute("DROP COLLATION loose", "DROP EXTENSION citext")
    assert found == [
        ("a", None, {"id": "a", "word": "word", "loose": "loose"}),
        ("a", None, {"word": "Word"}),
        ("a", None, {"loose": "Loose"}),
        ("A", "a", {"id": "A"}),
    ]
