"""What is stored and read is what the ORM stores and reads, for each value of each type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import exc as sa_exc
from sqlalchemy import func, literal_column, select

from sessionwise.bulk.conformance import tables
from sessionwise.bulk.conformance.harness import Harness, dialect_of, only_on
from sessionwise.bulk.conformance.values import CASES
from sessionwise.errors import BulkInputError

if TYPE_CHECKING:
    from sqlalchemy import Table

    from sessionwise import Session
    from sessionwise.bulk.conformance.harness import Run
    from sessionwise.bulk.conformance.values import Case

__all__ = ["ValueConformance"]

BULK, ONE, REFUSED = 10_000, 20_000, 30_000
"""From which id on the rows are that are written in each way; the ORM's begin with 0."""


class ValueConformance(Harness):
    """Each value, written by the ORM and by the writer."""

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_values_are_as_by_the_orm(self, run: Run, made: set[Table], case: Case) -> None:
        """Stored, read, or refused as the ORM does it."""
        if case.dialects is not None:
            run(lambda session: only_on(session, *case.dialects or ()))
        tables.prepare(run, made, tables.MODELS[case.name])
        run(lambda session: _Comparison(self, session, case).make())


class _Comparison:
    """The values of a case in one session."""

    def __init__(self, suite: Harness, session: Session, case: Case) -> None:
        self.suite = suite
        self.session = session
        self.model = tables.MODELS[case.name]
        self.values = (None, *case.values, *case.near, None)
        self.lenient = range(1 + len(case.values), len(self.values) - 1)
        self.refused: dict[int, Exception] = {}
        """What the ORM raises for a value."""

    def make(self) -> None:
        """Write all, and compare."""
        for at, value in enumerate(self.values):
            self._by_the_orm(at, value)
        taken = [at for at in range(len(self.values)) if at not in self.refused]
        taken = [at for at in taken if self._alone(at)]
        self._together(taken)
        expected, alone, together = (self._found(begin) for begin in (0, ONE, BULK))
        for at in taken:
            what = f"the value {_short(self.values[at])}"
            assert alone[at] == expected[at], f"{what} is not what the ORM stores"
            assert together[at] == expected[at], f"{what}, with others, is not what the ORM stores"
        for at, error in self.refused.items():
            self._refuses(at, error)

    def _by_the_orm(self, at: int, value: Any) -> None:
        try:
            with self.session.begin_nested():
                self.session.add(self.model(id=at, value=value))
        except Exception as error:  # noqa: BLE001  what it raises is what is to be raised
            self.refused[at] = error
        self.session.expunge_all()

    def _together(self, taken: list[int]) -> None:
        rows = [{"id": BULK + at, "value": self.values[at]} for at in taken]
        self.suite.insert(self.session, self.model, rows)

    def _alone(self, at: int) -> bool:
        # A writer may have another road for rows with a value that its own one does not take.
        row = {"id": ONE + at, "value": self.values[at]}
        try:
            self.suite.insert(self.session, self.model, [row])
        except Exception as error:
            if isinstance(error, BulkInputError) and at in self.lenient:
                return False  # such as 1.5 for a whole number: better than to round it
            what = _short(self.values[at])
            message = f"the ORM stores {what}: {type(error).__name__}: {_short(error)}"
            raise AssertionError(message) from error
        return True

    def _refuses(self, at: int, error: Exception) -> None:
        what, before = _short(self.values[at]), self._count()
        rows = [
            {"id": REFUSED + 2 * at, "value": None},
            {"id": REFUSED + 2 * at + 1, "value": self.values[at]},
        ]
        try:
            self.suite.insert(self.session, self.model, rows)
            found = None
        except Exception as raised:  # noqa: BLE001  looked at below
            found = raised
        if found is not None:
            allowed = (sa_exc.SQLAlchemyError, type(error))
            assert isinstance(found, allowed), f"{what}: {found!r} in place of {error!r}"
            assert str(found), f"{what} is refused without a word"
            assert self._count() == before, f"{what} is refused, and something is stored"
            return
        # A driver's type may refuse what the database takes: to store it as it is is no harm.
        stored = self._found(REFUSED).get(2 * at + 1)
        as_it_is = (type(self.values[at]), repr(self.values[at]))
        if at not in self.lenient and (stored is None or stored[:2] != as_it_is):
            pytest.fail(f"the ORM refuses {what}: {error!r}; stored: {_short(stored)}")

    def _count(self) -> int:
        return self.session.scalars(select(func.count()).select_from(self.model)).one()

    def _found(self, begin: int) -> dict[int, Any]:
        """Return what is read, and what is stored, of the rows that begin with an id."""
        table: Any = self.model.__table__
        name = dialect_of(self.session)
        some = table.c.id.between(begin, begin + BULK - 1)
        stored = self.session.execute(
            select(table.c.id, *_as_stored(name)).select_from(table).where(some)
        ).all()
        return {row[0] - begin: (*self._read(row[0]), *row[1:]) for row in stored}

    def _read(self, id_: int) -> tuple[type[Any], str]:
        """Return the type and the looks of the value of a row; some cannot be read."""
        try:
            value = self.session.execute(
                select(self.model.value).where(self.model.id == id_)
            ).scalar_one()
        except (LookupError, TypeError, ValueError) as error:
            return type(error), str(error)
        return type(value), repr(value)


def _as_stored(dialect: str) -> list[Any]:
    """Return expressions that say how a value is stored."""
    value: Any = literal_column("value")
    if dialect == "sqlite":
        return [func.typeof(value), func.quote(value)]
    if dialect in {"mysql", "mariadb"}:
        return [func.hex(func.concat(value))]
    if dialect == "postgresql":
        return [literal_column("value::text")]
    return []


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:150]} … {text[-40:]}"
