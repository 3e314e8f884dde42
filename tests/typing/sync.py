"""Checked by mypy --strict and pyright, never run: the types of the sync API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, assert_type

import sqlmodel
from sqlalchemy import Engine, select
from sqlalchemy.engine import Connection, ScalarResult
from sqlalchemy.orm import DeclarativeBase, Mapped, SessionTransaction, mapped_column
from sqlalchemy.orm import Session as PlainSession

from sessionwise import Database, Outcome, Retry, Session, scoped_session, sessionmaker
from sessionwise.audit import Actor, Audit, AuditLog, Change, actor, get_changes
from sessionwise.bulk import BulkResult, CopyResult, Rejected, read
from sessionwise.report import SessionReport


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)


class Both(Session, sqlmodel.Session):
    pass


def session_options(engine: Engine, connection: Connection) -> None:
    Session()
    Session(engine, expire_on_commit=False, failed_block="contained")
    assert_type(Session(engine, autoflush="related").autoflush, bool)
    Session(connection, join_transaction_mode="create_savepoint")
    Session(bind=None, binds={User: engine})
    Session(engine, failed_block="never")  # type: ignore[arg-type]  # pyright: ignore
    Session(engine, failed_blocks="unit")  # type: ignore[call-arg]  # pyright: ignore
    Session(engine, expire_on_commit="no")  # type: ignore[arg-type]  # pyright: ignore


def is_a_session(session: Session) -> None:
    plain: PlainSession = session
    assert_type(plain.get(User, 1), User | None)


def verbs(session: Session) -> None:
    assert_type(session.scalars(select(User)), ScalarResult[User])
    with session.begin_nested() as savepoint:
        assert_type(savepoint, SessionTransaction)
        session.commit()
    with session.begin() as transaction:
        assert_type(transaction, SessionTransaction)
    with session.cursor() as cursor:
        cursor.execute("SELECT 1")
    with session as same:
        assert_type(same, Session)
    assert_type(session.outcome, Outcome | None)
    assert_type(session.outcomes, Mapping[Engine, Outcome])
    assert_type(session.advisory_lock("key", timeout=1), None)

    @session.on_commit
    def told() -> None: ...

    assert_type(told(), None)


def many(session: Session, user: User) -> None:
    assert_type(session.get_many(User, [1, 2]), list[User | None])
    assert_type(session.get_many(User, [1, 2], missing="raise"), list[User])
    assert_type(session.refresh_many([user], ["id"], missing="expunge"), list[User])
    assert_type(session.merge(user, conflicts="raise"), User)
    assert_type(session.merge_many([user], conflicts="mine"), list[User])
    assert_type(session.detach(user, "orders"), User)
    assert_type(session.detach([user]), list[User])
    assert_type(session.report(sizes=True), SessionReport)
    for one in session.stream(select(User), chunk_size=100):
        assert_type(one, User)
    assert_type(session.bulk_insert(User, [{"name": "x"}], returning=True), BulkResult)
    assert_type(session.bulk_upsert(User, [], keys=["name"], duplicates="last"), BulkResult)
    result = session.bulk_insert(User, [], on_error="reject", max_errors=10)
    assert_type(result.rejected, list[Rejected])
    session.bulk_upsert(User, [], on_error="skip")  # type: ignore[arg-type]  # pyright: ignore
    assert_type(session.bulk_update(User, read("users.csv")), BulkResult)
    assert_type(session.copy_in("users", b"", format="tsv"), BulkResult)
    assert_type(session.copy_out(select(User), "users.parquet"), CopyResult)
    session.bulk_insert(User, [], on_conflict="update")  # type: ignore[arg-type]  # pyright: ignore
    session.merge(user, conflicts="ours")  # type: ignore[arg-type]  # pyright: ignore


def makers(engine: Engine) -> None:
    maker = sessionmaker(engine, failed_block="contained", autoflush=False)
    assert_type(maker, sessionmaker[Session])
    assert_type(maker(), Session)
    with maker.begin() as session:
        assert_type(session, Session)
    maker.configure(failed_block="unit")
    both = sessionmaker(engine, class_=Both, failed_block="contained")
    assert_type(both, sessionmaker[Both])
    assert_type(both().exec(sqlmodel.select(User.id)).first(), int | None)
    sessionmaker(engine, failed_block="never")  # type: ignore[call-overload]  # pyright: ignore
    assert_type(sessionmaker(engine, autoflush="related")(), Session)
    sessionmaker(engine, autoflush="always")  # type: ignore[call-overload]  # pyright: ignore


def databases(db: Database) -> None:
    with db.transaction("savepoint", isolation="SERIALIZABLE", timeout=1.5) as session:
        assert_type(session, Session)
    db.transaction("somehow")  # type: ignore[arg-type]  # pyright: ignore

    @db.transactional(retry=Retry(attempts=3))
    def count(session: Session, name: str) -> int:
        return len(name)

    assert_type(count("Alice"), int)
    count(1)  # type: ignore[arg-type]  # pyright: ignore
    Retry(attempts="3")  # type: ignore[arg-type]  # pyright: ignore


def audits(engine: Engine, session: Session, plain: PlainSession, user: User) -> None:
    audit = Audit(Base.metadata, exclude=[User.id], capture="auto")
    with Session(engine, audit=audit) as audited:
        assert_type(audited, Session)
    sessionmaker(engine, audit=audit)
    with actor("alice", reason="why", request_id="r", ticket=42) as who:
        assert_type(who, Actor)
    assert_type(audit.history(session, user), list[Change])
    assert_type(audit.history(plain, User, 1), list[Change])
    assert_type(audit.changes(session, actor="alice", table=User), Iterator[Change])
    assert_type(audit.diff(None, user), dict[str, tuple[Any, Any]])
    assert_type(get_changes(user), dict[str, tuple[Any, Any]])
    AuditLog.create(action="INSERT", table="user", object_id=None, changes=get_changes(user))
    Session(engine, audit=Base.metadata)  # type: ignore[arg-type]  # pyright: ignore
    Audit(Base.metadata, capture="triggers")  # type: ignore[arg-type]  # pyright: ignore
    audit.changes(session, actors="alice")  # type: ignore[call-overload]  # pyright: ignore


def scopes(engine: Engine) -> None:
    registry = scoped_session(sessionmaker(engine))
    assert_type(registry, scoped_session[Session])
    assert_type(registry(), Session)
    with registry.cursor() as cursor:
        cursor.execute("SELECT 1")
