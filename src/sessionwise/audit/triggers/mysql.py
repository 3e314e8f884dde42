"""MariaDB: what makes its triggers.

They act with the rights of whoever has made them (DEFINER): who changes a table need not have any
on the audit's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import text

from sessionwise.audit.triggers import mysql_cascades as cascades
from sessionwise.audit.triggers import mysql_recording as recording
from sessionwise.audit.triggers.artifact import Artifact
from sessionwise.audit.triggers.mysql_values import quote
from sessionwise.audit.triggers.naming import PREFIX, comment, name_of, noted
from sessionwise.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Table

    from sessionwise.audit.coverage import Coverage, Covered
    from sessionwise.audit.triggers.artifact import Key

__all__ = [
    "after_backfill",
    "backfill",
    "before_backfill",
    "cautions",
    "of",
    "present",
    "removal",
    "shared",
]

# The SQL mode belongs to the trigger: a value that does not fit is an error, and is not cut off.
# MySQL takes the first part for a comment, and its own default is as strict.
_CREATE = "/*M! SET STATEMENT sql_mode = 'STRICT_ALL_TABLES' FOR */ CREATE TRIGGER "

_CATALOG = """
SELECT trigger_name, event_object_table, action_timing, event_manipulation, action_statement
FROM information_schema.triggers
WHERE trigger_schema = DATABASE() AND LEFT(trigger_name, {length}) = '{prefix}'
"""


def shared(coverage: Coverage) -> Sequence[Artifact]:
    """Return nothing: triggers need only the tables of the audit."""
    return []


def of(covered: Covered, coverage: Coverage) -> Sequence[Artifact]:
    """Return the triggers of one table, and those of tables from which foreign keys act on it.

    :raises UnsupportedError: for a table of another schema, and for foreign keys that act in a
      circle of several tables.
    """
    if covered.table.schema is not None:
        raise UnsupportedError(
            f"{covered.name} is in another database than the audit's tables, which its triggers "
            'would not find. Leave it out by exclude=, or give Audit capture="session"'
        )
    own = [
        _trigger(covered, "insert", "AFTER INSERT", recording.after_insert(covered)),
        _trigger(covered, "update", "AFTER UPDATE", recording.after_update(covered)),
        _trigger(covered, "delete", "AFTER DELETE", recording.after_delete(covered)),
    ]
    acting = [
        _trigger(covered, "cascade", when, body, parent)
        for parent, when, body in cascades.acting_on(covered, coverage.metadata)
        if body
    ]
    return [*own, *acting]


def present(connection: Connection, coverage: Coverage) -> Mapping[Key, str | None]:
    """Return what the database has; None is the digest of what somebody has changed."""
    tables = {one.table.name.lower(): one.name for one in coverage}
    acting = _acting(coverage)
    catalog = _CATALOG.format(length=len(PREFIX), prefix=PREFIX)
    found: dict[Key, str | None] = {}
    for name, table, timing, event, statement in connection.execute(text(catalog)):
        on = acting.get(name) or tables.get(table.lower(), table)
        found["trigger", name, on] = noted(f"{timing} {event} ON {table}\n{statement}")
    return found


def removal(key: Key) -> Sequence[str]:
    """Return what drops it."""
    return [f"DROP TRIGGER IF EXISTS {quote(key[1])}"]


def before_backfill(covered: Covered) -> Sequence[str]:
    """Do nothing: INSERT … SELECT reads what is committed, and locks it."""
    return []


def backfill(covered: Covered) -> str:
    """Return the INSERT that records the rows which have no record yet."""
    return recording.backfill(covered)


def after_backfill(covered: Covered) -> Sequence[str]:
    """Do nothing."""
    return []


def cautions(coverage: Coverage) -> Iterable[str]:
    """Say what triggers do not see."""
    yield (
        "TRUNCATE TABLE, DROP TABLE and DROP PARTITION fire no triggers: revoke DROP from who is "
        "not to get past the audit"
    )
    yield (
        "what ON DELETE CASCADE, ON DELETE SET NULL and ON UPDATE CASCADE change is recorded for "
        "the foreign keys that the metadata has, not for those that only the database has; and "
        "where only the database has a key or a check that UPDATE IGNORE ignores, a change is "
        "recorded that is not done"
    )
    yield (
        "a change whose record would be larger than max_allowed_packet is refused: a BLOB takes "
        "twice its size"
    )


def _acting(coverage: Coverage) -> dict[str, str]:
    """Return the names of triggers that stand on other tables, and the table that they serve."""
    return {
        _name("cascade", parent, when, covered): covered.name
        for covered in coverage
        if covered.table.schema is None
        for parent, when in cascades.parents(covered, coverage.metadata)
    }


def _trigger(
    covered: Covered, event: str, when: str, body: str, on: Table | None = None
) -> Artifact:
    table = covered.table if on is None else on
    name = name_of(event, table.name) if on is None else _name(event, table, when, covered)
    head = f"{when} ON {table.name}\nBEGIN\n"
    drop = f"DROP TRIGGER IF EXISTS {quote(name)}"
    artifact = Artifact("trigger", name, covered.name, f"{head}{body}END", (), (drop,))
    create = f"{_CREATE}{quote(name)} {when} ON {quote(table.name)} FOR EACH ROW BEGIN\n"
    create += f"{comment(artifact.digest)}{body}END"
    return replace(artifact, create=(drop, create))


def _name(event: str, parent: Table, when: str, covered: Covered) -> str:
    return name_of(event, *when.lower().split(), parent.name, covered.table.name)
