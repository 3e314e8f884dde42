"""Technique 6: refresh reads an object's row anew."""

import os
import warnings
from datetime import datetime
from tempfile import TemporaryDirectory

from sqlalchemy import String, delete, func, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise import Database, StaleSnapshotWarning


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user; the database notes when the row was made."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


folder = TemporaryDirectory()
url = os.environ.get("DATABASE_URL", "sqlite://")
if url == "sqlite://":  # in memory, two sessions would have one transaction
    url = f"sqlite:///{folder.name}/guide.db"
db = Database(url)  # on MariaDB READ COMMITTED: a refresh reads the newest row, as elsewhere
SessionLocal = db.session
Base.metadata.create_all(db.engine)


def update_elsewhere(name: str) -> None:
    with SessionLocal() as session:
        session.execute(update(User).values(name=name))
        session.commit()


# Values that the database has made.
with SessionLocal() as session:
    user = User(name="Alice")
    session.add(user)
    session.commit()

    session.refresh(user)
    print(user.id)  # the id that the database gave
    print(user.created_at)  # and the time
    assert user.id == 1
    assert isinstance(user.created_at, datetime)

# The newest row.
with SessionLocal() as session:
    user = session.query(User).filter_by(id=1).one()
    print(user.name)  # "Alice"
    assert user.name == "Alice"

    update_elsewhere("Bob")

    session.refresh(user)
    print(user.name)  # "Bob"
    assert user.name == "Bob"

# Somebody else changes the user; refresh, then change.
with SessionLocal() as session:
    user = session.query(User).filter_by(id=1).one()
    update_elsewhere("Carol")
    session.refresh(user)
    assert user.name == "Carol"
    user.name = "Alice Updated"
    session.commit()
    assert user.name == "Alice Updated"

# Many users at once: one SELECT for 500. One row is gone: its object leaves the session.
with SessionLocal() as session:
    session.add_all([User(name="Dan"), User(name="Eve")])
    session.commit()
    users = session.query(User).order_by(User.id).all()
    with SessionLocal() as elsewhere:
        elsewhere.execute(delete(User).where(User.id == users[2].id))
        elsewhere.execute(update(User).values(name="Frank"))
        elsewhere.commit()
    there = session.refresh_many(users, missing="expunge")
    assert there == users[:2]
    assert [user.name for user in there] == ["Frank", "Frank"]

# In a transaction that goes on reading an old state, a refresh says so.
in_a_snapshot = {"isolation": "REPEATABLE READ"}
if db.engine.dialect.name == "sqlite":  # there, a unit that only reads is in a snapshot
    in_a_snapshot = {"read_only": True}
with db.transaction(**in_a_snapshot) as session:
    user = session.query(User).filter_by(id=1).one()
    update_elsewhere("Grace")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        session.refresh(user)
    assert user.name == "Frank"  # the old row
    assert [warning.category for warning in caught] == [StaleSnapshotWarning]

Base.metadata.drop_all(db.engine)
db.dispose()
folder.cleanup()
