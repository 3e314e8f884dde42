"""Technique 2: events of the session, and the audit log that the guide makes of them."""

import os
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import String, create_engine, event, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise import Session
from sessionwise.audit import Audit, AuditLog, actor, get_changes


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    status: Mapped[str] = mapped_column(String(10), default="active")


engine = create_engine(os.environ.get("DATABASE_URL", "sqlite://"))
Base.metadata.create_all(engine)
heard: list[str] = []

# The session's events.


@event.listens_for(Session, "after_begin")
def receive_after_begin(session: Any, transaction: Any, connection: Any) -> None:
    heard.append("began")


@event.listens_for(Session, "before_commit")
def receive_before_commit(session: Any) -> None:
    heard.append(f"about to commit: {len(session.new)} new, {len(session.dirty)} dirty")


@event.listens_for(Session, "after_commit")
def receive_after_commit(session: Any) -> None:
    heard.append("committed")


@event.listens_for(Session, "after_rollback")
def receive_after_rollback(session: Any) -> None:
    heard.append("rolled back")


with Session(engine) as session:
    session.add(User(name="Alice"))
    session.commit()
    session.scalars(select(User)).all()
    session.rollback()

assert heard == [
    "about to commit: 1 new, 0 dirty",
    "began",
    "committed",
    "began",
    "rolled back",
]

# The audit log, written by a listener. Its tables are all that is installed for it.

by_hand = Audit(Base.metadata, capture="session")
by_hand.install(engine)


@event.listens_for(Session, "before_commit")
def audit_changes(session: Any) -> None:
    for obj in session.new:
        # A new object.
        AuditLog.create(
            action="INSERT",
            table=obj.__tablename__,
            object_id=obj.id,
            timestamp=datetime.now(UTC),
        )

    for obj in session.dirty:
        # One that has changed.
        AuditLog.create(
            action="UPDATE",
            table=obj.__tablename__,
            object_id=obj.id,
            changes=get_changes(obj),
            timestamp=datetime.now(UTC),
        )

    for obj in session.deleted:
        # One that is deleted.
        AuditLog.create(
            action="DELETE",
            table=obj.__tablename__,
            object_id=obj.id,
            timestamp=datetime.now(UTC),
        )


with Session(engine) as session, actor("alice"):
    bob = User(name="Bob")
    session.add(bob)
    session.commit()
    bob.name = "Robert"
    session.commit()
    id_ = bob.id
    session.delete(bob)
    session.commit()

    inserted, updated, deleted = by_hand.history(session, User, id_)
    assert (inserted.action, inserted.object_id) == ("INSERT", id_)  # which it got in the flush
    assert updated.changed == {"name": ("Bob", "Robert")}
    assert deleted.action == "DELETE"
    assert {one.actor for one in (inserted, updated, deleted)} == {"alice"}

event.remove(Session, "before_commit", audit_changes)

# The same without a listener, and for whatever changes a table: by triggers.

audit = Audit(Base.metadata)
audit.install(engine)

with Session(engine, audit=audit) as session:
    with actor("bob", reason="spring cleaning", request_id="r-7"):
        session.execute(update(User).values(status="old"))
        session.execute(text("UPDATE guide_users SET name = 'Al' WHERE name = 'Alice'"))
        session.commit()

    alice = session.scalars(select(User)).one()
    orm_update, raw_update = audit.history(session, alice)[-2:]
    assert orm_update.changed == {"status": ("active", "old")}
    assert raw_update.changed == {"name": ("Alice", "Al")}
    assert raw_update.transaction_id == orm_update.transaction_id
    assert (raw_update.actor, raw_update.reason) == ("bob", "spring cleaning")
    for change in audit.changes(session, actor="bob"):
        print(change.at, change.actor, change.action, change.table, change.changed)
    assert audit.diff(raw_update, alice) == {}

with engine.begin() as connection:  # a client that knows nothing of sessions
    connection.execute(text("DELETE FROM guide_users"))

with Session(engine) as session:
    *_, last = audit.changes(session)
    assert (last.action, last.actor) == ("DELETE", None)
    assert last.old is not None
    assert last.old["name"] == "Al"

audit.uninstall(engine, drop_tables=True)
Base.metadata.drop_all(engine)
engine.dispose()
