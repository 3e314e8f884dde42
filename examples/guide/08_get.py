"""Technique 8: get finds an object by its primary key, in the identity map first."""

import os
from typing import Any

from sqlalchemy import ForeignKey, String, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise import MissingRowsError, sessionmaker


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


class Order(Base):
    """An order of a user's."""

    __tablename__ = "guide_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))


engine = create_engine(os.environ.get("DATABASE_URL", "sqlite://"))
SessionLocal = sessionmaker(bind=engine)
Base.metadata.create_all(engine)

sent: list[str] = []


@event.listens_for(engine, "before_cursor_execute")
def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
    sent.append(statement)


with SessionLocal() as session:
    session.add_all([User(name=f"User{i}") for i in range(5)])
    session.flush()
    session.add(Order(user_id=1))
    session.commit()

with SessionLocal() as session:
    # Two ways to one object.
    user = session.query(User).filter_by(id=1).first()
    assert session.get(User, 1) is user

with SessionLocal() as session:
    # From the database the first time,
    user1 = session.get(User, 1)

    # from the identity map the second time.
    sent.clear()
    user2 = session.get(User, 1)  # sends no SQL
    assert sent == []

    print(user1 is user2)  # True
    assert user1 is user2

with SessionLocal() as session:
    # An object, and the one it refers to.
    order = session.get(Order, 1)
    assert order is not None
    user = session.get(User, order.user_id)
    assert user is not None

user_ids = [1, 2, 3, 4, 5]

with SessionLocal() as session:
    # The guide's list of gets: a SELECT for each.
    sent.clear()
    users = [session.get(User, uid) for uid in user_ids]
    assert len(sent) == 5

with SessionLocal() as session:
    # Ours: one SELECT for 500, none for what is loaded.
    sent.clear()
    users = session.get_many(User, user_ids)
    assert [user and user.name for user in users] == [f"User{i}" for i in range(5)]
    assert len(sent) == 1
    assert session.get_many(User, ["5", 1]) == [users[4], users[0]]
    assert len(sent) == 1

    # What is not there is None; or it is left out, or an error that names every key.
    assert session.get_many(User, [1, 99]) == [users[0], None]
    assert session.get_many(User, [1, 99], missing="skip") == [users[0]]
    missing: list[Any] = []
    try:
        session.get_many(User, [1, 98, 99], missing="raise")
    except MissingRowsError as error:
        missing += error.keys
    assert missing == [(98,), (99,)]

Base.metadata.drop_all(engine)
engine.dispose()
