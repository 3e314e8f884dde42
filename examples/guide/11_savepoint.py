"""Technique 11: nested transactions with begin_nested(), and what they keep when they fail."""

import os
import warnings

from sqlalchemy import ForeignKey, String, create_engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sessionwise import OuterRollbackWarning, sessionmaker


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user with a balance."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    balance: Mapped[int] = mapped_column(default=0)


class Order(Base):
    """An order of a user."""

    __tablename__ = "guide_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("guide_users.id"))
    amount: Mapped[int]


engine = create_engine(os.environ.get("DATABASE_URL", "sqlite://"))
SessionLocal = sessionmaker(bind=engine)
Base.metadata.create_all(engine)


def stored_names() -> list[str]:
    with SessionLocal() as session:
        return list(session.scalars(select(User.name).order_by(User.name)))


with SessionLocal() as session:
    user1 = User(name="Alice")
    session.add(user1)

    with session.begin_nested():
        user2 = User(name="Bob")
        session.add(user2)
        session.rollback()  # only Bob is rolled back

    session.commit()  # Alice is stored
assert stored_names() == ["Alice"]


def place_order(session: Session) -> None:
    """Scenario 1: undo the order, keep the user."""
    user = User(name="Carol", balance=10)
    session.add(user)
    session.flush()
    try:
        with session.begin_nested():
            order = Order(user_id=user.id, amount=100)
            session.add(order)
            if order.amount > user.balance:
                raise ValueError("Insufficient balance")
            session.commit()
    except ValueError:
        session.rollback()  # the order is undone; and the user?
    session.commit()


# As in SQLAlchemy, a rollback() after the block ends the whole unit of work: it says so.
with SessionLocal() as session, warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    place_order(session)
assert stored_names() == ["Alice"]
assert [warning.category for warning in caught] == [OuterRollbackWarning]
print(caught[0].message)

# The guide's reading, that the user is kept, is one option away.
with SessionLocal(failed_block="contained") as session:
    place_order(session)
    assert session.scalars(select(Order)).all() == []
assert stored_names() == ["Alice", "Carol"]

# Scenario 2: a batch in which some rows fail.
batch_data = [{"name": "Dan"}, {"name": "Alice"}, {"name": "Eve"}, {"name": "Dan"}]
with SessionLocal(failed_block="contained") as session:
    for data in batch_data:
        try:
            with session.begin_nested():
                session.add(User(**data))
                session.commit()
        except IntegrityError as error:
            session.rollback()  # skip the failed record
            print(f"Failed to insert {data}: {type(error).__name__}")
    session.commit()  # store the good ones
assert stored_names() == ["Alice", "Carol", "Dan", "Eve"]

Base.metadata.drop_all(engine)
engine.dispose()
