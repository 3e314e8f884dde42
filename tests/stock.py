"""A stock of items: tables with unique keys, versions, and defaults of either kind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from sqlalchemy import Column, Computed, Integer, String, Table, UniqueConstraint, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.backends import Database

revisions = count(1)


class Base(DeclarativeBase):
    pass


class Item(Base):
    """An item of the stock, known by its code; a barcode is its own, too."""

    __tablename__ = "stock_item"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    barcode: Mapped[str | None] = mapped_column(String(20), unique=True)
    label: Mapped[str | None] = mapped_column("name", String(50))
    pieces: Mapped[int] = mapped_column(default=7, server_default="8")
    twice: Mapped[int | None] = mapped_column(Integer, Computed("pieces * 2"))


class Part(Base):
    """Parts have versions, and note each change."""

    __tablename__ = "stock_part"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(20), unique=True)
    pieces: Mapped[int] = mapped_column(default=0)
    other: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(10), default="new", onupdate="changed")
    length: Mapped[int | None] = mapped_column(onupdate=func.length("four"))
    revision: Mapped[int | None] = mapped_column(onupdate=lambda: next(revisions))
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


class Place(Base):
    """A place, by shelf and box; a box may be missing."""

    __tablename__ = "stock_place"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf: Mapped[str] = mapped_column(String(10))
    box: Mapped[int | None]
    kind: Mapped[str] = mapped_column(String(10), default="place")
    note: Mapped[str | None] = mapped_column(String(50))
    __table_args__ = (UniqueConstraint("shelf", "box"),)
    __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "place"}


class Cellar(Place):
    __mapper_args__ = {"polymorphic_identity": "cellar"}


price = Table(
    "stock_price",
    Base.metadata,
    Column("code", String(20), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("price", Integer, nullable=False),
)


def empty(db: Database) -> None:
    """Make the tables, where they are missing, and empty them."""
    Base.metadata.create_all(db.observer)
    with db.observer.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


def stored(db: Database, *columns: Any) -> list[tuple[Any, ...]]:
    """Return what is stored, as another connection sees it, in the order of the first column."""
    with db.observer.connect() as connection:
        return sorted(map(tuple, connection.execute(select(*columns))))


def run(session: Any, verb: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a verb with a session, or with what an async session has inside."""
    if hasattr(session, "run_sync"):
        return session.run_sync(lambda sync: verb(sync, *args, **options))
    return verb(session, *args, **options)


def temporary_tables(db: Database, session: Any) -> list[Any]:
    """Return the temporary tables that the session's connection has; of MariaDB how many."""
    connection = session.connection()
    if db.driver.server == "mariadb":  # it does not list them
        found = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Com_%%_temporary_table'")
        done = dict(map(tuple, found))
        left = int(done["Com_create_temporary_table"]) - int(done["Com_drop_temporary_table"])
        return [left] if left else []
    query = {
        "sqlite": "SELECT name FROM sqlite_temp_master",
        "postgresql": "SELECT relname FROM pg_class WHERE pg_my_temp_schema() = relnamespace",
    }[db.driver.server]
    return list(connection.exec_driver_sql(query).scalars())
