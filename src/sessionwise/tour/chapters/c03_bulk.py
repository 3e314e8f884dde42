"""Technique 3: the guide's ten thousand users, and flights that are there in part."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, func, select
from sqlalchemy.exc import SQLAlchemyError

import sessionwise
from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import FLIGHTS, NEW_DAY, rows
from sessionwise.tour.model import Flight, User

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from sessionwise.tour.stage import Side


LATE = 999
"""A delay, in minutes, that no flight has."""


def insert_all(session: Session, users: list[dict[str, Any]], **options: Any) -> list[Any]:
    """Use ``session.bulk_insert`` where there is one, and the guide's method elsewhere."""
    if isinstance(session, sessionwise.Session):
        return session.bulk_insert(User, users, **options).ids or []
    session.bulk_insert_mappings(User, users, return_defaults=options.get("returning", False))
    return [user.get("id") for user in users]


def upsert_all(session: Session, flights: list[dict[str, Any]]) -> str:
    """Use ``session.bulk_upsert`` where there is one, and technique 4 elsewhere."""
    if isinstance(session, sessionwise.Session):
        result = session.bulk_upsert(Flight, flights)
        return f"{result.inserted} inserted, {result.updated} updated"
    session.merge_all([Flight(**row) for row in flights])
    return "not told"


@contextmanager
def heard_inserts() -> Iterator[list[User]]:
    """Note the users that ``after_insert`` is called for."""
    heard: list[User] = []

    def hear(_mapper: Any, _connection: Connection, user: User) -> None:
        heard.append(user)

    event.listen(User, "after_insert", hear)
    try:
        yield heard
    finally:
        event.remove(User, "after_insert", hear)


def late_and_new_flights() -> list[dict[str, Any]]:
    """Return 250 stored flights, which are late now, and 250 of the new day."""
    late = [{**row, "dep_delay": LATE} for row in rows(FLIGHTS)[:250]]
    return late + [row for row in rows(FLIGHTS) if row["day"] == NEW_DAY][:250]


def stored_users(connection: Connection) -> str:
    """Say how many users are stored, and how many are as the defaults have them."""
    users = connection.scalar(select(func.count(User.id)))
    new = connection.scalar(select(func.count()).where(User.status == "new", User.visits == 0))
    return f"{users} users, {new} of them new"


def stored_flights(connection: Connection) -> str:
    """Say how many flights are new, and how many are late."""
    new = connection.scalar(select(func.count()).where(Flight.day == NEW_DAY))
    late = connection.scalar(select(func.count()).where(Flight.dep_delay == LATE))
    return f"{new} new flights, {late} late ones"


def add_ten_thousand(db: Side) -> None:
    """Store 10,000 users by add_all."""
    with db.session() as session:
        users = [User(name=f"User{i}") for i in range(10_000)]
        session.add_all(users)
        session.commit()


def insert_mappings(db: Side) -> None:
    """Store 10,000 users by bulk_insert_mappings."""
    with db.session() as session:
        users = [{"name": f"User{i}"} for i in range(10_000)]
        session.bulk_insert_mappings(User, users)
        session.commit()


def insert_and_know_ids(db: Side) -> str:
    """Store 1,000 users, and have their ids in the order given."""
    with db.session() as session:
        users = [{"name": f"User{i}"} for i in range(1_000)]
        ids = insert_all(session, users, returning=True)
        query = select(User.id, User.name)
        names = dict(session.execute(query).all())
        found = [names[one] for one in ids]
        session.commit()
        in_order = found == [f"User{i}" for i in range(1_000)]
        return f"{len(ids)} ids, in order: {in_order}"


def insert_and_hear(db: Side) -> str:
    """Store 500 users, and hear of each."""
    with db.session() as session, heard_inserts() as heard:
        users = [{"name": f"User{i}"} for i in range(500)]
        insert_all(session, users, events=True)
        session.commit()
        ids = {user.id for user in heard}
        return f"heard of {len(heard)} users with {len(ids)} ids"


def one_bad_row(db: Side) -> None:
    """Insert 1,000 users of which one has no name, and go on."""
    users = [{"name": f"User{i}"} for i in range(999)]
    with db.session() as session:
        session.add(User(name="Before"))
        try:
            insert_all(session, [*users, {"name": None}])
        except SQLAlchemyError:
            session.add(User(name="After"))
        session.commit()


def insert_or_update(db: Side) -> str:
    """Store 500 flights of which half are there; flight 1 is loaded."""
    with db.session() as session:
        flight = session.get_one(Flight, 1)
        told = upsert_all(session, late_and_new_flights())
        delay = flight.dep_delay
        session.commit()
        return f"{told}; flight 1 is {delay} minutes late"


CHAPTER = Chapter(
    number=3,
    title="bulk",
    promise=(
        "Rows go in at the speed of the driver with defaults, ids and events, all of a call or "
        "nothing of it, and inside the session's transaction."
    ),
    scenes=(
        Scene(
            code=add_ten_thousand,
            look=stored_users,
            stores="10000 users, 10000 of them new",
            note="The guide's first method; what it and its second one took is to be compared.",
        ),
        Scene(
            code=insert_mappings,
            look=stored_users,
            stores="10000 users, 10000 of them new",
            note=(
                "The guide's second method. What sessionwise has the driver send is not counted "
                "here. The status is filled in by the program, visits by the database: on both "
                "sides, although the guide says that no defaults are."
            ),
        ),
        Scene(
            code=insert_and_know_ids,
            answers="1000 ids, in order: True",
            look=stored_users,
            stores="1000 users, 1000 of them new",
            note=(
                "insert_all(session, users, …) is session.bulk_insert(User, users, …) on "
                "sessionwise. Plain SQLAlchemy has no such method; there it is the guide's "
                "bulk_insert_mappings, here with return_defaults=True."
            ),
        ),
        Scene(code=insert_and_hear, answers="heard of 500 users with 500 ids"),
        Scene(code=one_bad_row, look=stored_users, stores="2 users, 2 of them new"),
        Scene(
            code=insert_or_update,
            answers="250 inserted, 250 updated; flight 1 is 999 minutes late",
            look=stored_flights,
            stores="250 new flights, 250 late ones",
            statements=16,
            note=(
                "upsert_all(session, flights) is session.bulk_upsert(Flight, flights) on "
                "sessionwise; plain SQLAlchemy's own way that all databases have is merge_all."
            ),
        ),
    ),
)
