"""Technique 11: savepoints, with the flights of one day as the file that is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from sessionwise import OuterRollbackWarning
from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.dataset import new_flights, stored_flights

if TYPE_CHECKING:
    from sessionwise.tour.stage import Side


def rollback_in_a_block(db: Side) -> None:
    """Roll back in a block: the block's work goes, the rest stays."""
    flights = new_flights(20)
    with db.session() as session:
        session.add_all(flights[:10])
        with session.begin_nested():
            session.add_all(flights[10:])
            session.rollback()  # takes back the second ten
        session.commit()


def commit_in_a_block(db: Side) -> None:
    """Commit in a block, and go on in it."""
    flights = new_flights(20)
    with db.session() as session:
        with session.begin_nested():
            session.add_all(flights[:10])
            session.commit()  # keeps the first ten, whatever comes
            session.add_all(flights[10:])
        session.commit()


def roll_back_everything(db: Side) -> None:
    """Roll back the whole unit, its released savepoint included."""
    with db.session() as session:
        with session.begin_nested():
            session.add_all(new_flights(20))
        session.rollback()


def skip_a_bad_row(db: Side) -> None:
    """Skip the bad rows of a file, and store the good ones as one unit."""
    flights = new_flights(20)
    flights[7].tailnum = "N00000"  # no such plane
    with db.session(failed_block="contained") as session:
        for flight in flights:
            try:
                with session.begin_nested():
                    session.add(flight)
                    session.commit()
            except IntegrityError:
                session.rollback()  # skips this one
        session.commit()


def lose_work_aloud(db: Side) -> None:
    """Lose work by a rollback() too many, but not in silence."""
    flights = new_flights(20)
    flights[17].tailnum = "N00000"  # no such plane
    with db.session() as session:
        session.add_all(flights[:10])
        session.flush()
        try:
            with session.begin_nested():
                session.add_all(flights[10:])
        except IntegrityError:
            session.rollback()  # takes the first ten, too
        session.commit()


CHAPTER = Chapter(
    number=11,
    title="begin_nested",
    promise=(
        "commit() and rollback() in a savepoint block mean that block; "
        "work from outside of it is never lost in silence."
    ),
    scenes=(
        Scene(code=rollback_in_a_block, look=stored_flights, stores="10 new flights"),
        Scene(code=commit_in_a_block, look=stored_flights, stores="20 new flights"),
        Scene(code=roll_back_everything, look=stored_flights, stores="0 new flights"),
        Scene(
            code=skip_a_bad_row,
            look=stored_flights,
            stores="19 new flights",
            commits=1,
            note="failed_block is an option of sessionwise; plain SQLAlchemy runs without it.",
        ),
        Scene(
            code=lose_work_aloud,
            look=stored_flights,
            stores="0 new flights",
            warns=OuterRollbackWarning,
        ),
    ),
)
