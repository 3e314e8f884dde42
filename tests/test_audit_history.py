"""What can be asked of the audit: histories, changes and differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, orm
from sqlalchemy.ext.asyncio import AsyncSession

import sessionwise
import sessionwise.asyncio
from sessionwise import OptionError
from sessionwise.audit import Audit, AuditLog, AuditTransaction, Change, Redacted, actor
from sessionwise.audit.tables import LOG
from sessionwise.errors import AuditError
from tests.archive import (
    Account,
    Animal,
    Author,
    Base,
    Country,
    Dog,
    Page,
    book_tags,
)
from tests.audited import changes, history, installed
from tests.backends import on


@pytest.fixture(scope="module", params=["trigger", "session"])
def audit(database: Any, request: pytest.FixtureRequest) -> Iterator[Audit]:
    with installed(database, request.param) as audit:
        yield audit


@pytest.fixture
def archive(db: Any, audit: Audit) -> Any:
    """Give a database whose archive and whose audit have no rows."""
    with db.observer.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
        connection.execute(delete(AuditLog))
        connection.execute(delete(AuditTransaction))
    return db


def actions(told: list[Change]) -> list[str]:
    return [change.action for change in told]


# Histories


def test_history_of_an_object(archive: Any, audit: Audit) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)
    with archive.session(audit=audit) as session:
        with actor("alice", reason="ticket 42", request_id="r1", origin="shop"):
            session.add(Author(id=1, name="Ann", balance=5))
            session.commit()
        with actor("bob"):
            session.get(Author, 1).balance = 7
            session.flush()
            session.get(Author, 1).name = "Anne"  # not flushed yet
            told = history(archive, audit, session, session.get(Author, 1))
            session.commit()
    assert actions(told) == ["INSERT", "UPDATE", "UPDATE"]
    inserted, updated, renamed = told
    whole = {"id": 1, "name": "Ann", "balance": 5, "note": None}
    assert (inserted.old, inserted.new, inserted.row) == (None, whole, whole)
    assert (updated.old, updated.new) == (whole, {"balance": 7})
    assert updated.row == {**whole, "balance": 7}
    assert updated.changed == {"balance": (5, 7)}
    assert renamed.changed == {"name": ("Ann", "Anne")}
    assert (inserted.table, inserted.object_id, inserted.previous_id) == ("authors", 1, None)
    assert (inserted.actor, inserted.reason, inserted.request_id) == ("alice", "ticket 42", "r1")
    assert inserted.context == {"origin": "shop"}
    assert (updated.actor, updated.reason, updated.context) == ("bob", None, {})
    assert updated.transaction_id == renamed.transaction_id != inserted.transaction_id
    assert inserted.id < updated.id < renamed.id
    assert began < inserted.at <= updated.at < datetime.now(UTC) + timedelta(seconds=2)
    assert inserted.at.utcoffset() == timedelta(0)
    with pytest.raises(FrozenInstanceError):
        inserted.action = "DELETE"  # type: ignore[misc]


def test_history_of_what_is_gone(archive: Any, audit: Audit) -> None:
    with archive.session(audit=audit) as session:
        session.add(Author(id=1, name="Ann"))
        session.commit()
        author = session.get(Author, 1)
        session.delete(author)
        session.commit()
        told = history(archive, audit, session, Author, 1)
        assert actions(told) == ["INSERT", "DELETE"]
        assert told[1].row is None
        assert told[1].changed["name"] == ("Ann", None)
        assert history(archive, audit, session, author) == told
        assert history(archive, audit, session, Author, 2) == []


def test_history_goes_back_beyond_changes_of_the_key(archive: Any, audit: Audit) -> None:
    with archive.session(audit=audit) as session:
        session.add(Country(code="sx", name="Saxony"))
        session.add(Country(code="us", name="USA"))
        session.commit()
        for code in ("sa", "sy"):
            session.get(Country, {"sa": "sx", "sy": "sa"}[code]).code = code
            session.commit()
        session.add(Country(code="sx", name="Sint Maarten"))
        session.get(Country, "sy").name = "Free State"
        with archive.statements() as sent:
            told = history(archive, audit, session, Country, "sy")
        assert len([one for one in sent if one.startswith("SELECT")]) >= 3
        assert actions(told) == ["INSERT", "UPDATE", "UPDATE", "UPDATE"]
        assert [(one.previous_id, one.object_id) for one in told] == [
            (None, "sx"),
            ("sx", "sa"),
            ("sa", "sy"),
            (None, "sy"),
        ]
        assert told[1].changed == {"code": ("sx", "sa")}
        life = history(archive, audit, session, Country, "sx")
        assert [(one.action, one.object_id) for one in life] == [
            ("INSERT", "sx"),
            ("UPDATE", "sa"),
            ("INSERT", "sx"),
        ]


def test_keys_that_are_composite(archive: Any, audit: Audit) -> None:
    with archive.session(audit=audit) as session:
        session.add(Page(number=1, side="left"))
        session.add(Page(number=1, side="right"))
        session.commit()
        (told,) = history(archive, audit, session, Page, (1, "left"))
        assert told.object_id == (1, "left")
        assert history(archive, audit, session, Page, {"side": "left", "number": 1}) == [told]
        session.get(Page, (1, "left")).number = 2
        session.commit()
        told = history(archive, audit, session, Page, (2, "left"))
        assert [one.object_id for one in told] == [(1, "left"), (2, "left")]
        assert told[1].previous_id == (1, "left")


def test_joined_inheritance_has_changes_of_each_table(archive: Any, audit: Audit) -> None:
    with archive.session(audit=audit) as session:
        session.add(Dog(id=1, name="Rex", tricks=2))
        session.commit()
        session.get(Dog, 1).tricks = 3
        session.commit()
        told = history(archive, audit, session, Dog, 1)
        assert [(one.table, one.action) for one in told] == [
            ("animals", "INSERT"),
            ("dogs", "INSERT"),
            ("dogs", "UPDATE"),
        ]
        assert told[0].new == {"id": 1, "kind": "dog", "name": "Rex"}
        assert told[2].changed == {"tricks": (2, 3)}
        assert history(archive, audit, session, Animal, 1) == told


def test_history_says_what_it_needs(archive: Any, audit: Audit) -> None:
    with archive.session(audit=audit) as session:
        for about, message in [
            ((Author,), r"history\(session, Author, 1\)"),
            ((Page, 1), "number, side"),
            ((Page, {"number": 1}), "number, side"),
            ((Author(name="new"),), "never been stored"),
            ((Author(name="new"), 1), "not both"),
            ((book_tags, 1), r"changes\(session, table"),
        ]:
            with pytest.raises(OptionError, match=message):
                history(archive, audit, session, *about)


@on("sqlite", "postgresql", "pymysql")  # aiomysql does not send bytes, which salts are
def test_redacted_values(db: Any) -> None:
    with installed(db, "session", redact=[Account.email], exclude=[Account.password]) as audit:
        with db.session(audit=audit) as session:
            session.add(Account(id=1, login="ann", password="x", email="a@b"))
            session.commit()
            session.get(Account, 1).email = "c@d"
            session.commit()
            inserted, updated = history(db, audit, session, Account, 1)
            assert inserted.new.keys() == {"id", "login", "email"}
            before, after = updated.changed["email"]
            assert (type(before), type(after)) == (Redacted, Redacted)
            assert before == inserted.new["email"] != after
            account = session.get(Account, 1, populate_existing=True)
            assert audit.diff(updated, account) == {}
            assert audit.diff(inserted, updated) == {"email": (before, after)}


# Changes


@pytest.fixture
def busy(archive: Any, audit: Audit) -> Any:
    """Give an archive in which three transactions by two people have changed something."""
    with archive.session(audit=audit) as session:
        with actor("alice"):
            session.add(Author(id=1, name="Ann"))
            session.add(Country(code="us", name="USA"))
            session.commit()
        with actor("bob"):
            session.add(Author(id=2, name="Bea"))
            session.commit()
            session.get(Author, 1).name = "Anne"
            session.commit()
    return archive


def test_changes_in_their_order(busy: Any, audit: Audit) -> None:
    with busy.session(audit=audit) as session:
        told = changes(busy, audit, session)
        ids = [one.id for one in told]
        assert ids == sorted(ids)
        assert sorted((one.table, one.object_id) for one in told) == [
            ("authors", 1),
            ("authors", 1),
            ("authors", 2),
            ("countries", "us"),
        ]
        assert changes(busy, audit, session, actor="bob") == told[2:]
        assert changes(busy, audit, session, table="countries") == [
            one for one in told if one.table == "countries"
        ]
        for table in (Author, Author.__table__, "authors"):
            assert len(changes(busy, audit, session, table=table)) == 3
        last = told[-1]
        assert changes(busy, audit, session, transaction=last.transaction_id) == [last]
        assert changes(busy, audit, session, limit=2) == told[:2]
        assert changes(busy, audit, session, limit=0) == []
        assert changes(busy, audit, session, after=told[1].id) == told[2:]
        assert changes(busy, audit, session, actor="nobody") == []
        with pytest.raises(OptionError, match="table=1"):
            changes(busy, audit, session, table=1)


def test_changes_since_and_until(busy: Any, audit: Audit) -> None:
    with busy.session(audit=audit) as session:
        told = changes(busy, audit, session)
        at = told[0].at
        assert changes(busy, audit, session, since=at) == told
        assert changes(busy, audit, session, until=at) == []
        assert changes(busy, audit, session, since=told[-1].at + timedelta(seconds=1)) == []
        assert changes(busy, audit, session, until=told[-1].at + timedelta(seconds=1)) == told
        elsewhere = at.astimezone(timezone(timedelta(hours=-7)))
        assert changes(busy, audit, session, since=elsewhere) == told
        assert changes(busy, audit, session, since=at.replace(tzinfo=None)) == told


def test_a_page_at_a_time(busy: Any, audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessionwise.audit.asking.changes.PAGE", 2)
    with busy.session(audit=audit) as session:
        session.connection()
        with busy.statements() as sent:
            assert len(changes(busy, audit, session)) == 4
        assert len([one for one in sent if "audit_log" in one and "LIMIT" in one]) == 3
        with busy.statements() as sent:
            assert len(changes(busy, audit, session, limit=3)) == 3
        assert len(sent) == 2


@on("sqlite3", "psycopg", "pymysql")
def test_changes_are_read_as_they_are_needed(
    busy: Any, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionwise.audit.asking.changes.PAGE", 2)
    with busy.session(audit=audit) as session:
        told = audit.changes(session)
        with busy.statements() as sent:
            assert next(told).table
            assert len([one for one in sent if "LIMIT" in one]) == 1
        session.commit()  # the rest is read in another transaction
        assert len(list(told)) == 3


def test_what_is_pending_is_flushed_first(archive: Any, audit: Audit) -> None:
    with archive.session(audit=audit, autoflush=False) as session:
        session.add(Author(id=1, name="Ann"))
        assert actions(changes(archive, audit, session)) == ["INSERT"]
        session.rollback()
        assert changes(archive, audit, session) == []


def test_what_the_model_does_not_have(archive: Any, audit: Audit) -> None:
    """Columns and tables that are gone are told as they were recorded."""
    with archive.observer.begin() as connection:
        as_text = archive.driver.server == "mariadb"
        shared = {"transaction_id": 1, "at": datetime(2026, 1, 2), "action": "INSERT"}
        for table, key, new, said in [
            (
                "authors",
                "1",
                {"id": 1, "name": "Ann", "age": "7"},
                '{"id":1,"name":"Ann","age":"7"}',
            ),
            ("poems", "[1, 2]", {"day": "2026-01-01"}, '{"day":"2026-01-01"}'),
        ]:
            row = {**shared, "table": table, "object_id": key, "new": said if as_text else new}
            connection.execute(LOG.insert(), row)
    with archive.session(audit=audit) as session:
        author, poem = changes(archive, audit, session)
    assert author.new == {"id": 1, "name": "Ann", "age": "7"}
    assert author.at == datetime(2026, 1, 2, tzinfo=UTC)
    assert (author.object_id, author.actor) == (1, None)
    assert (poem.object_id, poem.new) == ("[1, 2]", {"day": "2026-01-01"})


def test_attributes_that_are_called_otherwise() -> None:
    class Own(orm.DeclarativeBase):
        pass

    class Thing(Own):
        __tablename__ = "things"
        key: orm.Mapped[int] = orm.mapped_column("id", primary_key=True)
        label: orm.Mapped[str] = orm.mapped_column("txt")

    engine = create_engine("sqlite://")
    audit = Audit(Own.metadata)
    Own.metadata.create_all(engine)
    audit.install(engine)
    with sessionwise.Session(engine, audit=audit) as session:
        session.add(Thing(key=1, label="a"))
        session.commit()
        (told,) = audit.history(session, Thing, 1)
        assert told.new == {"key": 1, "label": "a"}
        assert [*audit.changes(session)] == [told]
    engine.dispose()


def test_no_tables() -> None:
    engine = create_engine("sqlite://")
    audit = Audit(Base.metadata)
    with sessionwise.Session(engine) as session:
        with pytest.raises(AuditError, match=r"audit\.install\(engine\)"):
            audit.history(session, Author, 1)
        with pytest.raises(AuditError, match="no table audit_log"):
            list(audit.changes(session))
    engine.dispose()


# Sessions of every kind


@on("sqlite3", "psycopg", "pymysql")
def test_plain_and_scoped_sessions(busy: Any, audit: Audit) -> None:
    registry = orm.scoped_session(orm.sessionmaker(busy.engine))
    try:
        assert len(audit.history(registry, Author, 1)) == 2
        assert len([*audit.changes(registry)]) == 4
    finally:
        registry.remove()
    with orm.Session(busy.engine) as session:
        assert len(audit.history(session, session.get(Author, 1))) == 2
        assert len([*audit.changes(session)]) == 4


@on("aiosqlite", "psycopg-async", "asyncpg", "aiomysql")
def test_async_sessions(busy: Any, audit: Audit) -> None:
    async def ask() -> None:
        async with AsyncSession(busy.engine) as session:
            assert len(await audit.history(session, Author, 1)) == 2
            assert len(await audit.changes(session)) == 4
            assert len([one async for one in audit.changes(session, limit=3)]) == 3
        registry = sessionwise.asyncio.async_scoped_session(
            sessionwise.asyncio.async_sessionmaker(busy.engine)
        )
        assert len(await audit.history(registry, Author, 1)) == 2
        await registry.remove()

    busy.run(ask())


# Differences


def test_diff(busy: Any, audit: Audit) -> None:
    with busy.session(audit=audit, expire_on_commit=False) as session:
        author = session.get(Author, 1)
        first, second = history(busy, audit, session, author)
        assert audit.diff(first, second) == {"name": ("Ann", "Anne")}
        assert audit.diff(second, first) == {"name": ("Anne", "Ann")}
        assert audit.diff(second, author) == {}
        assert audit.diff(first, author) == {"name": ("Ann", "Anne")}
        assert audit.diff(first.row, author) == {"name": ("Ann", "Anne")}
        assert audit.diff({"balance": 3}, author) == {"balance": (3, 0)}
        assert audit.diff(None, {"a": 1}) == {"a": (None, 1)}
        assert audit.diff({"a": 1}, {"b": 2}) == {"a": (1, None), "b": (None, 2)}
        assert audit.diff(author, None)["name"] == ("Anne", None)
        with pytest.raises(OptionError, match="diff"):
            audit.diff(1, 2)


def test_diff_cannot_tell_redacted_values_from_others() -> None:
    audit = Audit(Base.metadata)
    one, other = Redacted("a" * 64), Redacted("b" * 64)
    assert audit.diff({"x": one}, {"x": "secret"}) == {}
    assert audit.diff({"x": one}, {"x": None}) == {"x": (one, None)}
    assert audit.diff({"x": one}, {"x": other}) == {"x": (one, other)}
    assert audit.diff({"x": one}, {"x": one}) == {}
