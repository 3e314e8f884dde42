"""Technique 3: bulk insertion that costs none of what the guide says it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import event, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from sessionwise import BulkInputError, OptionError
from sessionwise.bulk import BulkProgress, announce
from tests.backends import Database, on
from tests.club import Club, Member, Room, Staff, fill, member_badge, session_of
from tests.library import Edition
from tests.model import Order, User

MANY = 1_200
"""Rows that every writer thinks worth its while."""


def users(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"name": f"user {at}", "balance": at} for at in range(first, first + count)]


@pytest.fixture
def session(db: Database) -> Iterator[Any]:
    with db.session() as session:
        yield session


@pytest.fixture
def club(db: Database) -> Iterator[Any]:
    fill(db)
    with session_of(db) as session:
        yield session


def sync(session: Any) -> Any:
    """Return the session that does the work."""
    return getattr(getattr(session, "target", session), "sync_session", session)


class TestRows:
    def test_dicts(self, session: Any) -> None:
        result = session.bulk_insert(User, users(MANY))
        assert (result.inserted, result.updated, result.skipped, result.read) == (MANY, 0, 0, MANY)
        assert session.scalar(select(func.count(User.id))) == MANY
        assert session.scalar(select(func.sum(User.balance))) == sum(range(MANY))

    def test_tuples(self, session: Any) -> None:
        rows = ((f"user {at}", at) for at in range(MANY))
        session.bulk_insert(User, rows, columns=["name", "balance"])
        assert session.scalar(select(User.balance).where(User.name == "user 700")) == 700

    def test_dataclasses_and_a_table(self, session: Any) -> None:
        @dataclass
        class Row:
            name: str
            balance: int = 3

        session.bulk_insert(User.__table__, [Row("Alice"), Row("Bob")])
        assert session.execute(select(User.name, User.balance).order_by(User.name)).all() == [
            ("Alice", 3),
            ("Bob", 3),
        ]

    def test_objects(self, session: Any) -> None:
        session.bulk_insert(User, [User(name="Alice"), User(name="Bob", balance=5)])
        assert session.execute(select(User.name, User.balance).order_by(User.name)).all() == [
            ("Alice", 0),
            ("Bob", 5),
        ]

    def test_none_at_all(self, db: Database, session: Any) -> None:
        assert session.bulk_insert(User, []).read == 0

    def test_sets_of_keys_in_turn(self, session: Any) -> None:
        rows = [
            {"name": f"user {at}"} if at % 2 else {"name": f"user {at}", "balance": 7}
            for at in range(MANY)
        ]
        ids = session.bulk_insert(User, rows, returning=True).ids
        assert session.scalar(select(func.count()).where(User.balance == 0)) == MANY // 2
        names = dict(session.execute(select(User.id, User.name)).all())
        assert [names[one] for one in ids] == [row["name"] for row in rows]

    def test_pending_objects_come_first(self, session: Any) -> None:
        user = User(id=1, name="Alice")
        session.add(user)
        session.bulk_insert(Order, [{"user_id": 1, "amount": 5}])
        assert session.scalar(select(func.count(Order.id))) == 1

    def test_an_sql_expression(self, session: Any) -> None:
        rows = [{"name": "Alice", "balance": func.length("four")}, *users(MANY)]
        assert session.bulk_insert(User, rows).writer == "core"
        assert session.scalar(select(User.balance).where(User.name == "Alice")) == 4


class TestIds:
    def test_in_order(self, session: Any) -> None:
        rows = users(MANY)
        result = session.bulk_insert(User, rows, returning=True)
        names = dict(session.execute(select(User.id, User.name)).all())
        assert [names[one] for one in result.ids] == [row["name"] for row in rows]

    def test_only_when_asked_for(self, session: Any) -> None:
        assert session.bulk_insert(User, users(2)).ids is None

    def test_composite(self, club: Any) -> None:
        club.execute(text("DELETE FROM club_member_badge"))
        rows = [{"member_id": 10, "badge_id": 2}, {"member_id": 11, "badge_id": 1}]
        assert club.bulk_insert(member_badge, rows, returning=True).ids == [(10, 2), (11, 1)]

    def test_the_next_one_is_free(self, session: Any) -> None:
        session.bulk_insert(User, [{"id": 100 + at, **row} for at, row in enumerate(users(MANY))])
        user = User(name="after")
        session.add(user)
        session.flush()
        assert user.id >= 100 + MANY


class TestClasses:
    def test_joined_inheritance(self, club: Any) -> None:
        rows = [{"id": 100 + at, "name": f"staff {at}", "desk": at} for at in range(100)]
        result = club.bulk_insert(Staff, rows, returning=True)
        assert result.ids == [row["id"] for row in rows]
        staff = club.get(Staff, 150)
        assert (staff.name, staff.desk, staff.kind) == ("staff 50", 50, "staff")

    def test_the_class_is_told_apart(self, club: Any) -> None:
        club.bulk_insert(Member, [{"id": 100 + at, "name": "new"} for at in range(100)])
        assert club.get(Member, 120).kind == "member"

    def test_version(self, library: Database) -> None:
        with library.session() as session:
            session.bulk_insert(Edition, [{"id": at, "text": "x"} for at in range(1, 101)])
            edition = session.get(Edition, 7)
            assert edition.version == 1
            edition.text = "y"
            session.flush()
            assert edition.version == 2

    @pytest.mark.filterwarnings("ignore:Object of type <Member> not in session")
    def test_a_loaded_parent(self, club: Any) -> None:
        one = club.get(Club, 1)
        rows = [Member(id=100 + at, name="new", club=one) for at in range(60)]
        club.bulk_insert(Member, rows)
        assert club.scalar(select(func.count()).where(Member.club_id == 1)) == 62


class TestEvents:
    @pytest.fixture
    def seen(self) -> Iterator[list[Any]]:
        seen: list[Any] = []

        def before(_mapper: Any, _connection: Any, user: User) -> None:
            user.name = user.name.upper()
            seen.append(("before", user.name))

        def after(_mapper: Any, _connection: Any, user: User) -> None:
            seen.append(("after", user.name, user.id))

        event.listen(User, "before_insert", before)
        event.listen(User, "after_insert", after)
        yield seen
        event.remove(User, "before_insert", before)
        event.remove(User, "after_insert", after)

    def test_as_in_a_flush(self, session: Any, seen: list[Any]) -> None:
        session.bulk_insert(
            User, [{"name": "a", "balance": 0}, {"name": "b", "balance": 0}], events=True
        )
        assert seen[:2] == [("before", "A"), ("before", "B")]
        ids = dict(session.execute(select(User.name, User.id)).all())
        assert seen[2:] == [("after", "A", ids["A"]), ("after", "B", ids["B"])]

    def test_not_without_asking(self, session: Any, seen: list[Any]) -> None:
        session.bulk_insert(User, [{"name": "a", "balance": 0}])
        assert seen == []

    def test_a_table_has_none(self, session: Any) -> None:
        with pytest.raises(OptionError, match="events=True needs a mapped class"):
            session.bulk_insert(User.__table__, [{"name": "a", "balance": 0}], events=True)


class TestFailure:
    def test_nothing_of_the_call_is_stored(self, session: Any, db: Database) -> None:
        session.add(User(name="before"))
        rows = [*users(MANY), {"name": "user 5", "balance": 0}]
        with pytest.raises(IntegrityError):
            session.bulk_insert(User, rows, chunk_size=500)
        session.add(User(name="after"))
        session.commit()
        assert db.names() == ["after", "before"]

    def test_rollback(self, session: Any, db: Database) -> None:
        session.bulk_insert(User, users(MANY))
        session.rollback()
        assert db.names() == []

    def test_savepoint(self, session: Any, db: Database) -> None:
        with session.begin_nested() as savepoint:
            session.bulk_insert(User, users(MANY))
            savepoint.rollback()
        session.commit()
        assert db.names() == []

    def test_a_generator_that_fails(self, session: Any, db: Database) -> None:
        def rows() -> Iterator[dict[str, Any]]:
            yield from users(MANY)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            session.bulk_insert(User, rows(), chunk_size=500)
        session.commit()
        assert db.names() == []

    def test_bad_input(self, session: Any) -> None:
        for entity, rows, message in (
            (int, [], "neither a mapped class nor a Table"),
            (
                User,
                [{"nam": "x"}],
                "'nam', and users has no such column; it has id, name, balance",
            ),
            (User, ["x"], "row"),
            (User, "x", "not an iterable of rows"),
        ):
            with pytest.raises(BulkInputError, match=message):
                session.bulk_insert(entity, rows)

    def test_bad_options(self, session: Any) -> None:
        with pytest.raises(OptionError, match="chunk_size=0"):
            session.bulk_insert(User, [], chunk_size=0)
        with pytest.raises(OptionError, match="on_conflict='update'"):
            session.bulk_insert(User, [], on_conflict="update")
        with pytest.raises(OptionError, match="have no ids"):
            session.bulk_insert(User, [], on_conflict="nothing", returning=True)


class TestConflicts:
    def test_nothing(self, session: Any) -> None:
        session.bulk_insert(User, users(10))
        result = session.bulk_insert(User, users(20), on_conflict="nothing")
        assert (result.inserted, result.skipped, result.read) == (10, 10, 20)
        assert session.scalar(select(func.count(User.id))) == 20


class TestSeen:
    def test_collections_are_expired(self, db: Database, club: Any) -> None:
        one = club.get(Club, 1)
        assert db.inside(club, lambda: len(one.rooms)) == 1
        club.bulk_insert(
            Room, [{"id": 10 + at, "name": "new", "club_id": 1} for at in range(MANY)]
        )
        assert db.inside(club, lambda: len(one.rooms)) == MANY + 1

    def test_progress(self, session: Any) -> None:
        told: list[BulkProgress] = []
        session.bulk_insert(User, users(MANY), chunk_size=500, progress=told.append)
        assert [one.rows for one in told] == [500, 1_000, MANY]
        assert told[-1].rate > 0

    def test_announced_before_and_after(self, session: Any) -> None:
        told: list[announce.Announcement] = []
        announce.listen(sync(session), told.append)
        session.bulk_insert(User, users(4), chunk_size=2, returning=True)
        assert [(one.kind, one.done, len(one.chunk or ())) for one in told] == [
            ("insert", False, 2),
            ("insert", True, 2),
        ] * 2
        assert told[1].chunk.names == ("name", "balance")  # type: ignore[union-attr]
        assert len(told[1].ids or ()) == 2
        announce.unlisten(sync(session), told.append)
        session.bulk_insert(User, users(1, first=10))
        assert len(told) == 4

    def test_who_is_told_can_refuse(self, session: Any, db: Database) -> None:
        def refuse(announcement: announce.Announcement) -> None:
            if announcement.done:
                raise ZeroDivisionError

        announce.listen(sync(session), refuse)
        with pytest.raises(ZeroDivisionError):
            session.bulk_insert(User, users(4))
        session.commit()
        assert db.names() == []


class TestInherited:
    """SQLAlchemy's methods, on the fast writers."""

    def test_mappings(self, session: Any) -> None:
        rows = [*users(MANY), {"name": "none", "balance": None}, {"name": "x", "nonsense": 1}]
        sync_call(session, "bulk_insert_mappings", User, rows)
        assert session.scalar(select(func.count(User.id))) == MANY + 2
        assert session.scalar(select(User.balance).where(User.name == "none")) == 0

    def test_fewer_statements_or_the_same(self, db: Database, session: Any) -> None:
        session.connection()
        with db.statements() as seen:
            sync_call(session, "bulk_insert_mappings", User, users(100))
        assert sum("INSERT" in one for one in seen) <= 1

    def test_mappings_with_ids(self, session: Any) -> None:
        rows = users(60)
        sync_call(session, "bulk_insert_mappings", User, rows, return_defaults=True)
        assert len({row["id"] for row in rows}) == 60

    def test_objects(self, session: Any) -> None:
        some = [User(name=f"user {at}") for at in range(MANY)]
        sync_call(session, "bulk_save_objects", some)
        assert session.scalar(select(func.count(User.id))) == MANY
        assert inspect(some[0]).transient

    def test_an_error_is_sqlalchemys(self, session: Any, db: Database) -> None:
        with pytest.raises(IntegrityError, match="INSERT INTO users"):
            sync_call(session, "bulk_insert_mappings", User, [*users(60), *users(1)])
        session.rollback()
        assert db.names() == []

    def test_updates_expire(self, db: Database, session: Any) -> None:
        session.execute(insert(User), users(2))
        user = session.scalars(select(User).order_by(User.name)).first()
        ident = inspect(user).identity[0]
        sync_call(session, "bulk_update_mappings", User, [{"id": ident, "balance": 99}])
        assert db.inside(session, lambda: user.balance) == 99


def sync_call(session: Any, name: str, *args: Any, **how: Any) -> Any:
    """Call a method that only the sync session has."""
    if sync(session) is session:
        return getattr(session, name)(*args, **how)
    return session.run_sync(lambda one: getattr(one, name)(*args, **how))


@on("aiosqlite", "psycopg-async", "asyncpg", "aiomysql")
def test_rows_of_an_async_generator(session: Any, db: Database) -> None:
    async def rows() -> Any:
        for row in users(MANY):
            yield row

    assert session.bulk_insert(User, rows(), chunk_size=500).inserted == MANY
