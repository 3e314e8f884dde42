"""on_commit and on_rollback, through every way in which a unit can end, sync and async."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from sessionwise import CommitHookError, CommitUnknownError, Outcome
from sessionwise.transaction import receipt
from tests.backends import Database, on
from tests.model import User
from tests.test_outcome import lossy


class Heard(list[str]):
    """What has been called, in order."""

    def register(self, session: Any, name: str = "") -> None:
        session.on_commit(lambda: self.append(f"commit {name}".strip()))
        session.on_rollback(lambda: self.append(f"rollback {name}".strip()))


@pytest.fixture
def heard() -> Heard:
    return Heard()


class TestRootEnds:
    def test_commit(self, db: Database, heard: Heard) -> None:
        with db.session() as session:
            heard.register(session)
            session.add(User(name="Alice"))
            session.commit()
            assert heard == ["commit"]
            session.commit()
        assert heard == ["commit"]

    def test_rollback(self, db: Database, heard: Heard) -> None:
        with db.session() as session:
            heard.register(session)
            session.rollback()
            assert heard == ["rollback"]

    @pytest.mark.parametrize("verb", ["close", "reset", "invalidate"])
    def test_close(self, db: Database, heard: Heard, verb: str) -> None:
        with db.session() as session:
            session.add(User(name="Alice"))
            session.flush()
            heard.register(session)
            getattr(session, verb)()
            assert heard == ["rollback"]
        assert heard == ["rollback"]

    def test_begin_block(self, db: Database, heard: Heard) -> None:
        with db.session() as session:
            with session.begin():
                heard.register(session)
                session.add(User(name="Alice"))
                assert heard == []
            assert heard == ["commit"]
            with pytest.raises(ZeroDivisionError), session.begin():
                heard.register(session)
                raise ZeroDivisionError
            assert heard == ["commit", "rollback"]

    def test_maker_begin(self, db: Database, heard: Heard) -> None:
        with db.maker().begin() as session:
            heard.register(session)
        with pytest.raises(ZeroDivisionError), db.maker().begin() as session:
            heard.register(session)
            raise ZeroDivisionError
        assert heard == ["commit", "rollback"]

    def test_explicit_commit_in_a_begin_block(self, db: Database, heard: Heard) -> None:
        """The session is of no use before the block is left: so the callbacks wait for that."""
        with db.session() as session:
            with session.begin() as transaction:
                heard.register(session)
                transaction.commit()
                assert heard == []
            assert heard == ["commit"]

    def test_failed_commit(self, db: Database, heard: Heard) -> None:
        with db.session() as session:
            heard.register(session)
            session.add_all([User(name="Alice"), User(name="Alice")])
            with pytest.raises(IntegrityError):
                session.commit()
            assert heard == []
            session.rollback()
            assert heard == ["rollback"]

    def test_they_may_use_the_session(self, db: Database) -> None:
        with db.session() as session:
            sync_session = getattr(session, "sync_session", session)
            names: list[str] = []

            def begin_anew() -> None:
                assert session.outcome is Outcome.COMMITTED
                names.extend(sync_session.scalars(select(User.name)))
                sync_session.add(User(name="Bob"))
                sync_session.commit()

            with session.begin():
                session.add(User(name="Alice"))
                session.on_commit(begin_anew)
        assert names == ["Alice"]
        assert db.names() == ["Alice", "Bob"]

    @on("psycopg", "asyncpg", "pymysql")
    def test_not_where_the_outcome_is_unknown(
        self, db: Database, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(receipt, "SECONDS_TO_RESOLVE", 0.2)
        with lossy(db) as (between, engine), db.session(engine) as session:
            heard.register(session)
            session.add(User(name="Alice"))
            session.flush()
            between.lose("request")
            with pytest.raises(CommitUnknownError):
                session.commit()
            session.rollback()
        assert heard == []


class TestSavepoints:
    def test_wait_for_the_root(self, db: Database, heard: Heard) -> None:
        with db.session() as session:
            heard.register(session, "root")
            with session.begin_nested():
                heard.register(session, "outer")
                session.commit()
                with session.begin_nested():
                    heard.register(session, "inner")
            assert heard == []
            session.commit()
        assert heard == ["commit root", "commit outer", "commit inner"]

    def test_are_forgotten_with_a_savepoint(self, db: Database, heard: Heard) -> None:
        with db.session() as session:
            heard.register(session, "root")
            with session.begin_nested():
                heard.register(session, "rolled back")
                session.rollback()
                heard.register(session, "kept")
            with pytest.raises(ZeroDivisionError), session.begin_nested():
                heard.register(session, "failed")
                raise ZeroDivisionError
            with session.begin_nested():
                with session.begin_nested():
                    heard.register(session, "released inside")
                session.rollback()
            unentered = session.begin_nested()
            heard.register(session, "unentered")
            unentered.rollback()
            session.commit()
        assert heard == ["commit root", "commit kept"]

    def test_unentered_savepoints_commit_with_the_root(self, db: Database, heard: Heard) -> None:
        with db.session() as session:
            session.begin_nested()
            heard.register(session)
            session.commit()
        assert heard == ["commit"]


class TestErrors:
    def test_all_run_and_the_errors_are_raised(self, db: Database, heard: Heard) -> None:
        def fail() -> None:
            heard.append("failing")
            raise ValueError("in a hook")

        with db.session() as session:
            session.add(User(name="Alice"))
            session.on_commit(fail)
            session.on_commit(fail)
            heard.register(session)
            with pytest.raises(CommitHookError, match="COMMITTED") as caught:
                session.commit()
            assert [str(error) for error in caught.value.exceptions] == ["in a hook"] * 2
            assert session.outcome is Outcome.COMMITTED
            assert heard == ["failing", "failing", "commit"]
        assert db.names() == ["Alice"]

    def test_robust_ones_are_logged(
        self, db: Database, heard: Heard, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise ValueError("in a hook")

        with db.session() as session:
            session.on_commit(fail, robust=True)
            heard.register(session)
            with caplog.at_level(logging.ERROR, "sessionwise"):
                session.commit()
        assert heard == ["commit"]
        assert "ValueError: in a hook" in caplog.text

    def test_do_not_hide_the_exception_that_left_the_block(self, db: Database) -> None:
        def fail() -> None:
            raise ValueError("in a hook")

        with (
            db.session() as session,
            pytest.raises(CommitHookError, match="ROLLED_BACK") as caught,
            session.begin(),
        ):
            session.on_rollback(fail)
            raise ZeroDivisionError
        assert isinstance(caught.value.__context__, ZeroDivisionError)


@on("aiosqlite", "asyncpg", "aiomysql")
def test_async_functions(db: Database, heard: Heard) -> None:
    async def hook() -> None:
        session = db.session().target
        async with session:
            heard.extend(await session.scalars(select(User.name)))

    with db.session() as session:
        session.add(User(name="Alice"))
        session.on_commit(hook)
        session.commit()
    assert heard == ["Alice"]


@pytest.mark.parametrize(
    "mode", ["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]
)
@pytest.mark.parametrize("owner", ["commit", "rollback"])
def test_joined_units_wait_for_the_owner(
    db: Database, heard: Heard, mode: str, owner: str
) -> None:
    with db.connection() as connection:
        transaction = connection.begin()
        bind = getattr(connection, "target", connection)
        with db.session(bind, join_transaction_mode=mode) as session:
            session.add(User(name="Alice"))
            heard.register(session)
            session.commit()
        if mode == "control_fully":
            assert heard == ["commit"]
            return
        assert heard == []
        getattr(transaction, owner)()
        assert heard == [owner]


def test_joined_unit_that_is_rolled_back(db: Database, heard: Heard) -> None:
    with db.connection() as connection:
        connection.begin()
        bind = getattr(connection, "target", connection)
        with db.session(bind, join_transaction_mode="create_savepoint") as session:
            session.add(User(name="Alice"))
            heard.register(session)
            session.rollback()
            assert heard == ["rollback"]
