"""Technique 5: expunge takes an object out of the session; its row stays as it is."""

import os
import pickle

from sqlalchemy import ForeignKey, String, create_engine, inspect, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from sessionwise import NotLoadedError, sessionmaker


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user, who has orders."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))

    orders: Mapped[list["Order"]] = relationship(back_populates="user")


class Order(Base):
    """An order of a user's."""

    __tablename__ = "guide_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50))
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))

    user: Mapped[User] = relationship(back_populates="orders")


engine = create_engine(os.environ.get("DATABASE_URL", "sqlite://"))
SessionLocal = sessionmaker(bind=engine)
Base.metadata.create_all(engine)

with SessionLocal() as session:
    session.add(User(name="Alice", orders=[Order(title="tea"), Order(title="milk")]))
    session.commit()

with SessionLocal() as session:
    user = session.query(User).filter_by(id=1).first()
    assert user is not None

    # Take the object out of the session.
    session.expunge(user)

    # To change it does not reach the database.
    user.name = "Alice Updated"
    session.commit()  # updates nothing

    # The user is detached.
    print(inspect(user).detached)  # True
    assert inspect(user).detached
    assert session.scalars(select(User.name)).all() == ["Alice"]

# Objects for a cache: detach loads what the cache needs, and what it gives can be pickled.
cache: dict[str, bytes] = {}
with SessionLocal() as session:
    user = session.query(User).filter_by(id=1).one()
    session.commit()  # the user is expired now: expunge would make it unreadable
    session.detach(user, "orders")
    cache[f"user:{user.id}"] = pickle.dumps(user)

cached = pickle.loads(cache["user:1"])  # noqa: S301 -- our own bytes
assert cached.name == "Alice"
assert [order.title for order in cached.orders] == ["tea", "milk"]


# An object that is handed from one session to the next.
def get_user(user_id: int) -> User:
    with SessionLocal() as session:
        user = session.query(User).filter_by(id=user_id).one()
        return session.detach(user)  # can be used outside


user = get_user(1)
assert user.name == "Alice"
told = ""
try:
    print(user.orders)
except NotLoadedError as error:  # what was not loaded says what to pass
    told = str(error)
assert "session.detach(..., 'orders')" in told
with SessionLocal() as session:
    session.add(user)  # in a session again, it loads as ever
    assert len(user.orders) == 2


# Code that is not trusted gets the user and the orders, and changes nothing but these objects.
def untrusted_function(user: User) -> None:
    user.name = "Mallory"
    user.orders[0].title = "poison"


with SessionLocal() as session:
    user = session.query(User).filter_by(id=1).one()
    untrusted_function(session.detach(user, User.orders))
    session.commit()  # updates nothing, of the orders either
    assert session.scalars(select(User.name)).all() == ["Alice"]
    assert session.scalars(select(Order.title).order_by(Order.id)).all() == ["tea", "milk"]

Base.metadata.drop_all(engine)
engine.dispose()
