"""MariaDB's triggers on odd tables: what it refuses, what is too large, and what is there."""

from __future__ import annotations

import pymysql
import pytest
from sqlalchemy import Column, Engine, ForeignKey, Integer, MetaData, String, Table, text
from sqlalchemy.dialects import mysql as types

from sessionwise.audit.coverage import Coverage
from sessionwise.audit.triggers import mysql
from sessionwise.audit.triggers.install import send
from sessionwise.errors import UnsupportedError
from tests.backends import Database, on
from tests.triggered import Client, audited, logged

on_mariadb = on("pymysql")


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.observer


# What is refused


def test_foreign_keys_in_a_circle_are_refused() -> None:
    circle = MetaData()
    for name, other in (("hen", "egg"), ("egg", "hen")):
        key = ForeignKey(f"{other}.id", ondelete="CASCADE", use_alter=True, name=f"fk_{name}")
        Table(name, circle, Column("id", Integer, primary_key=True), Column("of", key))
    Table("yard", circle, Column("id", Integer, primary_key=True))
    for name, other in (("hen", "yard"), ("nest", "yard")):
        key = ForeignKey(f"{other}.id", ondelete="CASCADE")
        Table(name, circle, Column("yard", key, primary_key=True), extend_existing=True)
    coverage = Coverage(circle)
    hen, nest = coverage.named("hen")[0], coverage.named("nest")[0]
    assert len(mysql.of(nest, coverage)) == 4
    with pytest.raises(UnsupportedError, match=r'circle|around.*capture="session"'):
        mysql.of(hen, coverage)
    foreign = Table("a", circle, Column("id", Integer, primary_key=True), schema="elsewhere")
    with pytest.raises(UnsupportedError, match=r"elsewhere\.a .*exclude="):
        mysql.of(coverage.of(foreign), coverage)  # type: ignore[arg-type]


def test_on_update_set_null_is_refused() -> None:
    metadata = MetaData()
    Table("a", metadata, Column("id", Integer, primary_key=True))
    key = ForeignKey("a.id", onupdate="SET NULL")
    table = Table("b", metadata, Column("id", Integer, primary_key=True), Column("a", key))
    coverage = Coverage(metadata)
    with pytest.raises(UnsupportedError, match=r'^b has .*capture="session"'):
        mysql.of(coverage.of(table), coverage)  # type: ignore[arg-type]


def test_a_parent_in_another_database_is_refused() -> None:
    metadata = MetaData()
    Table("a", metadata, Column("id", Integer, primary_key=True), schema="elsewhere")
    key = ForeignKey("elsewhere.a.id", ondelete="CASCADE")
    table = Table("b", metadata, Column("id", Integer, primary_key=True), Column("a", key))
    coverage = Coverage(metadata)
    with pytest.raises(UnsupportedError, match=r'^b refers to elsewhere\.a .*capture="session"'):
        mysql.of(coverage.of(table), coverage)  # type: ignore[arg-type]


@on_mariadb
def test_what_is_too_large_to_be_recorded_is_refused(engine: Engine) -> None:
    metadata = MetaData()
    Table("film", metadata, Column("id", Integer, primary_key=True), Column("b", types.LONGBLOB))
    with audited(engine, metadata), Client(engine) as raw:
        ((size,),) = raw.ask("SELECT @@max_allowed_packet DIV 3 * 2")
        with pytest.raises(pymysql.err.OperationalError, match="max_allowed_packet"):
            raw.execute(f"INSERT IGNORE INTO film VALUES (1, REPEAT('a', {size}))")
        assert raw.ask("SELECT COUNT(*) FROM film") == [(0,)]


# What is there


@on_mariadb
@pytest.mark.parametrize("mode", ["ANSI", "NO_BACKSLASH_ESCAPES", ""])
def test_the_sql_mode_of_who_installs_does_not_matter(engine: Engine, mode: str) -> None:
    table = MetaData()
    Table("mo\\de", table, Column("id", Integer, primary_key=True), Column("w'\\", String(600)))
    with audited(engine, table) as audit, engine.connect() as connection:
        connection.execute(text("SET sql_mode = :mode"), {"mode": mode})
        coverage = audit.coverage
        for covered in coverage:
            for artifact in mysql.of(covered, coverage):
                send(connection, artifact.create)
        assert connection.scalar(text("SELECT @@sql_mode")).endswith(mode)
        connection.execute(text("INSERT INTO `mo\\de` VALUES (1, 'x')"))
        assert set(mysql.present(connection, coverage).values()).isdisjoint({None})
        connection.commit()
        connection.invalidate()
        assert logged(engine)[0].new == {"id": 1, "w'\\": "x"}


@on_mariadb
def test_what_somebody_has_changed_has_no_digest(engine: Engine) -> None:
    metadata = MetaData()
    Table("note", metadata, Column("id", Integer, primary_key=True))
    with audited(engine, metadata) as audit, engine.begin() as connection:
        coverage = audit.coverage
        (covered,) = coverage
        delete = mysql.of(covered, coverage)[-1]
        create = delete.create[-1].replace(
            "INSERT INTO audit_log", "SET @x = 1; INSERT INTO audit_log"
        )
        send(connection, [*delete.drop, create])
        present = mysql.present(connection, coverage)
        notes = {key: digest for key, digest in present.items() if key[2] == "note"}
        assert [key[1] for key, digest in notes.items() if digest is None] == [delete.name]
        for key in notes:
            send(connection, mysql.removal(key))
        assert notes.keys().isdisjoint(mysql.present(connection, coverage))
