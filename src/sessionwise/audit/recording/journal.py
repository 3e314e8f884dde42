"""Writes ``audit_log`` and what belongs to it, in the transaction of the change."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, bindparam, func, insert, select, text, tuple_

from sessionwise.audit import transactions
from sessionwise.audit.recording.forms import as_json, text_of
from sessionwise.audit.tables import LOG, SALT
from sessionwise.loading.keys import chunks
from sessionwise.transaction import activity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import BindParameter, Connection, Dialect, Insert

    from sessionwise.audit.recording.changes import Record
    from sessionwise.audit.recording.forms import Row
    from sessionwise.audit.recording.work import Work

__all__ = ["write", "write_told"]


_AT_A_TIME = 10_000
"""Rows that one INSERT has at most: PostgreSQL's JSON holds 256 MB."""


def write(connection: Connection, work: Work, records: Iterable[Record]) -> None:
    """Write what has changed: an INSERT, and one for the transaction's row where that is new."""
    has_triggers = work.captures is not None and bool(work.captures.triggers)
    depth, at = activity.of(connection).depth, datetime.now(UTC)
    redacted = _redact(connection, records)
    while True:
        rows = _Rows(connection)
        for one in islice(redacted, _AT_A_TIME):
            rows.add(one)
        if not rows.said:
            return
        head = transactions.head(connection, work.heads, depth, has_triggers=has_triggers)
        rows.write(head, at)


def write_told(connection: Connection, head: int, told: Iterable[tuple[datetime, Record]]) -> None:
    """Write what listeners have told, by one statement: when, and what.

    :param head: the id of the transaction's row.
    """
    rows = _Rows(connection)
    moments = []
    for at, one in told:
        rows.add(one)
        moments.append(at)
    rows.write_each(head, moments)


class _Rows:
    """Rows of ``audit_log``, as they are sent."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.said: list[Any] = []
        dialect = connection.dialect
        self.add = self._add_to_text if dialect.name == "postgresql" else self._add
        self._form = _form(dialect)

    def _add(self, one: Record) -> None:
        old, new = one.old, one.new
        self.said.append(
            (
                one.action,
                one.table,
                one.object_id,
                one.previous_id,
                None if old is None else as_json(old),
                None if new is None else as_json(new),
                one.version,
            )
        )

    def _add_to_text(self, one: Record) -> None:
        """Add a row as JSON: PostgreSQL takes it apart faster than a driver puts it together."""
        self.said.append(
            as_json(
                {
                    "action": one.action,
                    "table": one.table,
                    "object_id": one.object_id,
                    "previous_id": one.previous_id,
                    "old": one.old,
                    "new": one.new,
                    "version": one.version,
                }
            )
        )

    def write(self, head: int, at: datetime) -> None:
        """Send the rows, as of one moment."""
        if self.connection.dialect.name == "postgresql":
            parameters = {"head": head, "at": at, "rows": f"[{','.join(self.said)}]"}
            self.connection.execute(_INSERT_AT_ONCE, parameters)
            return
        first = (head, self._moment(at))
        self._send([first + row for row in self.said])

    def write_each(self, head: int, moments: Sequence[datetime]) -> None:
        """Send the rows, each with its own moment."""
        if self.connection.dialect.name == "postgresql":
            rows = f"[{','.join(self.said)}]"
            parameters = {"head": head, "moments": as_json(moments), "rows": rows}
            self.connection.execute(_INSERT_EACH, parameters)
            return
        both = zip(moments, self.said, strict=True)
        self._send([(head, self._moment(at), *said) for at, said in both])

    def _moment(self, at: datetime) -> Any:
        return at if self._form.moment is None else self._form.moment(at)

    def _send(self, rows: list[Any]) -> None:
        """Send rows as the driver takes them: SQLAlchemy would look at each value of each."""
        names = self._form.names
        if names is not None:
            rows = [dict(zip(names, row, strict=True)) for row in rows]
        self.connection.exec_driver_sql(self._form.sql, rows)


_COLUMNS = tuple(one for one in LOG.columns if not one.primary_key)


@dataclass(frozen=True)
class _Form:
    """How rows are sent in one kind of database."""

    sql: str
    names: list[str] | None
    """The names of the parameters; None where they have but places."""
    moment: Callable[[Any], Any] | None
    """What makes of a time what the driver takes."""


_ATTRIBUTE = "_sessionwise_audit_form"


def _form(dialect: Dialect) -> _Form:
    """Return how rows are sent; the dialect, which is an engine's own, keeps it."""
    known: _Form | None = dialect.__dict__.get(_ATTRIBUTE)
    if known is None:
        names = [one.name for one in _COLUMNS]
        compiled: Any = insert(LOG).compile(dialect=dialect, column_keys=names)
        named = [compiled.escaped_bind_names.get(name, name) for name in names]
        moment = LOG.c.at.type.dialect_impl(dialect).bind_processor(dialect)
        known = _Form(compiled.string, None if compiled.positional else named, moment)
        dialect.__dict__[_ATTRIBUTE] = known
    return known


_ROWS = """
SELECT :head, {at}, action, "table", object_id, previous_id, old, new, version
FROM ROWS FROM (
    jsonb_to_recordset(CAST(:rows AS jsonb)) AS (
        action text, "table" text, object_id text, previous_id text, old jsonb, new jsonb,
        version text
    ){moments}
) WITH ORDINALITY AS r (action, "table", object_id, previous_id, old, new, version{moment},
                        position)
ORDER BY position
"""


def _insert_rows(*bound: BindParameter[Any], **places: str) -> Insert:
    """Return the INSERT of PostgreSQL's; as a text it would be taken for one that may do all."""
    rows = text(_ROWS.format(**places)).bindparams(bindparam("head", type_=LOG.c.id.type), *bound)
    return insert(LOG).from_select(_COLUMNS, rows.columns(*_COLUMNS))


_INSERT_AT_ONCE = _insert_rows(
    bindparam("at", type_=LOG.c.at.type), at=":at", moments="", moment=""
)
_INSERT_EACH = _insert_rows(
    at="CAST(moment AS timestamptz)",
    moments=", jsonb_array_elements_text(CAST(:moments AS jsonb))",
    moment=", moment",
)


def _redact(connection: Connection, records: Iterable[Record]) -> Iterator[Record]:
    """Put salted hashes in the place of values that are not to be stored.

    The salt is that of the key which the row had, before and after.
    """
    for redacted, those in groupby(records, _REDACTED):
        if not redacted:
            yield from those
            continue
        for some in chunks(those):
            keys = [(one.table, one.object_id) for one in some]
            keys_before = [(one.table, one.previous_id or one.object_id) for one in some]
            salts = _salts(connection, dict.fromkeys([*keys_before, *keys]))
            for one, before, key in zip(some, keys_before, keys, strict=True):
                one.old = _hashed(one.old, redacted, salts[before])
                one.new = _hashed(one.new, redacted, salts[key])
                yield one


_REDACTED = attrgetter("redacted")


def _hashed(row: Row | None, redacted: Iterable[str], salt: bytes) -> Row | None:
    if row is None:
        return None
    hashed = {
        name: {"sha256": hashlib.sha256(salt + text_of(row[name]).encode()).hexdigest()}
        for name in redacted
        if row.get(name) is not None
    }
    return {**row, **hashed}


_SaltKey = tuple[str, str | None]


def _salts(connection: Connection, wanted: Iterable[_SaltKey]) -> dict[_SaltKey, bytes]:
    """Return the salts of some objects; those that have none yet get one."""
    found: dict[_SaltKey, bytes] = {}
    known = select(SALT.c.table, SALT.c.object_id, SALT.c.salt)
    key = tuple_(SALT.c.table, SALT.c.object_id)
    for chunk in chunks(wanted):
        for table, object_id, salt in connection.execute(known.where(key.in_(chunk))):
            found[table, object_id] = bytes(salt)
        made = {one: secrets.token_bytes(32) for one in chunk if one not in found}
        if made:
            by_hex = connection.dialect.name in _MYSQL
            rows = [
                {"table": table, "object_id": object_id, "salt": salt.hex() if by_hex else salt}
                for (table, object_id), salt in made.items()
            ]
            connection.execute(_insert_salts(connection.dialect.name), rows)
        found |= made
    return found


_MYSQL = frozenset({"mysql", "mariadb"})


@lru_cache
def _insert_salts(dialect: str) -> Insert:
    if dialect not in _MYSQL:
        return insert(SALT)
    # Not every driver of MariaDB's takes bytes.
    return insert(SALT).values(salt=func.unhex(bindparam("salt", type_=Text())))
