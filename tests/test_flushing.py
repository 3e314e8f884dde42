"""A flush fails in a block, the error is swallowed, and the block is left as if all were well."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError, PendingRollbackError

from tests.backends import Database
from tests.model import User


@pytest.fixture
def taken(db: Database) -> Database:
    """Give a database in which the name Taken is taken."""
    with db.session() as session:
        session.add(User(name="Taken"))
        session.commit()
    return db


def fail(session: Any) -> None:
    session.add(User(name="Taken"))
    with pytest.raises(IntegrityError):
        session.flush()


class TestUnit:
    def test_what_was_written_before_is_not_lost_in_silence(self, taken: Database) -> None:
        with taken.session() as session:
            with pytest.raises(PendingRollbackError, match=r"1 statement .*begin_nested") as told:
                with session.begin():
                    session.add(User(name="Alice"))
                    session.flush()
                    fail(session)
            assert isinstance(told.value.__cause__, IntegrityError)
            assert not session.in_transaction()
            session.add(User(name="Bob"))
            session.commit()
        assert taken.names() == ["Bob", "Taken"]

    def test_statements_count_too(self, taken: Database) -> None:
        with taken.session() as session, pytest.raises(PendingRollbackError):
            with session.begin():
                session.execute(insert(User).values(name="Alice"))
                fail(session)

    def test_nothing_else_to_lose(self, taken: Database) -> None:
        with taken.session() as session:
            with session.begin():
                fail(session)
            assert not session.in_transaction()

    def test_a_rollback_takes_note(self, taken: Database) -> None:
        with taken.session() as session, session.begin():
            session.execute(insert(User).values(name="Alice"))
            fail(session)
            session.rollback()
        assert taken.names() == ["Taken"]

    def test_an_error_that_leaves_the_block_is_the_one(self, taken: Database) -> None:
        with taken.session() as session, pytest.raises(ZeroDivisionError), session.begin():
            session.execute(insert(User).values(name="Alice"))
            fail(session)
            raise ZeroDivisionError


class TestSavepoint:
    def test_what_was_written_before_is_not_lost_in_silence(self, taken: Database) -> None:
        with taken.session() as session:
            session.add(User(name="outer"))
            with pytest.raises(PendingRollbackError), session.begin_nested():
                session.add(User(name="Alice"))
                session.flush()
                fail(session)
            session.commit()
        assert taken.names() == ["Taken", "outer"]

    def test_what_was_written_outside_is_not_lost(self, taken: Database) -> None:
        with taken.session() as session:
            session.execute(insert(User).values(name="outer"))
            with session.begin_nested():
                fail(session)
            session.commit()
        assert taken.names() == ["Taken", "outer"]

    def test_a_rollback_takes_note(self, taken: Database) -> None:
        with taken.session() as session:
            with session.begin_nested():
                session.execute(insert(User).values(name="Alice"))
                fail(session)
                session.rollback()
                session.add(User(name="Bob"))
            session.commit()
        assert taken.names() == ["Bob", "Taken"]
