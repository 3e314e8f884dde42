"""Technique 9: ``autoflush="related"`` flushes before a query that can see what is pending."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import (
    delete,
    event,
    func,
    insert,
    lambda_stmt,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy import orm as sa_orm
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import joinedload, selectinload, with_loader_criteria
from sqlalchemy.sql.expression import ColumnElement

import sessionwise
from sessionwise import OptionError
from sessionwise.asyncio import AsyncSession
from sessionwise.sql import texts
from tests.backends import Database, on
from tests.club import Badge, Club, Member, Note, Room, Staff, fill, session_of
from tests.model import Order, User


@pytest.fixture
def filled(db: Database) -> Database:
    fill(db)
    return db


@pytest.fixture
def session(filled: Database) -> Iterator[Any]:
    with session_of(filled, autoflush="related") as session:
        yield session


class TestModes:
    def test_names(self, db: Database) -> None:
        for mode in (True, False, "related"):
            with db.session(autoflush=mode) as session:
                assert session.autoflush_mode == mode
                assert session.autoflush is bool(mode)

    def test_default(self, db: Database) -> None:
        with db.session() as session:
            assert session.autoflush_mode is True

    def test_unknown(self, db: Database) -> None:
        with pytest.raises(
            OptionError, match="autoflush='always' is not a choice; use True or False or 'related'"
        ):
            db.session(autoflush="always")

    def test_maker(self, db: Database) -> None:
        maker = db.maker(autoflush="related")
        with maker() as session:
            assert session.autoflush_mode == "related"
        maker.target.configure(autoflush=False) if db.driver.is_async else maker.configure(
            autoflush=False
        )
        with maker() as session:
            assert session.autoflush_mode is False

    def test_a_class_that_is_not_ours(self) -> None:
        with pytest.raises(OptionError, match="does not take autoflush"):
            sessionwise.sessionmaker(class_=sa_orm.Session, autoflush="related")
        sessionwise.sessionmaker(class_=sa_orm.Session, autoflush=False)
        with pytest.raises(OptionError, match="does not take autoflush"):
            AsyncSession(sync_session_class=sa_orm.Session, autoflush="related")

    def test_scoped(self) -> None:
        registry = sessionwise.scoped_session(sessionwise.sessionmaker(autoflush="related"))
        assert registry.autoflush_mode == "related"
        registry.remove()

    def test_switched_off(self, session: Any, filled: Database) -> None:
        sync = session.target.sync_session if filled.driver.is_async else session
        with sync.no_autoflush:
            session.add(Room(id=9, name="new"))
            assert session.autoflush_mode is False
            assert len(session.scalars(select(Room)).all()) == 2
        assert session.autoflush_mode == "related"
        assert len(session.scalars(select(Room)).all()) == 3


def change_name(session: Any) -> None:
    session.get(Room, 1).name = "changed"


PENDING: dict[str, Callable[[Any], object]] = {
    "new": lambda session: session.add(Room(id=9, name="new")),
    "changed": change_name,
    "deleted": lambda session: session.delete(session.get(Room, 1)),
}

SEEING = {
    "entity": select(Room),
    "column": select(Room.name),
    "count": select(func.count()).select_from(Room),
    "join": select(Club).join(Club.rooms),
    "subquery": select(Club).where(Club.rooms.any()),
    "joined eagerly": select(Club).options(joinedload(Club.rooms)),
    "loaded eagerly": select(Club).options(selectinload(Club.rooms)),
    "text": text("SELECT count(*) FROM club_room"),
    "text with a common table": text("WITH n AS (SELECT * FROM club_room) SELECT * FROM n"),
    "table": select(func.count()).select_from(table("club_room")),
    "criteria": select(Badge).options(with_loader_criteria(Badge, Badge.id.in_(select(Room.id)))),
}

BLIND = {
    "entity": select(Badge),
    "column": select(Note.text),
    "join": select(Note).join(Note.member),
    "loaded lazily": select(Club),
    "loaded eagerly": select(Club).options(selectinload(Club.members)),
    "text": text("SELECT count(*) FROM club_badge"),
    "text with a common table": text("WITH n AS (SELECT * FROM club_note) SELECT * FROM n"),
    "no table": select(func.now()),
    "count": select(func.count()).select_from(Badge),
    "exists": select(select(Badge.id).exists()),
}

OPAQUE = {
    "fragment": select(Badge).where(text("1 = 1")),
    "literal column": select(Badge.id, literal_column("name")),
    "lambda": lambda_stmt(lambda: select(Badge)),
    "criteria by lambda": select(Badge).options(
        with_loader_criteria(Badge, lambda one: one.id > 0)
    ),
    "unknown table": select(func.count()).select_from(table("club_view")),
    "insert": insert(Badge).values(id=9, name="new"),
    "update": update(Badge).values(name="x"),
    "delete": delete(Note),
    "text that writes": text("UPDATE club_badge SET name = 'x'"),
}


class TestDecision:
    @pytest.mark.parametrize("pending", PENDING)
    @pytest.mark.parametrize("query", SEEING)
    def test_it_can_see_what_is_pending(self, session: Any, pending: str, query: str) -> None:
        PENDING[pending](session)
        session.execute(SEEING[query]).unique().all()
        assert session.report().autoflushes == 1

    @pytest.mark.parametrize("pending", PENDING)
    @pytest.mark.parametrize("query", BLIND)
    def test_it_cannot(self, session: Any, pending: str, query: str) -> None:
        PENDING[pending](session)
        session.execute(BLIND[query]).unique().all()
        assert session.report().flushes == 0
        session.flush()
        assert session.report().flushes == 1

    @pytest.mark.parametrize("query", OPAQUE)
    def test_nobody_knows(self, session: Any, query: str) -> None:
        if query == "unknown table":
            session.connection().exec_driver_sql("CREATE TEMPORARY TABLE club_view (id integer)")
        session.add(Room(id=9, name="new"))
        session.execute(OPAQUE[query])
        assert session.report().autoflushes == 1
        if query == "unknown table":  # which a rollback need not take out of the connection
            session.invalidate()

    def test_a_function_of_somebody_elses(self, session: Any, filled: Database) -> None:
        if filled.driver.server != "sqlite":
            session.connection().exec_driver_sql(FUNCTIONS[filled.driver.server])
        elif filled.driver.is_async:
            pytest.skip("aiosqlite: its functions are made on the driver's own connection")
        else:
            raw = session.connection().connection.driver_connection
            raw.create_function("one_more", 1, lambda number: number + 1)
        session.add(Room(id=9, name="new"))
        session.execute(select(func.one_more(Badge.id))).all()
        assert session.report().autoflushes == 1
        session.rollback()
        if filled.driver.server == "mariadb":
            session.connection().exec_driver_sql("DROP FUNCTION one_more")

    def test_a_construct_of_somebody_elses(self, session: Any) -> None:
        session.add(Room(id=9, name="new"))
        session.execute(select(Rooms())).all()
        assert session.report().autoflushes == 1

    def test_scalar_and_scalars(self, session: Any) -> None:
        session.add(Room(id=9, name="new"))
        session.scalar(select(Badge.id))
        session.scalars(select(Badge)).all()
        session.get(Badge, 1)
        assert session.report().flushes == 0
        assert session.scalar(select(func.count()).select_from(Room)) == 3
        assert session.report().autoflushes == 1

    def test_get(self, session: Any) -> None:
        session.add(Room(id=9, name="new"))
        assert session.get(Room, 2).name == "room 2"
        assert session.report().autoflushes == 1

    def test_lazy_loading(self, session: Any, filled: Database) -> None:
        club = session.get(Club, 1)
        session.add(Room(id=9, name="new", club_id=1))
        assert filled.inside(session, lambda: len(club.members)) == 2
        assert session.report().flushes == 0
        assert filled.inside(session, lambda: [room.id for room in club.rooms]) == [1, 9]
        assert session.report().autoflushes == 1

    def test_a_flush_starts_anew(self, session: Any) -> None:
        session.add(Room(id=9, name="new"))
        session.flush()
        session.add(Badge(id=9, name="new"))
        session.scalars(select(Room)).all()
        assert session.report().autoflushes == 0

    def test_a_rollback_starts_anew(self, session: Any) -> None:
        session.add(Room(id=9, name="new"))
        session.rollback()
        session.scalars(select(Room)).all()
        assert session.report().flushes == 0

    def test_expunge_all(self, session: Any) -> None:
        session.add(Room(id=9, name="new"))
        session.expunge_all()
        session.get(Room, 1).name = "changed"
        session.scalars(select(Badge)).all()
        assert session.report().flushes == 0
        session.scalars(select(Room)).all()
        assert session.report().autoflushes == 1

    def test_nothing_pending(self, session: Any, filled: Database) -> None:
        with filled.statements() as seen:
            session.scalars(select(Room)).all()
        assert len(seen) == 1


class TestWhatAFlushWrites:
    """Other tables than the object's own."""

    def flushes(self, session: Any, query: Any) -> bool:
        before = session.report().flushes
        session.execute(query).all()
        return bool(session.report().flushes > before)

    def test_a_many_to_one_leaves_its_target_alone(self, session: Any) -> None:
        session.add(Member(id=90, name="new", kind="member", club=session.get(Club, 1)))
        assert not self.flushes(session, select(Badge))
        assert not self.flushes(session, select(Club.city))
        assert self.flushes(session, select(Club))  # its size is a count of members

    def test_children(self, session: Any, filled: Database) -> None:
        club, room = session.get(Club, 1), session.get(Room, 2)
        filled.inside(session, lambda: club.rooms.append(room))
        assert not self.flushes(session, select(Club))
        assert self.flushes(session, select(Room))

    def test_in_between(self, session: Any, filled: Database) -> None:
        member, badge = session.get(Member, 10), session.get(Badge, 1)
        filled.inside(session, lambda: member.badges.remove(badge))
        assert not self.flushes(session, select(Badge))
        assert not self.flushes(session, select(Member))
        assert self.flushes(session, select(Member.id).join(Member.badges))

    def test_orphans(self, session: Any, filled: Database) -> None:
        member = session.get(Member, 10)
        filled.inside(session, lambda: setattr(member, "notes", []))
        assert not self.flushes(session, select(Club.city))
        assert self.flushes(session, select(Note))

    def test_what_the_database_deletes_along(self, session: Any) -> None:
        session.delete(session.get(Club, 1))
        assert not self.flushes(session, select(Badge))
        assert self.flushes(session, select(Note.id))

    def test_delete_all(self, session: Any) -> None:
        session.delete_all([session.get(Badge, 1)])
        assert not self.flushes(session, select(Club))
        assert self.flushes(session, select(Badge))

    def test_joined_inheritance(self, session: Any) -> None:
        session.add(Staff(id=90, name="new", desk=1))
        assert not self.flushes(session, select(Badge))
        assert self.flushes(session, select(Member.name))

    def test_more_changes_of_one_object(self, session: Any, filled: Database) -> None:
        club = session.get(Club, 1)
        filled.inside(session, lambda: club.rooms.append(session_room()))
        assert not self.flushes(session, select(Club.city))
        club.city = "Bonn"
        assert self.flushes(session, select(Club.city))


def session_room() -> Room:
    return Room(id=9, name="new")


class TestOthersThatFlush:
    def test_refresh(self, session: Any, filled: Database) -> None:
        filled.read_committed(session)
        session.add(Room(id=9, name="new"))
        session.refresh(session.get(Badge, 1))
        assert session.report().autoflushes == 1

    def test_merge(self, session: Any) -> None:
        session.get(Badge, 1).name = "mine"
        assert session.merge(Badge(id=1)).name == "mine"
        assert session.report().autoflushes == 1

    def test_a_listener_that_may_add_rows(self, session: Any, filled: Database) -> None:
        sync = session.target.sync_session if filled.driver.is_async else session
        event.listen(sync, "before_flush", lambda one, *_: one.add(Badge(id=9, name="made")))
        session.add(Room(id=9, name="new"))
        assert len(session.scalars(select(Badge)).all()) == 3

    def test_a_listener_that_makes_another_query_of_it(
        self, session: Any, filled: Database
    ) -> None:
        sync = session.target.sync_session if filled.driver.is_async else session

        def only_named(execution: Any) -> None:
            inside = Badge.id.in_(select(Room.id))
            execution.statement = execution.statement.where(inside)

        event.listen(sync, "do_orm_execute", only_named)
        session.add(Room(id=9, name="new"))
        session.execute(select(Badge.id)).all()
        assert session.report().autoflushes == 1

    def test_a_listener_that_comes_late(self, session: Any, filled: Database) -> None:
        sync = session.target.sync_session if filled.driver.is_async else session
        event.listen(sync, "do_orm_execute", lambda _: None)
        session.scalars(select(Badge)).all()
        session.add(Room(id=9, name="new"))
        session.scalars(select(Badge)).all()
        assert session.report().flushes == 0
        event.listen(sync, "do_orm_execute", lambda _: None)
        session.scalars(select(Badge)).all()
        assert session.report().autoflushes == 1


class TestCost:
    def steps(self, session: Any, count: int) -> int:
        """Return the calls that are made to decide about a query, with so many pending."""
        session.add_all([Room(id=100 + at, name="new", club_id=1) for at in range(count // 2)])
        for member in session.scalars(select(Member)):
            member.name = "changed"
        session.add_all([Note(id=100 + at, text="new", member_id=10) for at in range(count // 2)])
        query = select(Badge.id)
        session.execute(query).all()
        calls = 0

        def count_call(_frame: Any, what: str, _argument: Any) -> None:
            nonlocal calls
            calls += what in {"call", "c_call"}

        before = sys.getprofile()
        sys.setprofile(count_call)
        try:
            session.execute(query).all()
        finally:
            sys.setprofile(before)
        assert session.report().flushes == 0
        return calls

    @on("sqlite3")  # the deciding knows no database; a driver's own calls vary
    def test_the_same_however_much_is_pending(self, filled: Database) -> None:
        counted = []
        for pending in (100, 100, 10_000):
            with session_of(filled, autoflush="related") as session:
                counted.append(self.steps(session, pending))
                session.expunge_all()
        assert counted[1] == counted[2]

    def test_text_is_parsed_once(self, session: Any) -> None:
        session.add(Room(id=9, name="new"))
        query = text("SELECT id FROM club_badge WHERE name <> :name AND 417 = 417")
        session.execute(query, {"name": "a"}).all()
        parsed = texts._of_short_text.cache_info().misses
        for name in "bcd":
            session.execute(query, {"name": name}).all()
        assert texts._of_short_text.cache_info().misses == parsed


def test_changed_objects_pickle(session: Any) -> None:
    room = session.get(Room, 1)
    room.name = "changed"
    copy = pickle.loads(pickle.dumps(room))
    assert copy.name == "changed"
    assert sa_orm.attributes.get_history(copy, "name").deleted == ["room 1"]


def test_changed_objects_move_to_another_session(filled: Database, session: Any) -> None:
    user = User(id=1, name="Alice")
    with filled.session(autoflush="related") as other:
        other.add(user)
        other.flush()
        user.name = "Bob"
        other.expunge(user)
        session.add(user)
        user.balance = 7
        session.execute(select(Order)).all()
        assert session.report().flushes == 0


FUNCTIONS = {
    "postgresql": "CREATE FUNCTION one_more(integer) RETURNS integer LANGUAGE SQL "
    "AS 'SELECT $1 + 1'",
    "mariadb": "CREATE FUNCTION one_more(n integer) RETURNS integer DETERMINISTIC RETURN n + 1",
}


class Rooms(ColumnElement[int]):
    """An application's own construct: a count."""

    inherit_cache = True


@compiles(Rooms)
def count_rooms(_element: Any, _compiler: Any, **_: Any) -> str:
    return "(SELECT count(*) FROM club_room)"
