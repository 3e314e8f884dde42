"""Technique 7: after SQL of any kind the objects say what the rows say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import delete, event, func, insert, inspect, literal_column, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session as PlainSession

from tests.backends import Database, on
from tests.club import Club, Member, Note, Room, Staff, fill, member_badge, session_of
from tests.model import User

RENAME = "UPDATE users SET name = 'Bob' WHERE id = 1"


def by_cursor(session: Any, statement: str) -> None:
    with session.cursor() as cursor:
        cursor.execute(statement)


WAYS: dict[str, Callable[[Any, str], object]] = {
    "text": lambda session, sql: session.execute(text(sql)),
    "connection": lambda session, sql: session.connection().execute(text(sql)),
    "driver sql": lambda session, sql: session.connection().exec_driver_sql(sql),
    "cursor": by_cursor,
}


@pytest.fixture
def alice(db: Database) -> Iterator[tuple[Database, Any, Any]]:
    """Give a session with a user loaded, in a transaction."""
    with db.session() as session:
        session.add(User(id=1, name="Alice", balance=10))
        session.commit()
        yield db, session, session.get(User, 1)


@pytest.fixture
def club(db: Database) -> Database:
    fill(db)
    return db


def test_plain_sqlalchemy_is_stale(db: Database) -> None:
    with PlainSession(db.observer) as session:
        session.add(User(id=1, name="Alice"))
        session.flush()
        user = session.get_one(User, 1)
        session.execute(text(RENAME))
        assert user.name == "Alice"


class TestGuide:
    """``UPDATE … SET name = 'Bob'``, then the loaded object's name is "Bob"."""

    @pytest.mark.parametrize("way", WAYS)
    def test_name(self, alice: Any, way: str) -> None:
        db, session, user = alice
        WAYS[way](session, RENAME)
        assert db.inside(session, lambda: user.name) == "Bob"

    def test_query_again(self, alice: Any) -> None:
        _, session, user = alice
        session.execute(text(RENAME))
        assert session.scalars(select(User)).one() is user
        assert user.name == "Bob"

    def test_get_reads_it(self, alice: Any) -> None:
        db, session, user = alice
        session.execute(text(RENAME))
        with db.statements() as seen:
            assert session.get(User, 1) is user
            assert user.name == "Bob"
        assert len(seen) == 1

    def test_core(self, alice: Any) -> None:
        db, session, user = alice
        session.execute(update(User.__table__).values(name="Bob"))
        assert db.inside(session, lambda: user.name) == "Bob"

    def test_parameters(self, alice: Any) -> None:
        db, session, user = alice
        session.execute(
            text("UPDATE users SET name = :name WHERE id = :id"), {"name": "Bob", "id": 1}
        )
        assert db.inside(session, lambda: user.name) == "Bob"

    def test_many_parameters(self, alice: Any) -> None:
        db, session, user = alice
        both = [{"name": "Eve", "id": 7}, {"name": "Bob", "id": 1}]
        session.execute(text("UPDATE users SET name = :name WHERE id = :id"), both)
        assert db.inside(session, lambda: user.name) == "Bob"

    def test_row_that_is_gone(self, alice: Any) -> None:
        _, session, _user = alice
        session.execute(text("DELETE FROM users"))
        assert session.get(User, 1) is None

    def test_one_statement_reads_it_anew(self, alice: Any) -> None:
        db, session, user = alice
        session.execute(text(RENAME))
        with db.statements() as seen:
            db.inside(session, lambda: (user.name, user.balance))
        assert len(seen) == 1

    def test_by_another_session_on_the_connection(self, alice: Any) -> None:
        db, session, user = alice
        if db.driver.is_async:
            connection = session.run_sync(lambda sync: sync.connection())
        else:
            connection = session.connection()
        other = PlainSession(connection, join_transaction_mode="rollback_only")
        db.inside(session, lambda: (other.execute(text(RENAME)), other.close()))
        assert db.inside(session, lambda: user.name) == "Bob"


class TestKept:
    def test_other_objects_changes(self, alice: Any) -> None:
        db, session, user = alice
        with unflushed(session):
            other = User(id=2, name="Carol")
            session.add(other)
            session.connection().execute(text(RENAME))
            assert other in session.new
            assert db.inside(session, lambda: user.name) == "Bob"

    @pytest.mark.parametrize("way", ["connection", "driver sql"])
    def test_other_attributes_changes(self, alice: Any, way: str) -> None:
        db, session, user = alice
        user.balance = 99
        WAYS[way](session, RENAME)
        assert user in session.dirty
        assert db.inside(session, lambda: (user.name, user.balance)) == ("Bob", 99)
        session.commit()
        assert db.inside(session, lambda: (user.name, user.balance)) == ("Bob", 99)

    def test_a_change_of_the_same_attribute_is_written(self, alice: Any) -> None:
        db, session, user = alice
        user.name = "Carol"
        session.connection().execute(text(RENAME))
        assert user.name == "Carol"
        session.commit()
        assert db.names() == ["Carol"]

    def test_back_to_the_value_it_had_is_a_change_then(self, alice: Any) -> None:
        """What it was loaded with is not what the row has now."""
        db, session, user = alice
        user.name = "Carol"
        session.connection().execute(text(RENAME))
        user.name = "Alice"
        session.commit()
        assert db.names() == ["Alice"]

    def test_a_change_that_is_none_is_not_kept(self, alice: Any) -> None:
        db, session, user = alice
        user.name = "Carol"
        user.name = "Alice"
        session.connection().execute(text(RENAME))
        assert db.inside(session, lambda: user.name) == "Bob"
        session.commit()
        assert db.names() == ["Bob"]

    def test_a_failed_statement_expires_nothing(self, alice: Any) -> None:
        _, session, user = alice
        session.add(User(id=2, name="Eve"))
        session.flush()
        with pytest.raises(IntegrityError):
            session.execute(text("UPDATE users SET name = 'Eve' WHERE id = 1"))
        assert user.name == "Alice"
        session.rollback()


class TestReads:
    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT * FROM users",
            "SELECT count(*), max(name), upper(name) FROM users GROUP BY name",
            "WITH them AS (SELECT 'DELETE FROM users' AS said) SELECT * FROM them",
            "SELECT 'UPDATE users SET name = 1' -- DELETE FROM users",
        ],
    )
    def test_select_expires_nothing(self, alice: Any, statement: str) -> None:
        db, session, user = alice
        for way in (session.execute, session.connection().execute):
            way(text(statement)).all()
        with db.statements() as seen:
            assert (user.name, user.balance) == ("Alice", 10)
        assert not seen

    def test_constructs(self, alice: Any) -> None:
        _, session, user = alice
        session.execute(select(func.count()).select_from(User)).all()
        session.execute(select(User.name, literal_column("1"))).all()
        session.execute(select(func.upper("a"))).all()
        assert user.name == "Alice"

    def test_another_table(self, club: Database) -> None:
        with session_of(club) as session:
            note = session.get(Note, 1)
            session.execute(text("UPDATE club_room SET name = 'x'"))
            session.execute(text("INSERT INTO club_badge (id, name) VALUES (3, 'bronze')"))
            with club.statements() as seen:
                assert note.text == "note 1"
            assert not seen


class TestOtherStatements:
    """What the databases have besides UPDATE."""

    def check(self, alice: Any, statement: str, name: str | None = "Bob") -> None:
        db, session, user = alice
        session.connection().exec_driver_sql(statement)
        if name is None:
            assert session.get(User, 1) is None
        else:
            assert db.inside(session, lambda: user.name) == name

    @on("sqlite", "mariadb")
    def test_replace(self, alice: Any) -> None:
        self.check(alice, "REPLACE INTO users (id, name, balance) VALUES (1, 'Bob', 0)")

    @on("sqlite", "postgresql")
    def test_on_conflict(self, alice: Any) -> None:
        self.check(
            alice,
            "INSERT INTO users (id, name, balance) VALUES (1, 'x', 0) "
            "ON CONFLICT (id) DO UPDATE SET name = 'Bob'",
        )

    @on("mariadb")
    def test_on_duplicate_key(self, alice: Any) -> None:
        self.check(
            alice,
            "INSERT INTO users (id, name, balance) VALUES (1, 'x', 0) "
            "ON DUPLICATE KEY UPDATE name = 'Bob'",
        )

    @on("postgresql")
    def test_merge(self, alice: Any) -> None:
        self.check(
            alice,
            "MERGE INTO users u USING (VALUES (1, 'Bob')) AS v (id, name) ON u.id = v.id "
            "WHEN MATCHED THEN UPDATE SET name = v.name",
        )

    @on("postgresql")
    def test_writable_cte(self, alice: Any) -> None:
        self.check(
            alice,
            "WITH done AS (UPDATE users SET name = 'Bob' RETURNING id) SELECT count(*) FROM done",
        )

    @on("postgresql")
    def test_truncate(self, alice: Any) -> None:
        self.check(alice, "TRUNCATE users CASCADE", None)

    @on("postgresql")
    def test_do(self, alice: Any) -> None:
        self.check(alice, "DO $$ BEGIN UPDATE users SET name = 'Bob'; END $$")

    @on("postgresql", "mariadb")
    def test_call(self, alice: Any) -> None:
        db, session, user = alice
        body = "UPDATE users SET name = 'Bob'"
        if db.driver.server == "postgresql":
            make = f"CREATE OR REPLACE PROCEDURE rename_all() LANGUAGE SQL AS $$ {body} $$"
        else:
            make = f"CREATE OR REPLACE PROCEDURE rename_all() {body}"
        session.connection().exec_driver_sql(make)  # MariaDB commits here
        assert session.get(User, 1) is user
        self.check(alice, "CALL rename_all()")
        session.connection().exec_driver_sql("DROP PROCEDURE rename_all")

    @on("postgresql")
    @pytest.mark.parametrize("as_text", [True, False])
    def test_function(self, alice: Any, as_text: bool) -> None:
        db, session, user = alice
        session.connection().exec_driver_sql(
            "CREATE FUNCTION rename_one(integer) RETURNS integer LANGUAGE SQL AS "
            "$$ UPDATE users SET name = 'Bob' WHERE id = $1; SELECT 1 $$"
        )
        call = text("SELECT rename_one(1)") if as_text else select(func.rename_one(1))
        session.execute(call).all()
        assert db.inside(session, lambda: user.name) == "Bob"
        session.rollback()

    @on("mariadb")
    def test_update_of_several_tables(self, club: Database) -> None:
        with session_of(club) as session:
            member, note = session.get(Member, 10), session.get(Note, 1)
            session.execute(
                text(
                    "UPDATE club_member m JOIN club_note n ON n.member_id = m.id "
                    "SET m.name = 'Bob', n.text = 'his'"
                )
            )
            assert club.inside(session, lambda: (member.name, note.text)) == ("Bob", "his")

    @on("psycopg")
    def test_copy(self, club: Database) -> None:
        with session_of(club) as session:
            one = session.get(Club, 1)
            assert len(one.rooms) == 1
            session.connection().exec_driver_sql(
                "COPY club_room FROM PROGRAM 'echo 9,new,1' (FORMAT csv)"
            )
            assert [room.id for room in one.rooms] == [1, 9]

    @on("psycopg")
    def test_copy_by_cursor(self, club: Database) -> None:
        with session_of(club) as session:
            one = session.get(Club, 1)
            assert len(one.rooms) == 1
            with session.cursor() as cursor:
                with cursor.copy("COPY club_room FROM STDIN") as copy:
                    copy.write_row((9, "new", 1))
            assert [room.id for room in one.rooms] == [1, 9]


class TestWhatFollows:
    """Foreign keys and relationships lead to other objects."""

    def test_on_delete_cascade(self, club: Database) -> None:
        with session_of(club) as session:
            kept = [session.get(Member, 10), session.get(Note, 1), session.get(Room, 1)]
            session.execute(text("DELETE FROM club_club WHERE id = 1"))
            assert session.get(Member, 10) is None
            assert session.get(Note, 1) is None
            assert club.inside(session, lambda: kept[2].club_id) is None

    def test_joined_inheritance(self, club: Database) -> None:
        with session_of(club) as session:
            staff = session.get(Staff, 11)
            session.execute(text("UPDATE club_staff SET desk = 7"))
            session.execute(text("UPDATE club_member SET name = 'Bob'"))
            assert club.inside(session, lambda: (staff.desk, staff.name)) == (7, "Bob")

    def test_collection(self, club: Database) -> None:
        with session_of(club) as session:
            one = session.get(Club, 1)
            assert club.inside(session, lambda: [room.id for room in one.rooms]) == [1]
            session.execute(insert(Room.__table__).values(id=9, name="new", club_id=1))
            with club.statements() as seen:
                assert one.name == "club 1"
                assert not seen
                assert club.inside(session, lambda: [room.id for room in one.rooms]) == [1, 9]

    def test_orm_insert(self, club: Database) -> None:
        with session_of(club) as session:
            one = session.get(Club, 1)
            assert club.inside(session, lambda: len(one.rooms)) == 1
            session.execute(insert(Room), [{"id": 9, "name": "new", "club_id": 1}])
            assert club.inside(session, lambda: len(one.rooms)) == 2

    def test_secondary(self, club: Database) -> None:
        with session_of(club) as session:
            member = session.get(Member, 10)
            assert club.inside(session, lambda: len(member.badges)) == 2
            session.execute(delete(member_badge).where(member_badge.c.badge_id == 1))
            assert club.inside(session, lambda: [one.id for one in member.badges]) == [2]
            session.execute(text("DELETE FROM club_badge"))
            assert club.inside(session, lambda: member.badges) == []

    def test_many_to_one(self, club: Database) -> None:
        with session_of(club) as session:
            member = session.get(Member, 10)
            assert club.inside(session, lambda: member.club.id) == 1
            session.execute(text("UPDATE club_member SET club_id = 2"))
            assert club.inside(session, lambda: member.club.id) == 2

    def test_a_relationship_of_the_primary_key_stays(self, club: Database) -> None:
        with session_of(club) as session:
            one = session.get(Club, 1)
            club.inside(session, lambda: one.rooms)
            session.execute(text("UPDATE club_club SET city = 'Bonn'"))
            assert "rooms" in inspect(one).dict
            assert club.inside(session, lambda: one.city) == "Bonn"

    def test_column_property(self, club: Database) -> None:
        with session_of(club) as session:
            one = session.get(Club, 1)
            assert one.size == 2
            session.execute(text("DELETE FROM club_member WHERE id = 10"))
            assert club.inside(session, lambda: one.size) == 1

    def test_a_changed_collection_is_whole_after_the_flush(self, club: Database) -> None:
        with session_of(club) as session:
            one = session.get(Club, 1)
            club.inside(session, lambda: one.rooms)
            with unflushed(session):
                one.rooms.append(Room(id=8, name="mine"))
                session.connection().execute(
                    text("INSERT INTO club_room (id, name, club_id) VALUES (9, 'theirs', 1)")
                )
                assert club.inside(session, lambda: [room.id for room in one.rooms]) == [1, 8]
            session.flush()
            assert club.inside(session, lambda: [room.id for room in one.rooms]) == [1, 8, 9]


class TestSynchronized:
    """ORM UPDATE and DELETE: SQLAlchemy sees to the objects, we to what follows."""

    def test_no_statement_is_added(self, alice: Any) -> None:
        db, session, user = alice
        session.execute(update(User).where(User.id == 1).values(name="Bob"))
        with db.statements() as seen:
            assert (user.name, user.balance) == ("Bob", 10)
        assert not seen

    def test_cascade(self, club: Database) -> None:
        with session_of(club) as session:
            kept = session.get(Room, 1), session.get(Member, 10)
            session.execute(delete(Club).where(Club.id == 1))
            assert session.get(Member, 10) is None
            assert club.inside(session, lambda: kept[0].club_id) is None

    def test_collection(self, club: Database) -> None:
        with session_of(club) as session:
            one = session.get(Club, 1)
            assert club.inside(session, lambda: len(one.rooms)) == 1
            session.execute(update(Room).values(club_id=2))
            assert club.inside(session, lambda: len(one.rooms)) == 0

    def test_a_caller_who_wants_nothing_of_it(self, alice: Any) -> None:
        _, session, user = alice
        statement = update(User).where(User.id == 1).values(name="Bob")
        session.execute(statement, execution_options={"synchronize_session": False})
        assert user.name == "Alice"


class TestSavepoints:
    def test_what_it_has_undone(self, alice: Any) -> None:
        db, session, user = alice
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            session.execute(text(RENAME))
            assert db.inside(session, lambda: user.name) == "Bob"
            raise ZeroDivisionError
        assert db.inside(session, lambda: user.name) == "Alice"

    def test_what_one_inside_it_has_released(self, alice: Any) -> None:
        db, session, user = alice
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            with session.begin_nested():
                session.execute(text(RENAME))
            assert db.inside(session, lambda: user.name) == "Bob"
            raise ZeroDivisionError
        assert db.inside(session, lambda: user.name) == "Alice"

    def test_released(self, alice: Any) -> None:
        db, session, user = alice
        with session.begin_nested():
            session.execute(text(RENAME))
        assert db.inside(session, lambda: user.name) == "Bob"

    def test_a_row_that_was_made_in_it(self, alice: Any) -> None:
        _, session, _user = alice
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            session.execute(insert(User.__table__).values(id=2, name="Eve", balance=0))
            eve = session.get(User, 2)
            assert eve.name == "Eve"
            raise ZeroDivisionError
        assert session.get(User, 2) is None

    def test_rollback(self, alice: Any) -> None:
        db, session, user = alice
        session.execute(text(RENAME))
        assert db.inside(session, lambda: user.name) == "Bob"
        session.rollback()
        assert db.inside(session, lambda: user.name) == "Alice"


class TestInAFlush:
    def test_a_mapper_event_that_writes_elsewhere(self, club: Database) -> None:
        def move(_mapper: Any, connection: Any, _target: Any) -> None:
            connection.execute(update(Club.__table__).values(city="Bonn"))

        event.listen(Room, "after_insert", move)
        try:
            with session_of(club) as session:
                one = session.get(Club, 1)
                session.add(Room(id=9, name="new"))
                session.flush()
                assert club.inside(session, lambda: one.city) == "Bonn"
        finally:
            event.remove(Room, "after_insert", move)

    def test_a_flush_expires_nothing(self, alice: Any) -> None:
        db, session, user = alice
        other = User(id=2, name="Carol")
        session.add(other)
        user.balance = 11
        session.flush()
        with db.statements() as seen:
            assert (user.name, user.balance, other.name) == ("Alice", 11, "Carol")
        assert not seen


def test_an_error_of_the_driver_in_a_cursor(alice: Any) -> None:
    db, session, user = alice
    with session.begin_nested() as savepoint:
        with pytest.raises((DBAPIError, *errors(db))), session.cursor() as cursor:
            cursor.execute(RENAME)
            cursor.execute("UPDATE nonsense SET a = 1")
        savepoint.rollback()
    assert db.inside(session, lambda: user.name) == "Alice"


def unflushed(session: Any) -> Any:
    """Return a block in which nothing is flushed, whatever kind of session it is."""
    return getattr(session, "target", session).no_autoflush


def errors(db: Database) -> tuple[type[Exception], ...]:
    """Return the driver's own errors."""
    return (Exception,) if db.driver.is_async else (db.sync_engine.dialect.loaded_dbapi.Error,)
