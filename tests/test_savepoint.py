"""Technique 11: what a savepoint block keeps and undoes, on every driver, sync and async."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import (
    IntegrityError,
    InvalidRequestError,
    OperationalError,
    PendingRollbackError,
)
from sqlalchemy.orm import SessionTransaction

from sessionwise import OptionError, OuterRollbackWarning, Session
from tests.backends import Database, on
from tests.model import Order, User

JOIN_MODES = ("conditional_savepoint", "rollback_only", "control_fully", "create_savepoint")


def first_words(statements: list[str]) -> list[str]:
    return [statement.split()[0] for statement in statements]


class TestRollbackInBlock:
    @pytest.mark.parametrize("spelling", ["session", "transaction"])
    def test_undoes_the_block_and_nothing_else(self, db: Database, spelling: str) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.begin_nested() as savepoint:
                session.add(User(name="Bob"))
                session.flush()
                (session if spelling == "session" else savepoint).rollback()
            session.commit()
        assert db.names() == ["Alice"]

    def test_undoes_what_was_not_flushed(self, db: Database) -> None:
        """The guide's own listing: Bob is pending when the block is rolled back."""
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                session.add(User(name="Bob"))
                session.rollback()
            session.commit()
        assert db.names() == ["Alice"]

    def test_opens_a_fresh_savepoint_for_the_rest(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                session.add(User(name="Bob"))
                session.rollback()
                session.add(User(name="Carol"))
            session.commit()
        assert db.names() == ["Alice", "Carol"]

    def test_after_a_failed_flush_the_block_goes_on(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                session.add(User(name="Alice"))
                with pytest.raises(IntegrityError):
                    session.flush()
                with pytest.raises(InvalidRequestError):
                    session.scalars(select(User))
                with pytest.raises(PendingRollbackError):
                    session.commit()
                session.rollback()
                session.add(User(name="Carol"))
            session.commit()
        assert db.names() == ["Alice", "Carol"]

    def test_restores_the_objects(self, db: Database) -> None:
        with db.session() as session:
            db.read_committed(session)
            alice = User(name="Alice", balance=1)
            session.add(alice)
            with session.begin_nested():
                alice.balance = 2
                bob = User(name="Bob")
                session.add(bob)
                session.flush()
                session.rollback()
                assert bob not in session
                session.refresh(alice)
                assert alice.balance == 1
            session.commit()


class TestCommitInBlock:
    @pytest.mark.parametrize("spelling", ["session", "transaction"])
    def test_keeps_the_work_and_the_block_goes_on(self, db: Database, spelling: str) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.begin_nested() as savepoint:
                session.add(User(name="Bob"))
                (session if spelling == "session" else savepoint).commit()
                session.add(User(name="Carol"))
            assert db.names() == [], "commit() in a block must not commit the unit"
            session.commit()
        assert db.names() == ["Alice", "Bob", "Carol"]

    def test_an_exception_afterwards_undoes_only_the_rest(self, db: Database) -> None:
        with db.session() as session:
            with pytest.raises(ZeroDivisionError), session.begin_nested():
                session.add(User(name="Bob"))
                session.commit()
                session.add(User(name="Carol"))
                session.flush()
                raise ZeroDivisionError
            session.commit()
        assert db.names() == ["Bob"]

    def test_outer_rollback_undoes_released_work(self, db: Database) -> None:
        with db.session() as session:
            with session.begin_nested():
                session.execute(insert(User).values(name="Ghost"))
                session.commit()
                session.execute(insert(User).values(name="Spectre"))
            session.rollback()
            session.commit()
        assert db.names() == []


class TestTransactionObject:
    def test_stays_the_same_through_the_block(self, db: Database) -> None:
        with db.session() as session:
            with session.begin_nested() as savepoint:
                target = getattr(savepoint, "target", savepoint)
                assert isinstance(getattr(target, "sync_transaction", target), SessionTransaction)
                for end in (session.commit, session.rollback, savepoint.commit):
                    assert session.get_nested_transaction() == savepoint
                    assert session.in_nested_transaction()
                    assert savepoint.is_active
                    end()
                assert session.get_nested_transaction() == savepoint
            assert session.get_nested_transaction() is None
            assert not savepoint.is_active
            assert session.in_transaction()

    def test_ends_its_own_block_from_an_inner_one(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.begin_nested() as outer:
                session.add(User(name="Bob"))
                with session.begin_nested() as inner:
                    session.add(User(name="Carol"))
                    outer.rollback()
                    assert session.get_nested_transaction() == inner
                    session.add(User(name="Dan"))
                    session.commit()
                    session.add(User(name="Eve"))
                    session.rollback()
                session.add(User(name="Frank"))
            session.commit()
        assert db.names() == ["Alice", "Dan", "Frank"]

    def test_outer_commit_from_an_inner_block(self, db: Database) -> None:
        with db.session() as session:
            with session.begin_nested() as outer, session.begin_nested():
                session.add(User(name="Alice"))
                outer.commit()
                session.add(User(name="Bob"))
                outer.rollback()
                session.add(User(name="Carol"))
            session.commit()
        assert db.names() == ["Alice", "Carol"]

    def test_commit_of_the_root_ends_the_blocks(self, db: Database) -> None:
        with db.session() as session:
            with session.begin_nested():
                session.add(User(name="Alice"))
                session.get_transaction().commit()
                assert not session.in_transaction()
                with pytest.raises(InvalidRequestError, match="complete the context manager"):
                    session.scalars(select(User))
                with pytest.raises(InvalidRequestError, match="complete the context manager"):
                    session.commit()
                session.rollback()
            session.add(User(name="Bob"))
            session.commit()
        assert db.names() == ["Alice", "Bob"]


class TestDepth:
    def test_three_blocks(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="zero"))
            with session.begin_nested():
                session.add(User(name="one"))
                with session.begin_nested():
                    session.add(User(name="two"))
                    with session.begin_nested():
                        session.add(User(name="three"))
                        session.rollback()
                        session.add(User(name="three again"))
                        session.commit()
                    session.commit()
                    session.add(User(name="two again"))
                    session.rollback()
                session.add(User(name="one again"))
            session.commit()
        assert db.names() == ["one", "one again", "three again", "two", "zero"]

    def test_exception_through_three_blocks(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="zero"))
            with session.begin_nested():
                session.add(User(name="one"))
                with pytest.raises(ZeroDivisionError), session.begin_nested():
                    session.add(User(name="two"))
                    with session.begin_nested():
                        session.add(User(name="three"))
                        session.commit()
                        raise ZeroDivisionError
            session.commit()
        assert db.names() == ["one", "zero"]

    def test_unentered_savepoints_end_with_the_block(self, db: Database) -> None:
        with db.session() as session:
            with session.begin_nested() as block:
                session.add(User(name="Alice"))
                session.begin_nested()
                session.add(User(name="Bob"))
                session.begin_nested()
                session.add(User(name="Carol"))
                session.commit()
                assert session.get_nested_transaction() == block
                session.begin_nested()
                session.add(User(name="Dan"))
                session.flush()
                session.rollback()
                assert session.get_nested_transaction() == block
            session.commit()
        assert db.names() == ["Alice", "Bob", "Carol"]

    def test_an_unentered_savepoint_ends_by_itself(self, db: Database) -> None:
        with db.session() as session:
            with session.begin_nested() as block:
                session.add(User(name="Alice"))
                unentered = session.begin_nested()
                session.add(User(name="Bob"))
                session.flush()
                unentered.rollback()
                assert session.get_nested_transaction() == block
            session.commit()
        assert db.names() == ["Alice"]

    def test_an_unentered_savepoint_takes_the_block_inside_along(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            unentered = session.begin_nested()
            with session.begin_nested():
                session.add(User(name="Bob"))
                session.flush()
                unentered.rollback()
                with pytest.raises(InvalidRequestError, match="complete the context manager"):
                    session.commit()
                session.rollback()
            session.commit()
        assert db.names() == ["Alice"]


class TestOutsideOfABlock:
    """Without ``with`` all is as in SQLAlchemy."""

    def test_commit_and_rollback_end_the_unit(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            session.begin_nested()
            session.add(User(name="Bob"))
            session.commit()
            assert not session.in_transaction()
            session.add(User(name="Carol"))
            session.begin_nested()
            session.rollback()
            assert not session.in_transaction()
        assert db.names() == ["Alice", "Bob"]

    def test_the_transaction_ends_itself(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            savepoint = session.begin_nested()
            session.add(User(name="Bob"))
            session.flush()
            savepoint.rollback()
            assert not savepoint.is_active
            savepoint = session.begin_nested()
            session.add(User(name="Carol"))
            savepoint.commit()
            assert not savepoint.is_active
            session.commit()
        assert db.names() == ["Alice", "Carol"]

    def test_begin_block_is_unchanged(self, db: Database) -> None:
        with db.session() as session:
            with session.begin():
                session.add(User(name="Alice"))
                with session.begin_nested():
                    session.add(User(name="Bob"))
                    session.rollback()
                with session.begin_nested():
                    session.add(User(name="Carol"))
                    session.commit()
            assert db.names() == ["Alice", "Carol"]
            with session.begin():
                session.add(User(name="Dan"))
                session.commit()
                with pytest.raises(InvalidRequestError, match="complete the context manager"):
                    session.scalars(select(User))
        assert db.names() == ["Alice", "Carol", "Dan"]

    def test_exception_through_a_begin_block(self, db: Database) -> None:
        with db.session() as session, pytest.raises(ZeroDivisionError), session.begin():
            session.add(User(name="Alice"))
            with session.begin_nested():
                session.add(User(name="Bob"))
                raise ZeroDivisionError
        assert db.names() == []


def test_a_block_that_cannot_be_reopened_has_ended(db: Database) -> None:
    """A listener leaves behind what cannot be flushed, where the fresh savepoint opens."""

    def add_a_duplicate(session: Session) -> None:
        session.add(User(name="Alice"))

    with db.session() as session:
        session.add(User(name="Alice"))
        session.flush()
        sync_session = getattr(session, "sync_session", session)
        event.listen(sync_session, "after_commit", add_a_duplicate)
        with pytest.raises(IntegrityError), session.begin_nested():
            session.add(User(name="Bob"))
            session.commit()
        event.remove(sync_session, "after_commit", add_a_duplicate)
        with pytest.raises(PendingRollbackError):
            session.commit()
        session.rollback()
        session.add(User(name="Carol"))
        session.commit()
    assert db.names() == ["Carol"]


class TestClose:
    @pytest.mark.parametrize("verb", ["close", "reset"])
    def test_ends_the_block(self, db: Database, verb: str) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                session.add(User(name="Bob"))
                session.flush()
                getattr(session, verb)()
                assert not session.in_transaction()
                with pytest.raises(InvalidRequestError, match="complete the context manager"):
                    session.commit()
            session.add(User(name="Carol"))
            session.commit()
        assert db.names() == ["Carol"]

    def test_close_that_is_final(self, db: Database) -> None:
        session = db.session(close_resets_only=False)
        with session.begin_nested():
            session.add(User(name="Bob"))
            session.flush()
            session.close()
        with pytest.raises(InvalidRequestError, match="permanently closed"):
            session.scalars(select(User))
        assert db.names() == []


def test_prepare_in_a_block_is_an_error(db: Database) -> None:
    with db.session() as session:
        sync_session = getattr(session, "sync_session", session)
        with session.begin_nested():
            with pytest.raises(InvalidRequestError, match="can't prepare"):
                sync_session.prepare()
            session.add(User(name="Alice"))
        session.commit()
    assert db.names() == ["Alice"]


@pytest.mark.parametrize("mode", JOIN_MODES)
@pytest.mark.parametrize("outer", ["commit", "rollback"])
def test_joined_external_transaction(db: Database, mode: str, outer: str) -> None:
    """Blocks work alike whatever the session's own end does to the transaction it joined."""
    with db.connection() as connection:
        transaction = connection.begin()
        bind = getattr(connection, "target", connection)
        with db.session(bind, join_transaction_mode=mode) as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                session.add(User(name="Bob"))
                session.rollback()
                session.add(User(name="Carol"))
                session.commit()
                session.add(User(name="Dan"))
                session.flush()
                session.rollback()
            session.commit()
        if transaction.is_active:
            getattr(transaction, outer)()
    kept = outer == "commit" or mode == "control_fully"
    assert db.names() == (["Alice", "Carol"] if kept else [])


class TestStatements:
    def test_are_those_of_the_savepoints_and_no_more(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            session.flush()
            with db.statements() as seen:
                with session.begin_nested():
                    session.execute(insert(User).values(name="Bob"))
                    session.commit()
                    session.commit()
                    session.execute(insert(User).values(name="Carol"))
                    session.rollback()
                session.commit()
        savepoint = ["SAVEPOINT", "INSERT"]
        assert first_words(seen) == [*savepoint, "RELEASE", *savepoint, "ROLLBACK"]

    def test_a_block_without_a_statement_sends_none(self, db: Database) -> None:
        with db.session() as session:
            with db.statements() as seen, session.begin_nested():
                session.commit()
                session.rollback()
            assert seen == []

    def test_on_sqlite_the_first_savepoint_begins_a_transaction(self, db: Database) -> None:
        with db.session() as session, db.statements() as seen:
            with session.begin_nested():
                session.execute(insert(User).values(name="Alice"))
            session.rollback()
        begin = ["BEGIN"] if db.driver.server == "sqlite" else []
        assert first_words(seen) == [*begin, "SAVEPOINT", "INSERT", "RELEASE"]


class TestGuideScenarios:
    """The guide's two listings, whose ``rollback()`` stands in the ``except`` clause."""

    def place_order(self, session: Session, balance: int) -> None:
        user = User(name="Alice", balance=balance)
        session.add(user)
        session.flush()
        try:
            with session.begin_nested():
                order = Order(user_id=user.id, amount=100)
                session.add(order)
                if order.amount > balance:
                    raise ValueError("Insufficient balance")
                session.commit()
        except ValueError:
            session.rollback()
        session.commit()

    def insert_batch(self, session: Session) -> None:
        for name in ("Alice", "Bob", "Alice", "Carol"):
            try:
                with session.begin_nested():
                    session.add(User(name=name))
                    session.commit()
            except IntegrityError:
                session.rollback()
        session.commit()

    def test_partial_rollback_contained(self, db: Database) -> None:
        with db.session(failed_block="contained") as session:
            self.place_order(session, balance=10)
            assert session.scalars(select(Order)).all() == []
        assert db.names() == ["Alice"]

    def test_partial_rollback_by_default(self, db: Database) -> None:
        places = r"rollback\(\) at .+\.py:\d+ .* block at .+\.py:\d+:"
        with db.session() as session, pytest.warns(OuterRollbackWarning, match=places):
            self.place_order(session, balance=10)
        assert db.names() == []

    def test_order_that_succeeds(self, db: Database) -> None:
        with db.session() as session:
            self.place_order(session, balance=1000)
            assert session.scalars(select(Order.amount)).all() == [100]
        assert db.names() == ["Alice"]

    def test_batch_contained(self, db: Database) -> None:
        with db.session(failed_block="contained") as session:
            self.insert_batch(session)
        assert db.names() == ["Alice", "Bob", "Carol"]

    def test_batch_by_default(self, db: Database) -> None:
        with db.session() as session, pytest.warns(OuterRollbackWarning):
            self.insert_batch(session)
        assert db.names() == ["Carol"]


def fail_a_block(session: Session, error: BaseException | None = None) -> None:
    with session.begin_nested():
        session.add(User(name="Bob"))
        session.flush()
        raise error or ZeroDivisionError


class TestOuterRollbackWarning:
    def test_comes_after_the_rollback(self, db: Database) -> None:
        """A warning that is an error must not stop the rollback it warns of."""
        with db.session() as session:
            session.add(User(name="Alice"))
            with pytest.raises(OuterRollbackWarning):
                try:
                    fail_a_block(session)
                except ZeroDivisionError:
                    session.rollback()
            assert not session.in_transaction()
            session.commit()
        assert db.names() == []

    @pytest.mark.parametrize("road", ["session", "connection", "text", "driver"])
    def test_knows_outer_work_whatever_its_road(self, db: Database, road: str) -> None:
        statement = text("INSERT INTO users (name, balance) VALUES ('Alice', 0)")
        with db.session() as session:
            if road == "session":
                session.execute(insert(User).values(name="Alice"))
            elif road == "connection":
                session.connection().execute(insert(User).values(name="Alice"))
            elif road == "text":
                session.execute(statement)
            else:
                with session.cursor() as cursor:
                    cursor.execute(statement.text)
            with pytest.warns(OuterRollbackWarning):
                try:
                    fail_a_block(session)
                except ZeroDivisionError:
                    session.rollback()

    def test_knows_outer_work_that_is_not_flushed(self, db: Database) -> None:
        with db.session() as session, pytest.warns(OuterRollbackWarning):
            try:
                fail_a_block(session)
            except ZeroDivisionError:
                session.add(User(name="Alice"))
                session.rollback()

    def test_not_where_there_is_no_outer_work(self, db: Database) -> None:
        with db.session() as session:
            session.scalars(select(User)).all()
            session.execute(text("SELECT 'update users'"))
            try:
                fail_a_block(session)
            except ZeroDivisionError:
                session.rollback()
            with session.begin_nested():
                session.add(User(name="Carol"))
                session.flush()
                session.rollback()
            try:
                fail_a_block(session)
            except ZeroDivisionError:
                session.rollback()

    def test_not_once_the_session_went_on(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            try:
                fail_a_block(session)
            except ZeroDivisionError:
                pass
            session.scalars(select(User)).all()
            session.rollback()

    def test_not_in_another_unit(self, db: Database) -> None:
        with db.session() as session:
            with pytest.raises(ZeroDivisionError), session.begin_nested():
                raise ZeroDivisionError
            session.commit()
            session.add(User(name="Alice"))
            session.rollback()
        assert db.names() == []

    def test_after_the_except_clause(self, db: Database) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            try:
                fail_a_block(session)
            except ZeroDivisionError:
                pass
            with pytest.warns(OuterRollbackWarning):
                session.rollback()

    def test_in_an_outer_block(self, db: Database) -> None:
        """There ``rollback()`` ends the outer block's savepoint: that is the work it discards."""
        with db.session() as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                try:
                    fail_a_block(session)
                except ZeroDivisionError:
                    session.rollback()  # nothing of the outer block is lost: no warning
                session.add(User(name="Carol"))
                session.flush()
                with pytest.warns(OuterRollbackWarning):
                    try:
                        fail_a_block(session)
                    except ZeroDivisionError:
                        session.rollback()
            session.commit()
        assert db.names() == ["Alice"]


@contextmanager
def deadlock(db: Database) -> Iterator[Any]:
    """Give a function that makes its session the victim of a deadlock over users 1 and 2."""
    other = db.observer.connect()
    lock = "UPDATE users SET balance = balance + 1 WHERE id = {}"
    # The victim is the one that has changed less.
    for number in range(10, 40):
        name = f"weight {number}"
        other.execute(insert(User).values(id=number, name=name))
    other.exec_driver_sql(lock.format(2))

    def lose(session: Any) -> None:
        session.execute(text(lock.format(1)))
        waiting = Thread(target=other.exec_driver_sql, args=[lock.format(1)])
        waiting.start()
        try:
            session.execute(text(lock.format(2)))
        finally:
            waiting.join()

    try:
        yield lose
    finally:
        other.rollback()
        other.close()


class TestContained:
    def test_undoes_nothing_more_once(self, db: Database) -> None:
        with db.session(failed_block="contained") as session:
            session.add(User(name="Alice"))
            try:
                fail_a_block(session)
            except ZeroDivisionError:
                session.rollback()
                session.rollback()
            session.commit()
        assert db.names() == []

    def test_only_for_the_very_exception(self, db: Database) -> None:
        with db.session(failed_block="contained") as session:
            session.add(User(name="Alice"))
            try:
                fail_a_block(session)
            except ZeroDivisionError:
                pass
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", OuterRollbackWarning)
                try:
                    raise ZeroDivisionError
                except ZeroDivisionError:
                    session.rollback()
            session.commit()
        assert db.names() == []

    def test_only_before_any_other_statement(self, db: Database) -> None:
        with db.session(failed_block="contained") as session:
            session.add(User(name="Alice"))
            with pytest.warns(OuterRollbackWarning):
                try:
                    fail_a_block(session)
                except ZeroDivisionError:
                    session.scalars(select(User)).all()
                    session.rollback()
            session.commit()
        assert db.names() == []

    def test_in_an_outer_block(self, db: Database) -> None:
        with db.session(failed_block="contained") as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                session.add(User(name="Carol"))
                try:
                    fail_a_block(session)
                except ZeroDivisionError:
                    session.rollback()
            session.commit()
        assert db.names() == ["Alice", "Carol"]

    def test_not_where_the_connection_is_gone(self, db: Database) -> None:
        with db.session(failed_block="contained") as session:
            session.add(User(name="Alice"))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", OuterRollbackWarning)
                try:
                    with session.begin_nested():
                        session.add(User(name="Bob"))
                        session.flush()
                        session.connection().invalidate()
                        raise ZeroDivisionError
                except ZeroDivisionError:
                    session.rollback()
            assert not session.in_transaction()
        assert db.names() == []

    def test_where_the_end_of_the_block_fails(self, db: Database) -> None:
        """The failing flush is that of the block's own end, not of a statement in it."""
        with db.session(failed_block="contained") as session:
            for name in ("Alice", "Alice", "Bob"):
                try:
                    with session.begin_nested():
                        session.add(User(name=name))
                except IntegrityError:
                    session.rollback()
            session.commit()
        assert db.names() == ["Alice", "Bob"]

    @on("mariadb")
    def test_not_where_a_deadlock_has_ended_the_transaction(self, db: Database) -> None:
        """MariaDB's deadlock victim loses its whole transaction, whatever savepoint it is in."""
        with db.session() as session:
            session.add_all([User(id=1, name="Alice"), User(id=2, name="Bob")])
            session.commit()
        with db.session(failed_block="contained") as session:
            session.add(User(id=3, name="Outer work"))
            session.flush()
            with deadlock(db) as lose:
                try:
                    with session.begin_nested():
                        lose(session)
                except OperationalError:
                    session.rollback()  # there is no other way on: no warning
            assert not session.in_transaction(), "a lost transaction must not go on"
        assert db.names() == ["Alice", "Bob"]

    def test_a_frozen_exception(self, db: Database) -> None:
        class Frozen(Exception):
            def __setattr__(self, name: str, value: object) -> None:
                raise AttributeError(name)

        with db.session(failed_block="contained") as session:
            session.add(User(name="Alice"))
            try:
                fail_a_block(session, Frozen())
            except Frozen:
                session.rollback()
            session.commit()
        assert db.names() == ["Alice"]

    def test_an_option_with_two_values(self, db: Database) -> None:
        with pytest.raises(OptionError, match=r"failed_block='never' .* 'unit' or 'contained'"):
            db.session(failed_block="never")
