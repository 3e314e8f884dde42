"""Technique 3: many rows at once, with defaults, ids and events."""

import csv
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import ForeignKey, String, create_engine, event, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from sessionwise import sessionmaker
from sessionwise.bulk import excluded, read


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user, whose status the program fills in, and whose visits the database does."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    status: Mapped[str] = mapped_column(String(20), default="active")
    visits: Mapped[int] = mapped_column(server_default="0")


class Order(Base):
    """An order of a user."""

    __tablename__ = "guide_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))

    user: Mapped[User] = relationship()


engine = create_engine(os.environ.get("DATABASE_URL", "sqlite://"))
SessionLocal = sessionmaker(bind=engine)
Base.metadata.create_all(engine)

# The guide's comparison.
with SessionLocal() as session:
    # Method 1: one object for each user.
    start = time.time()
    users = [User(name=f"User{i}") for i in range(10_000)]
    session.add_all(users)
    session.commit()
    print(f"Normal insert: {time.time() - start:.2f}s")
    assert session.query(User).count() == 10_000
    session.query(User).delete()
    session.commit()

with SessionLocal() as session:
    # Method 2: the guide's call, as it stands; it goes by the fast road, too.
    start = time.time()
    user_dicts = [{"name": f"User{i}"} for i in range(10_000)]
    session.bulk_insert_mappings(User, user_dicts)
    session.commit()
    print(f"Bulk insert: {time.time() - start:.2f}s")
    assert session.query(User).count() == 10_000
    session.query(User).delete()
    session.commit()

with SessionLocal() as session:
    # Ours, and what the guide says that it costs.
    start = time.time()
    user_dicts = [{"name": f"User{i}"} for i in range(10_000)]
    result = session.bulk_insert(User, user_dicts, returning=True)
    session.commit()
    print(f"With ids: {time.time() - start:.2f}s by {result.writer}")
    assert result.inserted == result.read == 10_000

    # "It does not return ids": they are there, in the order of the rows.
    assert result.ids is not None
    assert session.get_one(User, result.ids[7]).name == "User7"

    # "It does not fill in defaults": the program's and the database's are filled in.
    user = session.get_one(User, result.ids[0])
    assert (user.status, user.visits) == ("active", 0)

# "It calls no events": it does where it is asked to.
heard: list[tuple[str, int]] = []


@event.listens_for(User, "before_insert")
def shout(_mapper: Any, _connection: Any, user: User) -> None:
    user.name = user.name.upper()


@event.listens_for(User, "after_insert")
def note(_mapper: Any, _connection: Any, user: User) -> None:
    heard.append((user.name, user.id))


with SessionLocal() as session:
    ids = session.bulk_insert(User, [{"name": "Alice"}, {"name": "Bob"}], returning=True).ids
    assert ids is not None
    assert heard == []
    more = session.bulk_insert(User, [{"name": "Carol"}], returning=True, events=True).ids
    assert more is not None
    assert heard == [("CAROL", more[0])]
    assert session.get_one(User, more[0]).name == "CAROL"
    session.commit()

event.remove(User, "before_insert", shout)
event.remove(User, "after_insert", note)

with SessionLocal() as session:
    # Objects know their parents, and the objects of a generator are read as needed.
    alice = session.scalars(select(User).where(User.name == "Alice")).one()
    session.bulk_insert(Order, (Order(amount=i, user_id=alice.id) for i in range(1_000)))
    assert session.scalar(select(func.sum(Order.amount)).where(Order.user == alice)) == 499_500
    session.commit()

with SessionLocal() as session:
    # Where a row fails, nothing of the call is stored, and the rest of the unit goes on.
    session.add(User(name="Before"))
    stored = session.query(User).count()
    try:
        session.bulk_insert(User, [{"name": "Dan"}, {"name": "Alice"}])
    except DBAPIError:
        assert session.query(User).count() == stored
    else:
        raise AssertionError("Alice is there already")
    session.add(User(name="After"))
    session.commit()
    assert session.query(User).count() == stored + 1

    # Or what is there already is left out, and counted.
    result = session.bulk_insert(User, [{"name": "Dan"}, {"name": "Alice"}], on_conflict="nothing")
    assert (result.inserted, result.skipped) == (1, 1)
    session.commit()

with SessionLocal() as session:
    # Insert or update, by a unique key. What is loaded is read anew.
    alice = session.scalars(select(User).where(User.name == "Alice")).one()
    seen = [{"name": "Alice", "visits": 3}, {"name": "Eve", "visits": 1}]
    result = session.bulk_upsert(User, seen, keys=["name"])
    assert (result.inserted, result.updated) == (1, 1)
    assert alice.visits == 3

    # The new visits are added to those that are there.
    visits = User.visits + excluded(User).visits
    session.bulk_upsert(User, seen, keys=["name"], update={"visits": visits})
    assert alice.visits == 6

    # Update what the keys find; what they do not find is skipped.
    result = session.bulk_update(
        User, [{"id": alice.id, "status": "away"}, {"id": -1, "status": "away"}]
    )
    assert (result.updated, result.skipped) == (1, 1)
    assert alice.status == "away"
    session.commit()

with tempfile.TemporaryDirectory() as directory, SessionLocal() as session:
    # From a file: text becomes what the columns are of.
    arrivals = Path(directory, "arrivals.csv")
    with arrivals.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "visits"])
        writer.writerows([f"Visitor{i}", i] for i in range(500))
    result = session.bulk_insert(User, read(arrivals))
    assert result.inserted == 500

    # And into one; what is pending is in it.
    session.add(User(name="Last"))
    departures = Path(directory, "departures.csv.gz")
    query = select(User.name, User.visits).where(User.visits < 100)
    rows = session.copy_out(query, departures).rows
    names = [row["name"] for row in read(departures)]
    assert len(names) == rows
    assert "Last" in names
    session.commit()

Base.metadata.drop_all(engine)
engine.dispose()
