"""What the audit makes in a database, what is wrong with it there, and the base line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from sessionwise.audit import Audit, AuditLog, actor
from sessionwise.audit.tables import METADATA
from sessionwise.audit.triggers.install import bodies_for
from sessionwise.errors import OptionError, UnsupportedError
from tests.archive import Author, Base, Country
from tests.audited import remove
from tests.backends import Database, on

on_each = on("sqlite3", "psycopg", "pymysql")
on_transactional = on("sqlite3", "psycopg", "psycopg2")
AUDITED = {table.name for table in Base.metadata.sorted_tables}


@pytest.fixture
def bare(db: Database) -> Iterator[Database]:
    """Give a database with the tables of the archive, empty, and without an audit."""
    remove(db.observer)
    Base.metadata.create_all(db.observer)
    db.dispose()  # asyncpg knows types by their numbers, which are others now
    yield db
    Audit(Base.metadata).uninstall(db.observer, drop_tables=True)
    remove(db.observer)


def triggers(db: Database) -> set[tuple[str, str | None]]:
    """Return the triggers that are there: name and table."""
    audit = Audit(Base.metadata)
    with db.observer.connect() as connection:
        present = bodies_for(connection.dialect.name).present(connection, audit.coverage)
    return {(name, table) for kind, name, table in present if kind == "trigger"}


def records(db: Database) -> list[Any]:
    with db.observer.connect() as connection:
        log = AuditLog.__table__.c
        return list(
            connection.execute(
                select(log.action, log.table, log.object_id).order_by(log.table, log.id)
            )
        )


def captures(db: Database, audit: Audit, engine: Any = None) -> Any:
    with (engine or db.observer).connect() as connection:
        return audit.captures(connection)


def faults(findings: Any) -> set[tuple[str, str | None]]:
    return {(one.kind, one.table) for one in findings}


class TestInstall:
    @on_each
    def test_makes_what_is_missing_and_nothing_the_second_time(self, bare: Database) -> None:
        audit = Audit(Base.metadata)
        audit.install(bare.engine)
        assert set(METADATA.tables) <= set(inspect(bare.engine).get_table_names())
        assert {table for _, table in triggers(bare) if table} == AUDITED
        assert audit.doctor(bare.engine) == []
        with bare.statements() as sent:
            audit.install(bare.engine)
        assert [one for one in sent if one.startswith(("CREATE", "DROP", "DO ", "ALTER"))] == []

    @on_each
    def test_the_tables_must_be_there(self, bare: Database) -> None:
        Base.metadata.drop_all(bare.observer)
        with pytest.raises(OptionError, match=r"authors.*audit\.listen_to_create"):
            Audit(Base.metadata).install(bare.engine)
        assert "audit_log" not in inspect(bare.engine).get_table_names()

    @on_each
    def test_replaces_what_is_stale(self, bare: Database) -> None:
        Audit(Base.metadata).install(bare.engine)
        newer = Audit(Base.metadata, exclude=[Author.note])
        assert {("stale", "authors")} <= faults(newer.doctor(bare.engine))
        newer.install(bare.engine)
        assert newer.doctor(bare.engine) == []
        with bare.session(audit=newer) as session:
            session.add(Author(name="Ann", note="secret"))
            session.commit()
            assert "note" not in session.scalars(select(AuditLog)).one().new

    @on_each
    def test_removes_what_is_left_over(self, bare: Database) -> None:
        Audit(Base.metadata).install(bare.engine)
        narrow = Audit(Base.metadata, tables=[Author])
        left = {one for one in narrow.doctor(bare.engine) if one.kind == "left over"}
        assert {one.table for one in left} >= AUDITED - {"authors"}
        assert all("audit.install" in str(one) for one in left)
        narrow.install(bare.engine)
        assert narrow.doctor(bare.engine) == []
        assert {table for _, table in triggers(bare) if table} == {"authors"}
        with bare.session(audit=Audit(Base.metadata, tables=[Author])) as session:
            session.add(Country(code="fr", name="France"))
            session.commit()
        assert records(bare) == []

    @on_each
    def test_uninstall_keeps_what_is_recorded(self, bare: Database) -> None:
        audit = Audit(Base.metadata)
        audit.install(bare.engine)
        with bare.session(audit=audit) as session:
            session.add(Author(name="Ann"))
            session.commit()
        audit.uninstall(bare.engine)
        assert triggers(bare) == set()
        assert len(records(bare)) == 1
        audit.uninstall(bare.engine, drop_tables=True)
        assert set(inspect(bare.engine).get_table_names()).isdisjoint(METADATA.tables)
        audit.uninstall(bare.engine, drop_tables=True)

    @on_transactional
    def test_a_connection_is_not_committed(self, bare: Database) -> None:
        audit = Audit(Base.metadata)
        with bare.connection() as connection:
            audit.install(connection)
            assert audit.doctor(connection) == []
        assert triggers(bare) == set()
        assert "audit_log" not in inspect(bare.engine).get_table_names()

    @on("aiosqlite", "psycopg-async", "asyncpg", "aiomysql")
    def test_asyncio_installs_by_run_sync(self, bare: Database) -> None:
        audit = Audit(Base.metadata)
        with pytest.raises(OptionError, match=r"await connection\.run_sync\(audit\.install\)"):
            audit.install(bare.engine)

        async def install() -> Any:
            async with bare.engine.begin() as connection:
                await connection.run_sync(audit.install)
                return await connection.run_sync(audit.doctor)

        assert bare.run(install()) == []
        with bare.session(audit=audit) as session:
            session.add(Author(name="Ann"))
            session.commit()
        assert len(records(bare)) == 1

    @on("sqlite3")
    def test_takes_nothing_else(self, bare: Database) -> None:
        with pytest.raises(OptionError, match="neither an Engine nor a Connection"):
            Audit(Base.metadata).install(object())  # type: ignore[arg-type]

    @on_each
    def test_session_capture_makes_the_tables_only(self, bare: Database) -> None:
        audit = Audit(Base.metadata, capture="session")
        audit.install(bare.engine)
        assert set(METADATA.tables) <= set(inspect(bare.engine).get_table_names())
        assert triggers(bare) == set()
        assert audit.doctor(bare.engine) == []

    def test_another_database_has_no_triggers(self) -> None:
        with pytest.raises(UnsupportedError, match=r"oracle.*capture='session'"):
            bodies_for("oracle")

    @on("psycopg")
    def test_two_at_once(self, bare: Database) -> None:
        errors: list[BaseException] = []

        def install() -> None:
            try:
                Audit(Base.metadata).install(bare.engine)
            except BaseException as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        threads = [threading.Thread(target=install) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert Audit(Base.metadata).doctor(bare.engine) == []


class TestRights:
    @on("psycopg", "psycopg2")
    def test_of_postgresql(self, bare: Database) -> None:
        with bare.observer.begin() as connection:
            connection.execute(text("CREATE ROLE visitor LOGIN"))
            connection.execute(text("GRANT CREATE ON SCHEMA public TO visitor"))
        visitor = bare.new_engine(bare.url.set(username="visitor"))
        try:
            with pytest.raises(UnsupportedError, match="capture='session'"):
                Audit(Base.metadata).install(visitor)
        finally:
            visitor.dispose()
            with bare.observer.begin() as connection:
                connection.execute(text("DROP OWNED BY visitor"))
                connection.execute(text("DROP ROLE visitor"))

    @on("pymysql")
    def test_of_mariadb(self, bare: Database) -> None:
        with bare.observer.begin() as connection:
            connection.execute(text("CREATE USER visitor IDENTIFIED BY 'v'"))
            connection.execute(
                text("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, INDEX ON *.* TO visitor")
            )
        visitor = bare.new_engine(bare.url.set(username="visitor", password="v"))
        try:
            with pytest.raises(UnsupportedError, match="capture='session'"):
                Audit(Base.metadata).install(visitor)
        finally:
            visitor.dispose()
            with bare.observer.begin() as connection:
                connection.execute(text("DROP USER visitor"))

    @on("sqlite3")
    def test_of_sqlite(self, bare: Database) -> None:
        url = bare.url.set(database=f"file:{bare.url.database}")
        read_only = bare.new_engine(url.update_query_dict({"mode": "ro", "uri": "true"}))
        try:
            with pytest.raises(UnsupportedError, match="capture='session'"):
                Audit(Base.metadata).install(read_only)
        finally:
            read_only.dispose()

    @on("psycopg")
    def test_who_only_writes_needs_none_on_the_audits_tables(self, bare: Database) -> None:
        Audit(Base.metadata).install(bare.engine)
        with bare.observer.begin() as connection:
            connection.execute(text("CREATE ROLE visitor LOGIN"))
            connection.execute(text("GRANT SELECT, INSERT, UPDATE ON authors TO visitor"))
            connection.execute(text("GRANT USAGE ON authors_id_seq TO visitor"))
        visitor = bare.new_engine(bare.url.set(username="visitor"))
        audit = Audit(Base.metadata)
        try:
            with actor("alice"), bare.session(visitor, audit=audit) as session:
                session.add(Author(id=1, name="Ann"))
                session.commit()
                with pytest.raises(DBAPIError, match="permission denied"):
                    session.execute(text("DELETE FROM audit_log"))
                session.rollback()
                with pytest.raises(DBAPIError, match="permission denied"):
                    session.execute(text("SELECT sessionwise_audit_transaction()"))
        finally:
            visitor.dispose()
            with bare.observer.begin() as connection:
                connection.execute(text("DROP OWNED BY visitor"))
                connection.execute(text("DROP ROLE visitor"))
        assert records(bare) == [("INSERT", "authors", "1")]


class TestCaptures:
    @on_each
    def test_is_looked_up_once_and_anew_after_install(self, bare: Database) -> None:
        audit = Audit(Base.metadata)
        with bare.statements(bare.observer) as sent:
            assert captures(bare, audit).session == AUDITED
            assert captures(bare, audit).triggers == set()
        assert len(sent) == 1
        audit.install(bare.observer)
        assert captures(bare, audit).triggers == AUDITED
        audit.uninstall(bare.observer)
        assert captures(bare, audit).session == AUDITED

    @on_each
    def test_triggers_that_are_asked_for_must_be_there(self, bare: Database) -> None:
        audit = Audit(Base.metadata, capture="trigger")
        with bare.session(audit=audit) as session:
            session.add(Author(name="Ann"))
            with pytest.raises(OptionError, match=r"authors.*audit\.install"):
                session.commit()
        Audit(Base.metadata, tables=[Author], capture="trigger").install(bare.engine)
        with pytest.raises(OptionError, match="books"):
            captures(bare, audit)

    @on_each
    def test_session_capture_does_not_record_what_triggers_do(self, bare: Database) -> None:
        Audit(Base.metadata).install(bare.engine)
        with bare.session(audit=Audit(Base.metadata, capture="session")) as session:
            session.add(Author(name="Ann"))
            with pytest.raises(OptionError, match=r"recorded twice.*audit\.uninstall"):
                session.commit()
        assert {
            one.step for one in Audit(Base.metadata, capture="session").doctor(bare.engine)
        } == {"call audit.uninstall"}

    @on_each
    def test_a_table_with_some_of_its_triggers(self, bare: Database) -> None:
        audit = Audit(Base.metadata)
        audit.install(bare.engine)
        name, table = sorted(one for one in triggers(bare) if one[1] == "authors")[0]
        drop = f"DROP TRIGGER {name}" + (
            f" ON {table}" if bare.driver.server == "postgresql" else ""
        )
        with bare.observer.begin() as connection:
            connection.execute(text(drop))
        with pytest.raises(OptionError, match=r"authors.*audit\.doctor.*audit\.install"):
            captures(bare, Audit(Base.metadata))
        assert faults(audit.doctor(bare.engine)) == {("missing", "authors")}
        audit.install(bare.engine)
        assert captures(bare, audit).triggers == AUDITED


class TestDoctor:
    @on_each
    def test_of_a_database_without_anything(self, bare: Database) -> None:
        findings = Audit(Base.metadata).doctor(bare.engine)
        tables = {one.what for one in findings if one.kind == "missing table"}
        assert tables == {f"table {name}" for name in METADATA.tables}
        assert {one.table for one in findings if one.kind == "missing"} - {None} == AUDITED

    @on_each
    def test_of_a_column_that_the_audits_tables_lack(self, bare: Database) -> None:
        audit = Audit(Base.metadata)
        audit.install(bare.engine)
        audit.uninstall(bare.engine)  # SQLite lets no column go that a trigger names
        with bare.observer.begin() as connection:
            connection.execute(text("ALTER TABLE audit_log DROP COLUMN schema_version"))
        found = [one for one in audit.doctor(bare.engine) if one.kind == "missing column"]
        assert [one.what for one in found] == ["audit_log.schema_version"]

    @on("psycopg")
    @pytest.mark.parametrize("state", ["DISABLE", "ENABLE REPLICA"])
    def test_of_a_disabled_trigger(self, bare: Database, state: str) -> None:
        audit = Audit(Base.metadata)
        audit.install(bare.engine)
        with bare.observer.begin() as connection:
            connection.execute(
                text(f"ALTER TABLE authors {state} TRIGGER sessionwise_audit_insert")
            )
        (found,) = audit.doctor(bare.engine)
        assert (found.kind, found.table) == ("disabled", "authors")
        assert "sessionwise_audit_insert" in str(found)
        with pytest.raises(OptionError, match="authors"):
            captures(bare, Audit(Base.metadata))
        audit.install(bare.engine)
        assert audit.doctor(bare.engine) == []

    @on("psycopg")
    def test_of_a_trigger_that_replication_passes_by(self, bare: Database) -> None:
        audit = Audit(Base.metadata)
        audit.install(bare.engine)
        with bare.observer.begin() as connection:
            connection.execute(text("ALTER TABLE authors ENABLE TRIGGER sessionwise_audit_insert"))
        assert faults(audit.doctor(bare.engine)) == {("stale", "authors")}
        assert captures(bare, Audit(Base.metadata)).triggers == AUDITED


class TestCreate:
    @pytest.fixture
    def metadata(self, db: Database) -> Iterator[MetaData]:
        metadata = MetaData()
        Table("shelves", metadata, Column("id", Integer, primary_key=True))
        Table(
            "volumes",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("shelf_id", ForeignKey("shelves.id")),
            Column("title", String(20)),
        )
        METADATA.drop_all(db.observer)
        yield metadata
        Audit(metadata).uninstall(db.observer, drop_tables=True)
        metadata.drop_all(db.observer)

    @on_each
    @pytest.mark.parametrize("how", ["create_all", "create"])
    def test_triggers_come_with_the_tables(
        self, db: Database, metadata: MetaData, how: str
    ) -> None:
        audit = Audit(metadata)
        audit.listen_to_create()
        audit.listen_to_create()
        Table("rooms", metadata, Column("id", Integer, primary_key=True))
        if how == "create_all":
            metadata.create_all(db.engine)
            metadata.create_all(db.engine)
            assert audit.doctor(db.engine) == []
        else:
            with db.engine.begin() as connection:
                metadata.tables["shelves"].create(connection)
                metadata.tables["volumes"].create(connection)
            assert {one.table for one in audit.doctor(db.engine)} <= {"rooms"}
        with db.engine.begin() as connection:
            connection.execute(metadata.tables["shelves"].insert(), {"id": 1})
        assert records(db) == [("INSERT", "shelves", "1")]

    @on("sqlite3")
    def test_session_capture_has_its_tables(self, db: Database, metadata: MetaData) -> None:
        audit = Audit(metadata, capture="session")
        audit.listen_to_create()
        metadata.create_all(db.engine)
        assert audit.doctor(db.engine) == []
        assert triggers(db) == set()


def test_finding_is_a_fact() -> None:
    from sessionwise.audit.triggers.doctor import Finding

    found = Finding("stale", "trigger x", "users", "call audit.install")
    assert str(found) == "stale: trigger x of users; call audit.install"
