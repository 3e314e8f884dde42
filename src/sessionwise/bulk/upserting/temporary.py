"""A temporary table with the columns of another one, without what constrains them."""

from __future__ import annotations

import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, cast, null, select, true
from sqlalchemy.schema import CreateIndex, CreateTable, CreateTableAs

from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.engine import CursorResult

    from sessionwise.bulk.target import Target

__all__ = ["MYSQL", "TemporaryTable", "execute", "existing"]

MYSQL = frozenset({"mysql", "mariadb"})


def execute(connection: Connection, statement: Any) -> CursorResult[*tuple[Any, ...]]:
    """Execute a statement about a temporary table; which SQLAlchemy need not keep."""
    return connection.execute(statement, execution_options={"compiled_cache": None})


@contextmanager
def existing(temporary: TemporaryTable) -> Iterator[None]:
    """Have a temporary table exist until the block is left, however that ends."""
    temporary.create()
    try:
        yield
    except BaseException:
        temporary.drop_after_an_error()
        raise
    temporary.drop()


class TemporaryTable:
    """A table for the rows of one call."""

    def __init__(
        self,
        connection: Connection,
        target: Target,
        numbers: Sequence[str],
        copies: Mapping[str, Column[Any]] | None = None,
        indexed: Iterable[str] = (),
    ) -> None:
        """Prepare a table.

        :param numbers: names of columns for whole numbers, which it has besides.
        :param copies: names of others, and the columns of the target whose type they have.
        :param indexed: columns that rows are looked up by. MariaDB needs to know them when the
          table is made: to make an index later would commit the transaction.
        """
        self.connection = connection
        self._target = target.table
        self._numbers = numbers
        self._copies = copies or {}
        self._indexed = dict.fromkeys(indexed)
        columns: list[Column[Any]] = [
            Column(one.name, one.type, key=one.key, nullable=True)
            for one in self._target.c
            if one.computed is None
        ]
        columns += [Column(name, one.type) for name, one in self._copies.items()]
        columns += [Column(name, BigInteger) for name in numbers]
        name = f"sessionwise_{uuid.uuid4().hex}"
        self.table = Table(name, MetaData(), *columns, prefixes=["TEMPORARY"])

    def create(self) -> None:
        """Create the table, with the types that the database has, where it can say them."""
        name = self.connection.dialect.name
        if name in MYSQL:
            self.connection.exec_driver_sql(self._mysql_definition())
        elif name == "postgresql":
            self._create_as_postgresql_has_it()
        elif name == "sqlite":
            self.connection.exec_driver_sql(self._sqlite_definition())
        else:
            execute(self.connection, CreateTable(self.table))

    def _create_as_postgresql_has_it(self) -> None:
        columns: list[Any] = [one for one in self._target.c if one.computed is None]
        columns += [one.label(name) for name, one in self._copies.items()]
        columns += [cast(null(), BigInteger).label(one) for one in self._numbers]
        query = select(*columns).where(~true())
        execute(self.connection, CreateTableAs(query, self.table.name, temporary=True))

    def _sqlite_definition(self) -> str:
        preparer = self.connection.dialect.identifier_preparer
        schema = self._target.schema
        names = (self._target.name,) if schema is None else (self._target.name, schema)
        marks = ", ".join("?" for _ in names)
        known = self.connection.exec_driver_sql(
            f"SELECT name, type FROM pragma_table_xinfo({marks})",  # noqa: S608 - only marks
            names,
        )
        types: dict[str, str] = {name.lower(): type_ for name, type_ in known}
        definitions = [
            f"{preparer.format_column(one)} {types.get(origin.name.lower(), '')}"
            f"{_collation(origin)}"
            for one, origin in self._columns()
        ]
        definitions += [f"{one} BIGINT" for one in self._numbers]
        return f"CREATE TEMPORARY TABLE {self.table.name} ({', '.join(definitions)})"

    def _columns(self) -> Iterator[tuple[Column[Any], Column[Any]]]:
        """Give the columns that are like those of the target, and these."""
        for one in self._target.c:
            if one.computed is None:
                yield self.table.c[one.key], one
        for name, one in self._copies.items():
            yield self.table.c[name], one

    def _mysql_definition(self) -> str:
        # Made from a SELECT, columns would stay without a default, and refuse to be left out.
        preparer = self.connection.dialect.identifier_preparer
        found = self.connection.exec_driver_sql(
            f"SHOW FULL COLUMNS FROM {preparer.format_table(self._target)}"
        )
        types: dict[str, str] = {}
        for row in found.mappings():
            collation = f" COLLATE {row['Collation']}" if row["Collation"] else ""
            types[row["Field"].lower()] = f"{row['Type']}{collation} NULL"
        definitions = [
            f"{preparer.format_column(one)} {types[origin.name.lower()]}"
            for one, origin in self._columns()
        ]
        definitions += [f"{one} BIGINT NULL" for one in self._numbers]
        definitions += [f"INDEX ({preparer.quote(one)})" for one in self._indexed]
        create = f"CREATE TEMPORARY TABLE {self.table.name} ({', '.join(definitions)})"
        return create.replace("%", "%%")

    def index(self) -> None:
        """Make the indexes, where that has not been done yet."""
        if self.connection.dialect.name in MYSQL:
            return
        for at, name in enumerate(self._indexed):
            index = Index(f"{self.table.name}_{at}", self.table.c[name])
            execute(self.connection, CreateIndex(index))
        self._indexed = {}

    def drop(self) -> None:
        """Drop the table."""
        self.connection.exec_driver_sql(self._drop_statement)

    def drop_after_an_error(self) -> None:
        """Drop the table where the rollback that follows does not."""
        connection = self.connection
        if connection.invalidated or not (
            connection.dialect.name in MYSQL or activity.autocommits(connection)
        ):
            return
        # Past SQLAlchemy: a transaction that the server has given up takes no statements. Where
        # the connection is lost, so is the table.
        with suppress(connection.dialect.loaded_dbapi.Error):
            cursor = connection.connection.cursor()
            cursor.execute(self._drop_statement)
            cursor.close()

    @property
    def _drop_statement(self) -> str:
        # Without TEMPORARY, MariaDB would commit.
        temporary = "TEMPORARY " if self.connection.dialect.name in MYSQL else ""
        return f"DROP {temporary}TABLE {self.table.name}"


def _collation(column: Column[Any]) -> str:
    collation = getattr(column.type, "collation", None)
    return "" if collation is None else f' COLLATE "{collation}"'
