"""The tables that a writer is tried with; their names begin with ``sw_conf``."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise.bulk.conformance.values import CASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Table

    from sessionwise import Session
    from sessionwise.bulk.conformance.values import Case

__all__ = ["MODELS", "Base", "drop", "prepare"]


class Base(DeclarativeBase):
    """All classes of the suite."""


def _greeting(context: Any) -> str:
    return f"hello {context.get_current_parameters()['name']}"


def _serial() -> str:
    return uuid.uuid4().hex


class Plain(Base):
    """Ids by the database; a name that may be there once."""

    __tablename__ = "sw_conf_plain"
    __table_args__ = (sa.CheckConstraint("size >= 0", name="sw_conf_size"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(50), unique=True)
    size: Mapped[int | None]


class Child(Base):
    """Refers to a row that must be there."""

    __tablename__ = "sw_conf_child"
    id: Mapped[int] = mapped_column(primary_key=True)
    plain_id: Mapped[int | None] = mapped_column(sa.ForeignKey("sw_conf_plain.id"))


class Defaulted(Base):
    """A default of every kind."""

    __tablename__ = "sw_conf_defaulted"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(50))
    scalar: Mapped[int | None] = mapped_column(default=7)
    called: Mapped[str | None] = mapped_column(sa.String(50), default=_serial)
    seen: Mapped[str | None] = mapped_column(sa.String(90), default=_greeting)
    served: Mapped[str | None] = mapped_column(sa.String(50), server_default="it's served")
    plain: Mapped[str | None] = mapped_column(sa.String(50))


class SqlDefault(Base):
    """A default that is an SQL expression."""

    __tablename__ = "sw_conf_sql_default"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(sa.String(50))
    made: Mapped[str | None] = mapped_column(sa.String(50), default=sa.func.lower("MADE"))


class Generated(Base):
    """Columns that the database computes."""

    __tablename__ = "sw_conf_generated"
    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    width: Mapped[int]
    doubled: Mapped[int] = mapped_column(sa.Computed("width * 2", persisted=True))
    height: Mapped[int | None]


class Named(Base):
    """Attributes that are not called as their columns, and columns that need quoting."""

    __tablename__ = "sw_conf Named-Table"
    id: Mapped[int] = mapped_column("Id", primary_key=True)
    title: Mapped[str | None] = mapped_column("order", sa.String(50))
    mixed: Mapped[str | None] = mapped_column("MixedCase", sa.String(50))
    spaced: Mapped[str | None] = mapped_column("two words", sa.String(50), default="d")
    percent: Mapped[str | None] = mapped_column("per%cent", sa.String(50))
    other: Mapped[str | None] = mapped_column("title", sa.String(50))
    """Its column is called as another one's attribute."""


class InSchema(Base):
    """A table of a schema whose name needs quoting."""

    __tablename__ = "order"
    __table_args__ = ({"schema": "sw_conf Schema"},)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(sa.String(50))


class Paired(Base):
    """A key of two columns."""

    __tablename__ = "sw_conf_paired"
    a: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    b: Mapped[str] = mapped_column(sa.String(20), primary_key=True)
    value: Mapped[str | None] = mapped_column(sa.String(50))


class Keyed(Base):
    """A key that is made in Python."""

    __tablename__ = "sw_conf_keyed"
    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid(), primary_key=True, default=uuid.uuid4)
    name: Mapped[str | None] = mapped_column(sa.String(50))


_PERSON: dict[str, Any] = {"polymorphic_on": "kind", "polymorphic_identity": "person"}
_EMPLOYEE: dict[str, Any] = {"polymorphic_identity": "employee"}


class Person(Base):
    """The first of the tables that an employee has a row in."""

    __tablename__ = "sw_conf_person"
    __mapper_args__ = _PERSON
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(20))
    name: Mapped[str | None] = mapped_column(sa.String(50))


class Employee(Person):
    """The second one."""

    __tablename__ = "sw_conf_employee"
    __mapper_args__ = _EMPLOYEE
    id: Mapped[int] = mapped_column(sa.ForeignKey("sw_conf_person.id"), primary_key=True)
    salary: Mapped[int | None] = mapped_column(default=100)


class Watched(Base):
    """Has mapper events, and a trigger."""

    __tablename__ = "sw_conf_watched"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(sa.String(50))
    note: Mapped[str | None] = mapped_column(sa.String(50))


class Log(Base):
    """What the trigger writes."""

    __tablename__ = "sw_conf_log"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(sa.String(50))


class Guarded(Base):
    """Has row-level security."""

    __tablename__ = "sw_conf_guarded"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(sa.String(50))


class Always(Base):
    """A key that only the database makes."""

    __tablename__ = "sw_conf_always"
    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    name: Mapped[str | None] = mapped_column(sa.String(50))


_ddl: Any = sa.DDL

_LOG = "INSERT INTO sw_conf_log (name) VALUES (NEW.name)"
_TRIGGER = "CREATE TRIGGER sw_conf_watch AFTER INSERT ON sw_conf_watched FOR EACH ROW"
_FUNCTION = f"""
CREATE FUNCTION sw_conf_note() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN {_LOG}; RETURN NEW; END $$
"""
for _dialect, _statements in {
    "sqlite": [f"{_TRIGGER} BEGIN {_LOG}; END"],
    "mysql": [f"{_TRIGGER} {_LOG}"],
    "mariadb": [f"{_TRIGGER} {_LOG}"],
    "postgresql": [_FUNCTION, f"{_TRIGGER} EXECUTE FUNCTION sw_conf_note()"],
}.items():
    for _statement in _statements:
        sa.event.listen(
            Watched.__table__, "after_create", _ddl(_statement).execute_if(dialect=_dialect)
        )


def _model(case: Case) -> type[Any]:
    class Own(DeclarativeBase):
        """For its types are made together with all tables."""

    attributes = {
        "__tablename__": f"sw_conf_v_{case.name}",
        "__doc__": f"Values of the type {case.name}.",
        "id": mapped_column(sa.Integer, primary_key=True, autoincrement=False),
        "value": mapped_column(case.type, nullable=True),
    }
    return type(f"Value_{case.name}", (Own,), attributes)


MODELS: dict[str, type[Any]] = {case.name: _model(case) for case in CASES}
"""A class for each case."""


def prepare(
    run: Callable[[Callable[[Session], Any]], Any], made: set[Table], *models: Any
) -> None:
    """Make the tables of some classes, unless that has been done.

    :param made: those that have been made.
    """
    tables = [model.__table__ for model in models if model.__table__ not in made]

    def make(session: Session) -> None:
        connection = session.connection()
        for schema in {table.schema for table in tables if table.schema}:
            connection.execute(sa.schema.CreateSchema(schema))
        for table in tables:
            table.metadata.create_all(connection, [table])
        session.commit()

    if tables:
        run(make)
        made.update(tables)


def drop(run: Callable[[Callable[[Session], Any]], Any], made: set[Table]) -> None:
    """Drop tables."""

    def unmake(session: Session) -> None:
        connection = session.connection()
        for metadata in {table.metadata for table in made}:
            metadata.drop_all(connection, [table for table in made if table.metadata is metadata])
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("DROP FUNCTION IF EXISTS sw_conf_note")
        for schema in {table.schema for table in made if table.schema}:
            connection.execute(sa.schema.DropSchema(schema))
        session.commit()

    run(unmake)
    made.clear()
