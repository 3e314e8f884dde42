"""Technique 12: the session's connection, and the driver's own cursor on it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

import sessionwise
from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import NEW_DAY, new_flights, stored_flights
from sessionwise.tour.model import Flight

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy.orm import Session

    from sessionwise.tour.stage import Side

COUNT = f"SELECT count(*) FROM {Flight.__tablename__} WHERE day = '{NEW_DAY}'"  # noqa: S608 -- our own names


def driver_cursor(session: Session) -> AbstractContextManager[Any]:
    """Give ``session.cursor()`` where there is one, and the guide's way to a cursor elsewhere."""
    if isinstance(session, sessionwise.Session):
        return session.cursor()
    return closing(session.connection().connection.cursor())


def share_the_transaction(db: Side) -> int:
    """See by the connection what the session has sent, and undo it by the session."""
    with db.session() as session:
        session.add_all(new_flights(20))
        session.flush()
        new = select(func.count()).where(Flight.day == NEW_DAY)
        seen = session.connection().scalar(new)
        session.rollback()
        return int(seen)


def read_by_the_driver(db: Side) -> int:
    """Read by the driver's cursor what the session has not sent yet."""
    with db.session() as session:
        session.add_all(new_flights(20))
        with driver_cursor(session) as cursor:
            cursor.execute(COUNT)
            (seen,) = cursor.fetchone()
        session.commit()
        return int(seen)


CHAPTER = Chapter(
    number=12,
    title="connection",
    promise=(
        "The session's connection is in the session's transaction, and the driver's cursor "
        "sees what the session holds."
    ),
    scenes=(
        Scene(code=share_the_transaction, answers=20, look=stored_flights, stores="0 new flights"),
        Scene(
            code=read_by_the_driver,
            answers=20,
            look=stored_flights,
            stores="20 new flights",
            note=(
                "driver_cursor(session) is session.cursor() on sessionwise; plain SQLAlchemy has "
                "no such method, there it is the guide's session.connection().connection.cursor()."
            ),
        ),
    ),
)
