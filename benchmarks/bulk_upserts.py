"""How others put rows into a table where half of them are there already."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, Table, insert, orm, select, text
from sqlalchemy.dialects import mysql, postgresql, sqlite

from benchmarks.bulk_data import TABLE, Flight
from benchmarks.bulk_peers import ALL, Peer

KEY = "id"
STAGED = "bulk_staged"
OTHERS = [column.name for column in TABLE.columns if column.name != KEY]


def merge_loop(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with orm.Session(engine) as session, session.begin():
        for row in rows:
            session.merge(Flight(**row))


def _upsert(engine: Engine, source: Table | None = None) -> Any:
    """Return the statement with values to come, or with the rows of another table."""
    dialect = {"postgresql": postgresql, "sqlite": sqlite, "mariadb": mysql}[engine.dialect.name]
    statement: Any = dialect.insert(TABLE)
    if source is not None:
        found = select(source).where(text("true"))  # SQLite needs a WHERE before ON CONFLICT
        statement = statement.from_select(source.columns.keys(), found)
    if engine.dialect.name == "mariadb":
        new = statement.inserted
        return statement.on_duplicate_key_update({name: new[name] for name in OTHERS})
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[KEY], set_={name: new[name] for name in OTHERS}
    )


def executemany(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with engine.begin() as connection:
        connection.execute(_upsert(engine), rows)


def staging(engine: Engine, rows: list[dict[str, Any]]) -> None:
    """Fill a temporary table, by COPY where there is one, and go on with one statement."""
    source = TABLE.to_metadata(type(TABLE.metadata)(), name=STAGED)
    source._prefixes = ["TEMPORARY"]
    with engine.begin() as connection:
        source.create(connection)
        if engine.dialect.name == "postgresql":
            _copy(connection, rows)
        else:
            connection.execute(insert(source), rows)
        connection.execute(_upsert(engine, source))
        source.drop(connection)


def _copy(connection: Connection, rows: list[dict[str, Any]]) -> None:
    driver: Any = connection.connection.driver_connection
    columns = ", ".join(rows[0])
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {STAGED} ({columns}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(tuple(row.values()))


MERGE = Peer("SQLAlchemy's merge, in a loop", merge_loop, ALL)

UPSERTS = (
    Peer("ON CONFLICT, executemany", executemany, ("postgresql", "sqlite")),
    Peer("ON DUPLICATE KEY, executemany", executemany, ("mariadb",)),
    Peer("staging by hand: COPY, INSERT ... SELECT", staging, ("postgresql",)),
    Peer("staging by hand: executemany, INSERT ... SELECT", staging, ("sqlite", "mariadb")),
)
