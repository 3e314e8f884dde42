"""Reads rows as they are stored: by their keys, or by a condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import String, and_, any_, bindparam, func, or_, select, tuple_
from sqlalchemy.dialects import postgresql

from sessionwise.audit.recording.forms import as_json, former, raw
from sessionwise.audit.recording.trusted import trusted
from sessionwise.loading.keys import chunks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import BindParameter, ColumnElement, Connection, Dialect, Select

    from sessionwise.audit.coverage import Covered
    from sessionwise.audit.recording.forms import Row

__all__ = ["Key", "Lock", "Reader"]

Key = tuple[Any, ...]
"""The values of the columns that a row is known by, as the application has them."""

Lock = dict[str, bool] | None
"""The parameters of ``with_for_update``."""

_COMPARES_TUPLES = frozenset({"sqlite", "postgresql", "mysql", "mariadb"})


class Reader:
    """Reads the rows of one table in one kind of database."""

    def __init__(self, covered: Covered, dialect: Dialect) -> None:
        self.covered = covered
        self.trusted = {one.name: trusted(one, dialect) for one in covered.columns}
        self.key = covered.key
        self.counts_from_one = dialect.name in {"mysql", "mariadb"}
        """Whether 0, as a key, may mean that the database is to make one."""
        columns = list(covered.columns)
        selected: list[ColumnElement[Any]] = [raw(one, dialect) for one in columns]
        self._names = [one.name for one in columns]
        forms = ((one.name, former(one, dialect)) for one in columns)
        self._made = [(name, form) for name, form in forms if form is not None]
        self._key: list[int] = []
        for one in covered.key:
            if one in columns and self.trusted[one.name]:
                self._key.append(columns.index(one))
            else:  # as the application has it
                self._key.append(len(selected))
                selected.append(one)
        self._select = select(*(one.label(f"c{at}") for at, one in enumerate(selected)))
        self._by_keys = self._select.where(self._within(dialect))

    def by_keys(
        self, connection: Connection, keys: Iterable[Key], lock: Lock = None
    ) -> dict[Key, Row]:
        """Return the rows that have one of some keys."""
        statement = self._locked(self._by_keys, lock)
        single = len(self._key) == 1
        found: dict[Key, Row] = {}
        for chunk in chunks(keys):
            if self._by_tuples:
                values: Any = [key[0] for key in chunk] if single else chunk
                if self._by_json:
                    values = as_json(values)
                rows = connection.execute(statement, {"keys": values}).all()
            else:
                rows = connection.execute(self._locked(self._any_of(chunk), lock)).all()
            self._take(rows, found)
        return found

    def by_condition(
        self,
        connection: Connection,
        condition: ColumnElement[bool] | None,
        lock: Lock = None,
    ) -> dict[Key, Row]:
        """Return the rows that fulfil a condition; None: all rows."""
        statement = self._select if condition is None else self._select.where(condition)
        found: dict[Key, Row] = {}
        self._take(connection.execute(self._locked(statement, lock)).all(), found)
        return found

    def _take(self, rows: Iterable[Any], found: dict[Key, Row]) -> None:
        names, made, at = self._names, self._made, self._key
        first = at[0]
        single = len(at) == 1
        for values in rows:
            row = dict(zip(names, values, strict=False))
            for name, form in made:
                if row[name] is not None:
                    row[name] = form(row[name])
            found[(values[first],) if single else tuple(values[one] for one in at)] = row

    def _locked(self, statement: Select[Any], lock: Lock) -> Select[Any]:
        return (
            statement if lock is None else statement.with_for_update(of=self.covered.table, **lock)
        )

    def _within(self, dialect: Dialect) -> ColumnElement[bool]:
        """Return the condition for some keys: one parameter for all, where that can be."""
        key = self.covered.key
        self._by_tuples = len(key) == 1 or dialect.name in _COMPARES_TUPLES
        self._by_json = False
        if len(key) == 1 and dialect.name == "postgresql":
            return key[0] == any_(bindparam("keys", type_=postgresql.ARRAY(key[0].type)))
        if len(key) == 1 and dialect.name == "sqlite" and self._holds_json(key[0]):
            self._by_json = True
            listed = func.json_each(bindparam("keys", type_=String())).table_valued("value")
            return key[0].in_(select(listed.c.value))
        keys: BindParameter[Any] = bindparam("keys", expanding=True)
        return key[0].in_(keys) if len(key) == 1 else tuple_(*key).in_(keys)

    def _holds_json(self, column: Any) -> bool:
        """Say whether a column's values are the same in JSON."""
        return not {int, str}.isdisjoint(self.trusted.get(column.name, ()))

    def _any_of(self, keys: Iterable[Key]) -> Select[Any]:
        return self._select.where(
            or_(
                *(
                    and_(*(one == value for one, value in zip(self.covered.key, key, strict=True)))
                    for key in keys
                )
            )
        )
