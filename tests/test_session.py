"""The drop-in session among its neighbours: SQLModel, Alembic, pickling, SQLAlchemy's options."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import sqlmodel
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event, insert, orm, select
from sqlalchemy.exc import ArgumentError, InvalidRequestError

import sessionwise
from sessionwise import OptionError, Session, scoped_session, sessionmaker
from tests.backends import Database, on
from tests.model import User

on_sync = on("sqlite3", "psycopg", "psycopg2", "pymysql")


class TestSQLModel:
    """``class S(sessionwise.Session, sqlmodel.Session)`` has the verbs of both."""

    class Both(Session, sqlmodel.Session):
        pass

    @on_sync
    def test_combined(self, db: Database) -> None:
        with self.Both(db.engine, failed_block="contained") as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                session.add(User(name="Bob"))
                session.rollback()
            with session.cursor() as cursor:
                cursor.execute("SELECT 1")
            user = session.exec(sqlmodel.select(User)).one()
            assert (User, (user.id,)) in session.identity_map
            session.commit()
        assert db.names() == ["Alice"]

    @on_sync
    def test_made_by_a_sessionmaker(self, db: Database) -> None:
        maker = sessionmaker(db.engine, class_=self.Both, failed_block="contained")
        with maker() as session:
            assert session.exec(sqlmodel.select(User)).all() == []


class TestSessionmaker:
    def test_makes_our_sessions(self, db: Database) -> None:
        maker = db.maker(failed_block="contained")
        with maker.begin() as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                session.add(User(name="Bob"))
                session.rollback()
        assert db.names() == ["Alice"]

    def test_configure_takes_our_options(self, db: Database) -> None:
        maker = db.maker()
        maker.configure(failed_block="contained")
        with maker() as session:
            session.add(User(name="Alice"))
            try:
                with session.begin_nested():
                    raise ZeroDivisionError
            except ZeroDivisionError:
                session.rollback()
            session.commit()
        assert db.names() == ["Alice"]

    def test_our_option_with_a_class_that_is_not_ours(self) -> None:
        with pytest.raises(OptionError, match=r"orm\.session\.Session does not take failed_block"):
            sessionmaker(class_=orm.Session, failed_block="contained")
        maker = sessionmaker(class_=orm.Session, expire_on_commit=False)
        with pytest.raises(OptionError, match="failed_block"):
            maker.configure(failed_block="contained")

    def test_errors_are_what_sqlalchemy_raises(self) -> None:
        with pytest.raises(ArgumentError):
            Session(failed_block="never")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            sessionmaker(class_=orm.Session, failed_block="contained")


class TestSqlalchemysOptions:
    def test_autobegin_false(self, db: Database) -> None:
        with db.session(autobegin=False) as session:
            with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
                session.scalars(select(User))
            with session.begin():
                session.add(User(name="Alice"))
                with session.begin_nested():
                    session.add(User(name="Bob"))
                    session.rollback()
                    session.add(User(name="Carol"))
                    session.commit()
            with pytest.raises(InvalidRequestError, match="Autobegin is disabled"):
                session.scalars(select(User))
        assert db.names() == ["Alice", "Carol"]

    def test_close_resets_only_false(self, db: Database) -> None:
        session = db.session(close_resets_only=False)
        with session.begin_nested():
            session.add(User(name="Alice"))
            session.commit()
        session.commit()
        session.reset()
        session.add(User(name="Bob"))
        session.commit()
        session.close()
        with pytest.raises(InvalidRequestError, match="permanently closed"):
            session.scalars(select(User))
        assert db.names() == ["Alice", "Bob"]

    def test_expire_on_commit(self, db: Database) -> None:
        with db.session(expire_on_commit=False) as session:
            alice = User(name="Alice")
            session.add(alice)
            with session.begin_nested():
                session.commit()
            session.commit()
            with db.statements() as seen:
                assert alice.name == "Alice"
            assert seen == []

    @on("psycopg", "psycopg2", "pymysql")
    def test_twophase(self, db: Database) -> None:
        """By the drivers for which SQLAlchemy has two-phase commit; SQLite has none."""
        with db.session(twophase=True) as session:
            session.add(User(name="Alice"))
            with session.begin_nested():
                session.add(User(name="Bob"))
                session.rollback()
                with pytest.raises(InvalidRequestError, match="can't prepare"):
                    session.prepare()
            session.prepare()
            session.commit()
        assert db.names() == ["Alice"]


@on_sync
def test_scoped_session(db: Database) -> None:
    """For ``async_scoped_session``, which needs a running task, see test_asyncio.py."""
    registry = scoped_session(sessionmaker(db.engine))
    registry.add(User(name="Alice"))
    with registry.begin_nested():
        registry.add(User(name="Bob"))
        registry.rollback()
    with registry.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM users")
        assert tuple(cursor.fetchone()) == (1,)
    registry.commit()
    registry.remove()
    assert db.names() == ["Alice"]


def test_objects_pickle(db: Database) -> None:
    with db.session() as session:
        session.add(User(name="Alice"))
        session.commit()
        alice = session.scalars(select(User)).one()
        with session.begin_nested():
            pickled = pickle.dumps(alice)
    copy = pickle.loads(pickled)
    assert copy.name == "Alice"
    with db.session() as session:
        session.add(copy)
        copy.name = "Alice again"
        session.commit()
    assert db.names() == ["Alice again"]


def test_an_exception_that_left_a_block_pickles(db: Database) -> None:
    with db.session() as session:
        with pytest.raises(ZeroDivisionError) as caught, session.begin_nested():
            raise ZeroDivisionError("in a block")
    assert str(pickle.loads(pickle.dumps(caught.value))) == "in a block"


MIGRATION = """
import sqlalchemy as sa
from alembic import op
from sessionwise import Session

revision = "1"
down_revision = None

def upgrade():
    op.create_table("pet", sa.Column("name", sa.String(50), primary_key=True))
    with Session(bind=op.get_bind()) as session:
        with session.begin_nested():
            session.execute(sa.text("INSERT INTO pet VALUES ('Rex')"))
            session.rollback()
            session.execute(sa.text("INSERT INTO pet VALUES ('Tom')"))
        session.commit()

def downgrade():
    op.drop_table("pet")
"""

ENVIRONMENT = """
from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
"""


@on_sync
def test_alembic_data_migration(db: Database, tmp_path: Path) -> None:
    """A migration whose data step uses our session on Alembic's own connection."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "1_pets.py").write_text(MIGRATION)
    (tmp_path / "env.py").write_text(ENVIRONMENT)
    (tmp_path / "script.py.mako").write_text("")
    config = Config()
    config.set_main_option("script_location", str(tmp_path))
    engine = create_engine(db.engine.url)
    pet = sqlmodel.table("pet", sqlmodel.column("name"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    with engine.connect() as connection:
        assert connection.scalars(select(pet.c.name)).all() == ["Tom"]
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        connection.commit()
        connection.exec_driver_sql("DROP TABLE alembic_version")
        connection.commit()
    engine.dispose()


def test_events_fire_as_in_sqlalchemy(db: Database) -> None:
    """Each savepoint of a block begins and ends for those who listen."""
    heard: list[tuple[str, bool]] = []

    def note(name: str) -> Any:
        def listener(session: Any, transaction: Any) -> None:
            heard.append((name, transaction.nested))

        return listener

    with db.session() as session:
        sync_session = getattr(session, "sync_session", session)
        event.listen(sync_session, "after_transaction_create", note("create"))
        event.listen(sync_session, "after_transaction_end", note("end"))
        with session.begin_nested():
            session.execute(insert(User).values(name="Alice"))
            session.commit()
        session.commit()
    assert heard == [
        ("create", False),
        ("create", True),
        ("end", True),
        ("create", True),
        ("end", True),
        ("end", False),
    ]


@pytest.mark.parametrize("module", [sessionwise, sessionwise.errors])
def test_exports_are_sorted(module: Any) -> None:
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
