"""Technique 4: merge takes an object of another session, or of none, into this one."""

import os
from typing import Any

from sqlalchemy import String, create_engine, event, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise import MergeConflict, MergeConflictError, sessionmaker


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    email: Mapped[str | None] = mapped_column(String(50))


engine = create_engine(os.environ.get("DATABASE_URL", "sqlite://"))
SessionLocal = sessionmaker(bind=engine)
Base.metadata.create_all(engine)

sent: list[str] = []


@event.listens_for(engine, "before_cursor_execute")
def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
    sent.append(statement)


def get_user() -> User:
    with SessionLocal() as session:
        return session.query(User).filter_by(id=1).one()


def update_elsewhere(**values: str) -> None:
    with SessionLocal() as session:
        session.execute(update(User).where(User.id == 1).values(**values))
        session.commit()


with SessionLocal() as session:
    session.add(User(name="Alice"))
    session.commit()

# Session 1: the object is read, and detached when the session ends.
with SessionLocal() as session:
    user = session.query(User).filter_by(id=1).one()

# Session 2: the object is used again.
with SessionLocal() as session:
    # The first way is to read it again.
    found = session.query(User).filter_by(id=1).one()
    assert found is not user

    # The second way is merge: the session's object has the values of the detached one.
    user = session.merge(user)
    assert user is found
    user.name = "Alice Updated"
    session.commit()
assert get_user().name == "Alice Updated"

# An object that no session has loaded: where there is a row, it is updated,
user = User(id=1, name="Alice")
with SessionLocal() as session:
    merged_user = session.merge(user)
    assert merged_user is not user
    session.commit()
assert get_user().name == "Alice"

# where there is none, it is inserted.
with SessionLocal() as session:
    session.merge(User(id=2, name="Bob"))
    session.commit()
    assert session.scalars(select(User.name).order_by(User.id)).all() == ["Alice", "Bob"]

# What the guide does not say: merge writes what was only read, and their update is lost.
user = get_user()
user.name = "Alicia"
update_elsewhere(email="new@example.com")
with SessionLocal() as session:
    session.merge(user)
    session.commit()
assert get_user().email is None

# Ours: three ways, and both updates stay.
user = get_user()
user.name = "Alice"
update_elsewhere(email="new@example.com")
with SessionLocal() as session:
    session.merge(user, conflicts="raise")
    session.commit()
assert (get_user().name, get_user().email) == ("Alice", "new@example.com")

# What both have changed is named, with the three values.
user = get_user()
user.name = "Mine"
update_elsewhere(name="Theirs")
conflicts: list[MergeConflict] = []
with SessionLocal() as session:
    try:
        session.merge(user, conflicts="raise")
    except MergeConflictError as error:
        conflicts += error.conflicts
    session.rollback()
assert [(one.attribute, one.base, one.mine, one.theirs) for one in conflicts] == [
    ("name", "Alice", "Mine", "Theirs")
]

# A web form writes what it sets.
with SessionLocal() as session:
    session.merge(User(id=1, email="form@example.com"), conflicts="mine")
    session.commit()
assert (get_user().name, get_user().email) == ("Theirs", "form@example.com")

# Many objects, half of them without a row: one SELECT for 500.
with SessionLocal() as session:
    sent.clear()
    users = session.merge_many([User(id=at, name=f"User{at}") for at in range(1, 5)])
    assert len(sent) == 1
    session.commit()
    assert session.scalars(select(User.name).order_by(User.id)).all() == [
        "User1", "User2", "User3", "User4"
    ]  # fmt: skip

Base.metadata.drop_all(engine)
engine.dispose()
