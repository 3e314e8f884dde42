"""Triggers on tables of every kind, of which not all is audited; and what is there of them."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Computed, Engine, ForeignKey, Integer, MetaData, String, Table, text

from sessionwise.audit.coverage import Coverage
from sessionwise.audit.triggers.install import bodies_for, send, wanted
from tests.backends import Database
from tests.triggered import (
    Client,
    assert_replays,
    assert_transactions,
    audited,
    fill,
    happened,
    in_order,
    logged,
    on_each,
    things,
)


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.observer


# Names


@on_each
def test_names_may_be_odd(engine: Engine) -> None:
    odd = MetaData()
    names = ["ba`ck", "it's", 'quo"te', "back\\slash", "select", "per%cent :colon ?", "a b", "{é}"]
    names += ['say "%s" :it\'s {}', "é" if engine.dialect.name == "mariadb" else "é🙂"]
    for name in names:
        Table(
            f"table {name}",
            odd,
            Column(f"key {name}", String(30), primary_key=True),
            *(Column(one, String(30), unique=True) for one in names),
        )
    with audited(engine, odd):
        for table in odd.sorted_tables:
            row = {column.key: f"'{column.key}\\" for column in table.columns}
            with engine.begin() as connection:
                connection.execute(table.insert(), [row])
                connection.execute(table.update(), {names[0]: "other"})
                connection.execute(table.delete())
            added, changed, gone = logged(engine)[-3:]
            assert (added.table, added.object_id) == (table.name, f"'key {table.name[6:]}\\")
            assert added.new == row
            assert (changed.old, changed.new) == (row, {names[0]: "other"})
            assert gone.old == {**row, names[0]: "other"}


@on_each
def test_long_names_are_told_apart(engine: Engine) -> None:
    long = MetaData()
    times = 20 if engine.dialect.name == "sqlite" else 15  # the others have 63 bytes or so
    for end in "ab":
        Table(f"{'long' * times}{end}", long, Column("id", Integer, primary_key=True))
    with audited(engine, long), Client(engine) as raw:
        for table in long.sorted_tables:
            raw.execute(f"INSERT INTO {table.name} VALUES (1)")
        assert [one.table for one in logged(engine)] == [one.name for one in long.sorted_tables]


# Columns


COLUMNS = {"sqlite": 700, "postgresql": 400, "mariadb": 400}
"""More than a function takes arguments; an expression of SQLite's has 1,000 parts."""


@on_each
def test_a_table_may_have_many_columns(engine: Engine) -> None:
    wide, count = MetaData(), COLUMNS[engine.dialect.name]
    columns = [Column(f"c{number}", Integer) for number in range(count)]
    Table("wide", wide, Column("id", Integer, primary_key=True), *columns)
    with audited(engine, wide), Client(engine) as raw:
        raw.execute("INSERT INTO wide (id, c3) VALUES (1, 3)")
        raw.execute("UPDATE wide SET c399 = 7, c3 = NULL")
        added, changed = logged(engine)
    assert added.new == {"id": 1, **dict.fromkeys(f"c{n}" for n in range(count)), "c3": 3}
    assert changed.new == {"c3": None, "c399": 7}


@on_each
def test_generated_columns_are_recorded(engine: Engine) -> None:
    guests = MetaData()
    kept = True if engine.dialect.name == "postgresql" else None  # it has no others before 18
    Table(
        "guest",
        guests,
        Column("id", Integer, primary_key=True),
        Column("name", String(20)),
        Column("initial", String(20), Computed("substr(name, 1, 1)", persisted=kept)),
        Column("size", Integer, Computed("length(name)", persisted=True)),
    )
    with audited(engine, guests), Client(engine) as raw:
        raw.execute("INSERT INTO guest (id, name) VALUES (1, 'Ann')")
        raw.execute("UPDATE guest SET name = 'Bobby'")
        added, changed = logged(engine)
    assert (added.new["initial"], added.new["size"]) == ("A", 3)
    assert changed.new == {"name": "Bobby", "initial": "B", "size": 5}


@on_each
def test_a_column_that_is_excluded_is_not_recorded(engine: Engine) -> None:
    with audited(engine, things, exclude=["thing.word", "thing.code"]), Client(engine) as raw:
        raw.execute("INSERT INTO thing (id, code, word) VALUES (1, 'a', 'secret')")
        raw.execute("UPDATE thing SET word = 'other', code = 'b'")
        raw.execute("UPDATE thing SET word = 'another', box = 3")
        added, changed = logged(engine)
        assert added.new == {"id": 1, "shelf": None, "box": None, "twice": None}
        assert (changed.old, changed.new) == (added.new, {"box": 3})
        assert_transactions(engine)


# Tables that refer to others


@on_each
def test_a_parent_that_is_not_audited_records_its_children(engine: Engine) -> None:
    with audited(engine, things, tables=["dot", "leaf"]), Client(engine) as raw:
        fill(raw)
        raw.execute("DELETE FROM thing WHERE id = 1")
        assert in_order(one for one in happened(engine) if one[0] == "DELETE") == [
            ("DELETE", "dot", "1"),
            ("DELETE", "dot", "2"),
        ]
        raw.execute("DELETE FROM thing WHERE id = 3")
        before = logged(engine)
        raw.execute("INSERT INTO tree (id) VALUES (1)")
        raw.execute("DELETE FROM tree")
        assert logged(engine) == before
        assert_transactions(engine)


@on_each
def test_what_foreign_keys_do_to_excluded_columns_is_not_recorded(engine: Engine) -> None:
    shop = MetaData()
    Table("owner", shop, Column("id", Integer, primary_key=True))
    key = ForeignKey("owner.id", ondelete="SET NULL", onupdate="CASCADE")
    Table("shop", shop, Column("id", Integer, primary_key=True), Column("owner", key))
    with audited(engine, shop, exclude=["shop.owner"]), Client(engine) as raw:
        raw.execute("INSERT INTO owner VALUES (1)")
        raw.execute("INSERT INTO shop VALUES (1, 1)")
        raw.execute("UPDATE owner SET id = 2")
        raw.execute("DELETE FROM owner")
        assert [table for _, table, _ in happened(engine)] == ["owner", "shop", "owner", "owner"]
        assert_transactions(engine)


@on_each
def test_tables_may_refer_to_each_other(engine: Engine) -> None:
    office = MetaData()
    head = ForeignKey("clerk.id", ondelete="SET NULL", use_alter=True, name="fk_head")
    Table("team", office, Column("id", Integer, primary_key=True), Column("head", head))
    team = ForeignKey("team.id", ondelete="CASCADE")
    Table("clerk", office, Column("id", Integer, primary_key=True), Column("team", team))
    with audited(engine, office), Client(engine) as raw:
        raw.execute("INSERT INTO team (id) VALUES (1), (2), (3)")
        raw.execute("INSERT INTO clerk VALUES (1, 1), (2, 2), (3, 1)")
        raw.execute("UPDATE team SET head = id")
        raw.execute("UPDATE team SET head = 1 WHERE id = 2")
        raw.execute("DELETE FROM clerk WHERE id = 3")
        assert_replays(engine, office)
        raw.execute("DELETE FROM team WHERE id = 1")
        assert_replays(engine, office)
        raw.execute("DELETE FROM team")
        assert_replays(engine, office)


# What is there


@on_each
def test_what_is_there_is_known_by_its_digest(engine: Engine) -> None:
    bodies = bodies_for(engine.dialect.name)
    with audited(engine, things) as audit, engine.connect() as connection:
        there = bodies.present(connection, audit.coverage)
        made = wanted(audit.coverage, bodies, "trigger")
    assert there == {one.key: one.digest for one in made}
    assert {table for _, _, table in there} >= set(things.tables)


@on_each
def test_what_is_left_over_can_be_removed(engine: Engine) -> None:
    bodies, nothing = bodies_for(engine.dialect.name), Coverage(MetaData())
    with audited(engine, things), engine.begin() as connection:
        left = bodies.present(connection, nothing)
        order = ("trigger", "function", "view", "table")
        for key in sorted(left, key=lambda key: order.index(key[0])):
            send(connection, bodies.removal(key))
        assert bodies.present(connection, nothing) == {}
        connection.execute(text("INSERT INTO thing (id) VALUES (1)"))
    assert left


@on_each
def test_rows_that_were_there_are_recorded_once(engine: Engine) -> None:
    bodies = bodies_for(engine.dialect.name)
    with audited(engine, things) as audit, Client(engine) as raw:
        raw.execute("INSERT INTO thing (id, code) VALUES (1, 'a'), (2, 'b')")
        before = logged(engine)
        raw.execute("DELETE FROM audit_log WHERE object_id = '2'")
        (covered,) = audit.coverage.named("thing")
        for _ in range(2):
            with engine.begin() as connection:
                send(connection, bodies.before_backfill(covered))
                connection.execute(text(bodies.backfill(covered)), {"transaction_id": 77})
                send(connection, bodies.after_backfill(covered))
        found = logged(engine)
        assert [(one.object_id, one.new) for one in found] == [
            (one.object_id, one.new) for one in before
        ]
        assert found[-1].transaction_id == 77
        assert happened(engine) == [("INSERT", "thing", "1"), ("INSERT", "thing", "2")]


@pytest.mark.parametrize(
    ("dialect", "word"),
    [("sqlite", "REPLACE"), ("postgresql", "TRUNCATE"), ("mariadb", "TRUNCATE")],
)
def test_the_cautions_are_sentences(dialect: str, word: str) -> None:
    cautions = list(bodies_for(dialect).cautions(Coverage(things)))
    assert [one for one in cautions if word in one]
    assert all("record" in one or "trigger" in one for one in cautions)
