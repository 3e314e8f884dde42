"""Before the techniques: what commit() says of what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

import sessionwise
from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import new_flights, stored_flights

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from sessionwise.tour.stage import Side


def when_stored(session: Session, call: Callable[[], object]) -> None:
    """Use ``session.on_commit`` where there is one, and the event of recipes elsewhere."""
    if isinstance(session, sessionwise.Session):
        session.on_commit(call)
    else:
        event.listen(session, "after_commit", lambda _session: call())


def says_stored(session: Session) -> bool:
    """Commit, and take an exception for a no."""
    try:
        session.commit()
    except PendingRollbackError:
        return False
    return True


def believe_commit(db: Side) -> bool:
    """Swallow an error, and believe what commit() says."""
    with db.session() as session:
        session.add_all(new_flights(20))
        session.flush()
        try:
            session.execute(text("SELECT no_such_column"))
        except DBAPIError:
            pass  # "it was only a query"
        stored = says_stored(session)
    with db.engine.connect() as connection:
        return stored == (stored_flights(connection) == "20 new flights")


def tell_when_stored(db: Side) -> str:
    """Send a mail when the flights are stored, and only then."""
    mails = []
    with db.session() as session:
        when_stored(session, lambda: mails.append("20 flights stored"))
        with session.begin_nested():
            session.add_all(new_flights(20))
        session.rollback()
    return f"mails sent: {len(mails)}"


CHAPTER = Chapter(
    number=0,
    title="Is it stored?",
    promise=(
        "commit() returns where the data is stored, and raises where it is not; what is to "
        "happen then happens then, once."
    ),
    scenes=(
        Scene(
            code=believe_commit,
            answers=True,
            note=(
                "PostgreSQL gives a transaction up after any error, and answers COMMIT with "
                "ROLLBACK; on other databases the failed query ends only itself."
            ),
        ),
        Scene(
            code=tell_when_stored,
            answers="mails sent: 0",
            look=stored_flights,
            stores="0 new flights",
            note=(
                "when_stored(session, call) is session.on_commit(call) on sessionwise; on plain "
                "SQLAlchemy it is the after_commit event, which fires at each savepoint, too."
            ),
        ),
    ),
)
