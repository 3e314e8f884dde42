"""After any DML by any road the objects say what a fresh session reads, and no change is lost.

A history of loads, changes that are not flushed and statements by every road is run in a session.
After each statement every attribute that the session has not changed is compared with what another
session on the same connection reads; each change must be there until it is flushed, and then in
the row.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, inspect, select, text, update
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as PlainSession
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError

from tests.backends import Database, on
from tests.club import (
    CLASSES,
    Base,
    Club,
    Member,
    Room,
    fill,
    member_badge,
    session_of,
)

TABLES = {table.name: table for table in Base.metadata.sorted_tables}
WHOLE = sorted(TABLES.keys() - {"club_staff"})
"""Tables whose rows may go alone: a member of the staff has two."""

NAMES = {"club_club": "name", "club_member": "name", "club_room": "name", "club_note": "text"}

GONE = (StaleDataError, ObjectDeletedError)
"""What a flush says to a change of an object whose row is gone by one of the statements."""

number = st.integers(0, 30)
named = st.sampled_from(sorted(NAMES))
road = st.sampled_from(["text", "session", "connection", "driver sql", "cursor"])
event = st.one_of(
    st.tuples(st.just("load"), number),
    st.tuples(st.just("touch"), number),
    st.tuples(st.just("change"), number, number),
    st.tuples(st.just("link"), number, number),
    st.tuples(st.just("savepoint"), road, named, number, st.booleans()),
    st.tuples(st.just("rename"), road, named, number),
    st.tuples(st.just("move"), road, number, number),
    st.tuples(st.just("remove"), road, st.sampled_from(WHOLE), number),
    st.tuples(st.just("enter"), road, number, number),
    st.tuples(st.just("award"), road, number, number),
    st.tuples(st.just("orm update"), number, number),
    st.tuples(st.just("orm delete"), number),
)
histories = st.lists(event, min_size=3, max_size=15)


class Run:
    """One run of a history."""

    def __init__(self, db: Database, session: Any) -> None:
        self.db = db
        self.session = session
        self.held: list[Any] = []
        self.mine: dict[tuple[Any, str], Any] = {}
        """Changes that are not flushed."""
        self.made = 100
        listen(session, "before_flush", lambda *_: self._before_flush())
        listen(session, "after_flush_postexec", lambda *_: self._after_flush())
        self.flushing: dict[tuple[Any, str], Any] = {}

    def play(self, history: list[tuple[Any, ...]]) -> None:
        for name, *arguments in history:
            try:
                getattr(self, name.replace(" ", "_"))(*arguments)
                self.check()
            except GONE:
                return
        with suppress(*GONE):
            self.session.flush()
            self.check()

    # What happens

    def load(self, which: int) -> None:
        with self.session.no_autoflush:
            found = self.session.scalars(select(CLASSES[which % len(CLASSES)])).all()
        self.held += [one for one in found if one not in self.held]

    def touch(self, which: int) -> None:
        for one in self.held[: which + 1]:
            self.label(one)

    def change(self, which: int, to: int) -> None:
        some = [one for one in self.held if isinstance(one, Club | Member | Room)]
        if some:
            one = some[which % len(some)]
            with self.session.no_autoflush, suppress(ObjectDeletedError):
                if one.name is not None:
                    one.name = f"mine {to % 3}"
                    self.mine[one, "name"] = one.name

    def link(self, which: int, _: int) -> None:
        clubs = [one for one in self.held if isinstance(one, Club)]
        if clubs:
            self.made += 1
            with self.session.no_autoflush, suppress(ObjectDeletedError):
                clubs[which % len(clubs)].rooms.append(Room(id=self.made, name="mine"))

    def rename(self, road: str, name: str, to: int) -> None:
        table = TABLES[name]
        self.send(road, update(table).values({NAMES[name]: f"theirs {to % 3}"}))

    def move(self, road: str, which: int, to: int) -> None:
        table = TABLES[("club_member", "club_room")[which % 2]]
        some = table.c.id % 2 == which % 3
        self.send(road, update(table).where(some).values(club_id=to % 2 + 1))

    def remove(self, road: str, name: str, which: int) -> None:
        table = TABLES[name]
        first = next(iter(table.c))
        self.send(road, delete(table).where(first % 4 == which % 4))

    def enter(self, road: str, which: int, _: int) -> None:
        self.made += 1
        values = {"id": self.made, "name": "theirs", "club_id": which % 2 + 1}
        self.send(road, insert(TABLES["club_room"]).values(values))

    def award(self, road: str, which: int, badge: int) -> None:
        member = (10, 11, 20, 21)[which % 4]
        kept = delete(member_badge).where(member_badge.c.member_id == member)
        self.send(road, kept)
        for one in (1, 2)[: badge % 3]:
            self.send(road, insert(member_badge).values(member_id=member, badge_id=one))

    def savepoint(self, road: str, name: str, to: int, undone: bool) -> None:
        with self.session.begin_nested() as savepoint:
            self.rename(road, name, to)
            self.remove(road, "club_note", to)
            self.enter(road, to, to)
            self.load(to)
            self.check()
            if undone:
                savepoint.rollback()

    def orm_update(self, which: int, to: int) -> None:
        statement = update(Room).where(Room.id % 3 == which % 3).values(club_id=to % 2 + 1)
        with suppress(IntegrityError), self.session.begin_nested():
            self.session.execute(statement)

    def orm_delete(self, which: int) -> None:
        self.session.execute(delete(Club).where(Club.id % 5 == which % 5))

    def send(self, road: str, statement: Any) -> None:
        dialect = self.session.get_bind().dialect
        refused = (IntegrityError, dialect.loaded_dbapi.IntegrityError)
        with suppress(*refused), self.session.begin_nested():
            if road == "session":
                self.session.execute(statement)
                return
            as_text = str(
                statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
            )
            if road == "cursor":
                with self.session.cursor() as cursor:
                    cursor.execute(as_text.replace("%%", "%"))
            elif road == "driver sql":
                self.session.connection().exec_driver_sql(as_text)
            elif road == "connection":
                self.session.connection().execute(statement)
            else:
                self.session.execute(text(as_text.replace("%%", "%")))

    # What must hold

    def check(self) -> None:
        for (one, name), value in self.mine.items():
            assert getattr(one, name) == value, "a change was lost before it was flushed"
        with (
            self.session.no_autoflush,
            PlainSession(
                self.session.connection(), join_transaction_mode="rollback_only"
            ) as fresh,
        ):
            for one in list(self.held):
                self._check_one(one, fresh)

    def _check_one(self, one: Any, fresh: Any) -> None:
        state = inspect(one)
        if state.detached or state.was_deleted:
            self.held.remove(one)
            return
        theirs = fresh.get(state.class_, state.identity)
        if theirs is None and not state.committed_state:
            assert self.session.get(state.class_, state.identity) is None, one
            self.held.remove(one)
        elif theirs is not None:
            for attribute in state.mapper.attrs:
                if not state.attrs[attribute.key].history.has_changes():
                    ours = self.label(getattr(one, attribute.key))
                    assert ours == self.label(getattr(theirs, attribute.key)), attribute

    def label(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.label(one) for one in value]
        state = inspect(value, raiseerr=False)
        return value if state is None else (state.class_.__name__, state.identity)

    def _before_flush(self) -> None:
        self.flushing, self.mine = self.mine, {}

    def _after_flush(self) -> None:
        with PlainSession(
            self.session.connection(), join_transaction_mode="rollback_only"
        ) as fresh:
            for (one, name), value in self.flushing.items():
                theirs = fresh.get(type(one), inspect(one).identity)
                assert getattr(theirs, name) == value, "a change was not written"


@on("sqlite3", "psycopg", "pymysql")
@given(history=histories, autoflush=st.booleans())
@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_nothing_is_stale_and_nothing_is_lost(db: Database, history: Any, autoflush: bool) -> None:
    fill(db)
    with session_of(db, autoflush=autoflush) as session:
        Run(db, session).play(history)
