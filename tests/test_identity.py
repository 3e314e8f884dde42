"""Technique 10: the identity map's keys and print, on every driver, sync and async."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise import Session
from tests.backends import Database
from tests.model import Order, User


class Base(DeclarativeBase):
    pass


class Employee(Base):
    __tablename__ = "employee"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "employee"}


class Manager(Employee):
    __tablename__ = "manager"
    id: Mapped[int] = mapped_column(ForeignKey("employee.id"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "manager"}


class Seat(Base):
    __tablename__ = "seat"
    row: Mapped[int] = mapped_column(primary_key=True)
    letter: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture
def session() -> Iterator[Session]:
    """A session for what has nothing to do with a database: keys of every kind."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def users(db: Database) -> Iterator[tuple[Any, User, User]]:
    with db.session() as session:
        alice, bob = User(id=1, name="Alice"), User(id=2, name="Bob")
        session.add_all([alice, bob])
        session.commit()
        session.expunge_all()
        alice, bob = session.scalars(select(User).order_by(User.id))
        yield session, alice, bob


def test_takes_the_short_key(users: tuple[Any, User, User]) -> None:
    session, alice, bob = users
    identity_map = session.identity_map
    assert (User, (1,)) in identity_map
    assert identity_map[User, (2,)] is bob
    assert identity_map.get((User, (1,))) is alice
    assert (User, (3,)) not in identity_map
    assert (Order, (1,)) not in identity_map
    assert identity_map.get((User, (3,)), "nobody") == "nobody"
    with pytest.raises(KeyError, match="User"):
        identity_map[User, (3,)]


def test_keeps_sqlalchemys_key(users: tuple[Any, User, User]) -> None:
    session, alice, bob = users
    key = (User, (1,), None)
    assert key in session.identity_map
    assert session.identity_map[key] is alice
    assert list(session.identity_map) == [key, (User, (2,), None)]
    assert session.identity_map.items() == [(key, alice), ((User, (2,), None), bob)]


def test_prints_its_entries(users: tuple[Any, User, User]) -> None:
    session, *_ = users
    assert repr(session.identity_map) == ("{(User, (1,)): <User id=1>, (User, (2,)): <User id=2>}")


def test_printing_sends_nothing(db: Database, users: tuple[Any, User, User]) -> None:
    session, alice, bob = users
    session.commit()
    with db.statements() as seen:
        assert repr(session.identity_map).startswith("{(User, (1,)): ")
        assert (User, (1,)) in session.identity_map
    assert seen == []
    assert alice is not bob


@pytest.mark.parametrize("verb", ["expunge_all", "close", "reset"])
def test_stays_ours(db: Database, verb: str) -> None:
    with db.session() as session:
        getattr(session, verb)()
        user = User(id=1, name="Alice")
        session.add(user)
        session.flush()
        assert (User, (1,)) in session.identity_map
        assert user in session


def test_a_listener_may_add_while_all_are_expunged(session: Session) -> None:
    """What it adds is in the session's map, and the map is ours."""
    seat = Seat(row=1, letter="A")
    session.add(seat)
    session.commit()

    def add_again(session: Session, instance: object) -> None:
        session.add(instance)

    event.listen(session, "persistent_to_detached", add_again, once=True)
    session.expunge_all()
    assert seat in session
    assert session.identity_map[Seat, (1, "A")] is seat
    session.expunge(seat)
    assert (Seat, (1, "A")) not in session.identity_map


def test_forgets_collected_objects(db: Database) -> None:
    with db.session() as session:
        session.add(User(id=1, name="Alice"))
        session.flush()
        session.scalars(select(User)).all()
        assert (User, (1,)) not in session.identity_map
        assert repr(session.identity_map) == "{}"


def test_composite_key(session: Session) -> None:
    seat = Seat(row=1, letter="A")
    session.add(seat)
    session.flush()
    assert session.identity_map[Seat, (1, "A")] is seat
    assert repr(session.identity_map) == "{(Seat, (1, 'A')): <Seat row=1 letter='A'>}"


def test_inheritance(session: Session) -> None:
    manager, employee = Manager(id=1), Employee(id=2)
    session.add_all([manager, employee])
    session.flush()
    assert session.identity_map[Manager, (1,)] is manager
    assert session.identity_map[Employee, (1,)] is manager
    assert (Manager, (2,)) not in session.identity_map
    assert "(Manager, (1,)): <Manager id=1>" in repr(session.identity_map)


def test_identity_token(session: Session) -> None:
    session.add(Seat(row=1, letter="A"))
    session.commit()
    statement = select(Seat).execution_options(identity_token="east")
    seat = session.scalars(statement).one()
    assert (Seat, (1, "A")) not in session.identity_map
    assert session.identity_map[Seat, (1, "A"), "east"] is seat
    assert "(Seat, (1, 'A'), 'east')" in repr(session.identity_map)


@pytest.mark.parametrize(
    "key",
    [None, 1, "User", (), (int, (1,)), (1, 2), ("User", (1,)), (Seat, 1), (Seat, None), (1,) * 4],
)
def test_other_keys_are_not_in_it(session: Session, key: object) -> None:
    assert key not in session.identity_map
    assert session.identity_map.get(key) is None


def test_a_large_map_prints_its_beginning(session: Session) -> None:
    seats = [Seat(row=row, letter="A") for row in range(1, 1235)]
    session.add_all(seats)
    session.commit()
    session.expunge_all()
    seats = session.scalars(select(Seat).order_by(Seat.row)).all()
    assert repr(session.identity_map).endswith("<Seat row=100 letter='A'>, … 1,134 more}")
