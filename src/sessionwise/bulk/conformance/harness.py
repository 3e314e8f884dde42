"""What the tests of the suite stand on: the writer, a session, and the tables."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from sessionwise.bulk import insert as inserting
from sessionwise.bulk import writers
from sessionwise.bulk.conformance import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Table

    from sessionwise import Session
    from sessionwise.bulk.plan import Plan
    from sessionwise.bulk.reading.rows import Chunk
    from sessionwise.bulk.result import BulkResult
    from sessionwise.bulk.writers import Writer

    Work = Callable[[Session], Any]
    Run = Callable[[Work], Any]

__all__ = ["Harness", "dialect_of", "in_session", "in_threads", "only_on"]

_H = TypeVar("_H", bound="Harness")


class Harness:
    """The writer that is tried, and how to reach a database with it."""

    writer: Writer
    """What is tried; the others write what it does not take."""

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls) -> Run:
        """Give what calls a function with a new session, and closes that without a commit.

        For an async driver, it runs ``AsyncSession.run_sync``.
        """
        raise NotImplementedError("override the fixture `run`: WriterConformance shows how")

    @pytest.fixture
    def run_together(self, run: Run) -> Callable[[Sequence[Work]], list[Any]]:
        """Give what does the same with several functions at once: by threads."""
        return lambda functions: in_threads(run, functions)

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, run: Run) -> Iterator[set[Table]]:
        """Give the tables that have been made; they are dropped in the end."""
        made: set[Table] = set()
        yield made
        tables.drop(run, made)

    @pytest.fixture
    def source(self) -> Callable[[list[dict[str, Any]]], Any]:
        """Give what makes the input of dicts: here, it is left as it is."""
        return lambda rows: rows

    @pytest.fixture(autouse=True)
    def _only_this_writer(self, monkeypatch: pytest.MonkeyPatch, source: Any) -> None:
        def choose(connection: Connection, plan: Plan, chunk: Chunk | None = None) -> Writer:
            # Without the chunk: a writer may leave a few rows to another one.
            if plan.only_core is None and self.writer.takes(connection, plan):
                return self.writer
            return writers.choose(connection, plan, chunk)

        monkeypatch.setattr(inserting, "choose", choose)
        self._source = source

    def insert(
        self, session: Session, entity: Any, rows: list[dict[str, Any]], **options: Any
    ) -> BulkResult:
        """Insert rows by the writer."""
        result = session.bulk_insert(entity, self._source(rows), **options)
        assert result.read == result.inserted == len(rows)
        return result


def in_threads(run: Run, functions: Sequence[Work]) -> list[Any]:
    """Run several functions at once, each in a thread of its own."""
    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, functions))


def in_session(
    *models: Any, dialects: tuple[str, ...] = ()
) -> Callable[[Callable[[_H, Session], Any]], Callable[[_H, Run, set[Table]], None]]:
    """Have a test called with a session in which the tables of some classes are, and empty.

    What it does is rolled back at its end.

    :param dialects: the databases that the test is for; empty for all.
    """

    def decorate(test: Callable[[_H, Session], Any]) -> Callable[[_H, Run, set[Table]], None]:
        def in_its_session(self: _H, run: Run, made: set[Table]) -> None:
            if dialects:
                run(lambda session: only_on(session, *dialects))
            tables.prepare(run, made, *models)
            run(lambda session: test(self, session))

        in_its_session.__name__ = test.__name__
        in_its_session.__qualname__ = test.__qualname__
        in_its_session.__doc__ = test.__doc__
        return in_its_session

    return decorate


def dialect_of(session: Session) -> str:
    """Return the name of the database."""
    return session.get_bind().dialect.name


def only_on(session: Session, *names: str) -> None:
    """Skip a test on other databases."""
    if dialect_of(session) not in names:
        pytest.skip(f"only on {' and '.join(names)}")
