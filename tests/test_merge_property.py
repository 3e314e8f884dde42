"""Merging three ways loses nobody's update, whatever base, mine and theirs are."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.orm import make_transient_to_detached

from sessionwise import MergeConflictError
from tests.backends import Database, on
from tests.library import Author, elsewhere, empty, store

NAMES = ("name", "born")
value = st.integers(1, 3)
"""Few values, so that sides agree as often as they do not."""


@dataclass(frozen=True)
class Case:
    """One object: what it was, what I make of it, and what others make of its row."""

    base: dict[str, Any]
    mine: dict[str, Any]
    theirs: dict[str, Any]
    comes: str
    """How my object came to be."""


def sides(draw: Any, *, all_: bool) -> dict[str, Any]:
    names = NAMES if all_ else draw(st.sets(st.sampled_from(NAMES)))
    return {name: str(draw(value)) if name == "name" else draw(value) for name in names}


@st.composite
def cases(draw: Any) -> Case:
    ways = ("loaded", "pickled", "expired", "form", "set while expired", "flushed and rolled back")
    return Case(
        base=sides(draw, all_=True),
        mine=sides(draw, all_=False),
        theirs=sides(draw, all_=False),
        comes=draw(st.sampled_from(ways)),
    )


def mine(db: Database, case: Case) -> Author:
    """Make my object, as it is when it is merged."""
    if case.comes == "form":
        return Author(id=1, **case.mine)
    if case.comes in {"set while expired", "expired"}:
        author = Author(id=1)
        make_transient_to_detached(author)
        for name, new in case.mine.items():
            setattr(author, name, new)
        return author
    with db.session() as session:
        author = session.get(Author, 1)
        if case.comes == "flushed and rolled back":
            _change(author, case.mine)
            session.flush()
        session.expunge(author)
        session.rollback()
    if case.comes != "flushed and rolled back":
        _change(author, case.mine)
    return pickle.loads(pickle.dumps(author)) if case.comes == "pickled" else author


def _change(author: Any, values: dict[str, Any]) -> None:
    for name, new in values.items():
        setattr(author, name, new)


def is_unconfirmed(case: Case) -> bool:
    return case.comes == "flushed and rolled back" and bool(case.mine)


def knows_its_base(case: Case) -> bool:
    return case.comes in {"loaded", "pickled", "flushed and rolled back"} and not is_unconfirmed(
        case
    )


def after(case: Case, policy: str) -> dict[str, Any] | None:
    """Say what the row must be at the end; None: a conflict."""
    now = {**case.base, **case.theirs}
    touched = {**case.base, **case.mine} if is_unconfirmed(case) else case.mine
    for name, new in touched.items():
        theirs = now[name]
        if new == theirs:
            continue
        if knows_its_base(case):
            if new == case.base[name]:
                continue  # set, and set back: nobody's change
            if theirs == case.base[name]:
                now[name] = new
                continue
        if policy == "raise":
            return None
        if policy == "mine":
            now[name] = new
    return now


@on("sqlite3", "aiosqlite", "psycopg", "asyncpg", "pymysql")
@given(case=cases(), policy=st.sampled_from(["raise", "mine", "theirs"]), holds=st.booleans())
@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_update_is_lost(db: Database, case: Case, policy: Any, holds: bool) -> None:
    """Whether the session ``holds`` the row's old state already makes no difference."""
    empty(db)
    store(db, [Author(id=1, **case.base)])
    author = mine(db, case)
    expected = after(case, policy)
    with db.session() as session:
        db.read_committed(session)
        if holds:
            session.get(Author, 1)
        if case.theirs:
            with elsewhere(db) as other:
                other.execute(update(Author).values(**case.theirs))
        try:
            session.merge(author, conflicts=policy)
        except MergeConflictError:
            assert expected is None
            return
        session.commit()
    with db.observer.connect() as connection:
        stored = connection.execute(select(Author.name, Author.born)).one()
    assert expected == stored._asdict()
