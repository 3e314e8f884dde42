"""``bulk_upsert``: rows into a table, those whose key is there already over what is there."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Date, DateTime, Integer, String, Uuid
from sqlalchemy.dialects import postgresql

from sessionwise.bulk.announce import Announcement, announce, is_heard
from sessionwise.bulk.insert import check_undoable, savepoint
from sessionwise.bulk.plan import Plan
from sessionwise.bulk.reading import rows as rows_
from sessionwise.bulk.reading.rows import Chunk
from sessionwise.bulk.rejects.collected import rejects_of
from sessionwise.bulk.rejects.searching import Searching
from sessionwise.bulk.rejects.storing import Storing
from sessionwise.bulk.rejects.upserting import Upserting, reject_duplicates
from sessionwise.bulk.result import BulkResult, Meter, plain_key
from sessionwise.bulk.target import Target
from sessionwise.bulk.upserting.assignments import Assignments, excluded
from sessionwise.bulk.upserting.conflicts import (
    IS_NEW,
    is_partitioned,
    naming_keys,
    on_conflict,
    upsert_part,
)
from sessionwise.bulk.upserting.staging import duplicates as duplicates_
from sessionwise.bulk.upserting.staging import staging
from sessionwise.bulk.writers import choose, core
from sessionwise.errors import OptionError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Column
    from sqlalchemy.orm import Session

    from sessionwise.bulk.announce import Kind
    from sessionwise.bulk.rejects.collected import OnError, Rejects
    from sessionwise.bulk.result import BulkProgress
    from sessionwise.bulk.upserting.conflicts import Counts
    from sessionwise.bulk.upserting.staging import Part, Staging

__all__ = ["Duplicates", "Run", "excluded", "unsupported", "upsert"]

Duplicates = Literal["raise", "last"]

FEW = 100
"""Rows up to which a statement with the values is faster than a staging table, on PostgreSQL."""


def upsert(
    session: Session,
    entity: Any,
    rows: Any,
    *,
    keys: Sequence[str] | None = None,
    update: Iterable[str] | Mapping[str, Any] | None = None,
    where: Any = None,
    duplicates: Duplicates = "raise",
    on_error: OnError = "raise",
    max_errors: int | None = None,
    returning: bool = False,
    columns: Sequence[str] | None = None,
    chunk_size: int | None = None,
    progress: Callable[[BulkProgress], object] | None = None,
) -> BulkResult:
    """Insert or update rows; the parameters are those of ``Session.bulk_upsert``."""
    if duplicates not in {"raise", "last"}:
        raise OptionError.for_value("duplicates", duplicates, ("raise", "last"))
    target = Target.of(entity)
    if target.is_joined:
        raise unsupported(target, "bulk_upsert")
    rejects = rejects_of(rows, on_error, max_errors, keeps_all=True)
    assignments = Assignments(target, keys, update, where)
    run = Run(session, target, "upsert", progress, rejects)
    run.keys = assignments.keys
    with savepoint(run.connection):
        chunks = run.chunks(rows, columns, chunk_size)
        return _Upsert(run, assignments, duplicates, returning=returning).write(chunks)


def unsupported(target: Target, verb: str) -> UnsupportedError:
    """Build the error for a class whose objects have rows in several tables."""
    mapper: Any = target.mapper
    tables = ", ".join(str(table) for table in mapper.tables)
    return UnsupportedError(
        f"{verb} writes one table, and a {mapper.class_.__name__} has rows in {tables}; call it "
        "once for each of these tables, the referred-to first"
    )


class Run:
    """One call: what it has read, and whom it tells."""

    def __init__(
        self,
        session: Session,
        target: Target,
        kind: Kind,
        progress: Callable[[BulkProgress], object] | None,
        rejects: Rejects | None = None,
    ) -> None:
        session.flush()
        self.session = session
        self.target = target
        self.connection = target.connection(session)
        self.rejects = rejects
        if rejects is not None:
            check_undoable(self.connection)
        self.read = 0
        self.keys: Sequence[Column[Any]] = ()
        self._kind = kind
        self._meter = Meter(progress)
        self._told: list[Chunk] = []

    def chunks(
        self, rows: Any, columns: Sequence[str] | None, chunk_size: int | None
    ) -> Iterator[Chunk]:
        """Give the rows in chunks."""
        size = rows_.checked_size(chunk_size)
        rejects = self.rejects
        target = self.target if rejects is None else rejects.target(self.target)
        for chunk in rows_.chunks(rows, target=target, columns=columns, chunk_size=size):
            self.read += len(chunk)
            yield chunk if rejects is None else rejects.without_refused(chunk)

    def sending(self, chunk: Chunk) -> None:
        """Say that a chunk is about to be written; it is kept where anyone wants to know."""
        if is_heard(self.session, self.connection, self.target):
            self._announce(chunk, done=False)
            self._told.append(chunk)

    def sent(self, chunk: Chunk) -> None:
        """Say how far this has come."""
        if self.rejects is None:
            self._meter.add(len(chunk))
        else:  # with those that were rejected before they could be sent
            self._meter.add(self.read - self._meter.rows, len(self.rejects))

    def done(self) -> None:
        """Say of each chunk that it has been written."""
        for chunk in self._told:
            stored = chunk if self.rejects is None else self.rejects.without(chunk)
            if stored.positions:
                self._announce(stored, done=True)
        self._told = []

    def _announce(self, chunk: Chunk, *, done: bool) -> None:
        announce(
            Announcement(
                self.session,
                self.connection,
                self.target,
                self._kind,
                done,
                chunk,
                keys=self.keys,
            )
        )


class _Upsert:
    """The rows of one call on their way."""

    def __init__(
        self, run: Run, assignments: Assignments, duplicates: Duplicates, *, returning: bool
    ) -> None:
        self.run = run
        self.connection = run.connection
        self.assignments = assignments
        self.target = assignments.target
        self.duplicates = duplicates
        self.inserted = self.updated = 0
        self.rejects = run.rejects
        self._searching = Searching(self.connection, self.target, savepoint)
        self._writer = core.WRITER.name
        self._ids: dict[int, Any] | None = {} if returning else None

    def write(self, chunks: Iterator[Chunk]) -> BulkResult:
        """Write all chunks."""
        first: list[Chunk] = []
        if self.rejects is None and self._may_be_sent_at_once():
            for chunk in chunks:
                first.append(chunk)
                if self.run.read > FEW:
                    break
            else:
                if self._has_hashable_keys(first):
                    self._send_at_once(first)
                    return self._result()
        self._by_staging(chain(first, chunks))
        return self._result()

    def _result(self) -> BulkResult:
        self.run.done()
        ids = self._ids
        rejected = [] if self.rejects is None else self.rejects.result()
        return BulkResult(
            self._writer,
            self.inserted,
            self.updated,
            self.run.read - self.inserted - self.updated - len(rejected),
            rejected=rejected,
            ids=None if ids is None else [plain_key(ids.get(at)) for at in range(self.run.read)],
        )

    def _by_staging(self, chunks: Iterable[Chunk]) -> None:
        rejects = self.rejects is not None
        table = staging(self.connection, self.assignments, in_parts=rejects)
        with table as stage, self._searching:
            for chunk in chunks:
                keyed, keyless = self._split(chunk)
                if keyless is not None:
                    self._insert(keyless)
                if keyed is not None:
                    self.run.sending(keyed)
                    self._stage(stage, keyed)
                self.run.sent(chunk)
            if self.duplicates == "last":
                stage.supersede()
            elif self.rejects is not None:
                reject_duplicates(stage, self.rejects)
            else:
                stage.refuse_duplicates()
            upsert = self._upserting(stage)
            for part in stage.parts.values():
                inserted, updated = upsert(part)
                self.inserted += inserted
                self.updated += updated
            if self._ids is not None:
                rejected = self.rejects or ()
                found = stage.ids().items()
                self._ids.update((at, id_) for at, id_ in found if at not in rejected)
            if stage.parts:
                self._writer = stage.writer

    def _stage(self, stage: Staging, chunk: Chunk) -> None:
        if self.rejects is None:
            stage.write(chunk)
            return

        def attempt(some: Chunk) -> None:
            with savepoint(self.connection):
                stage.write(some)

        stage.part(chunk.names)
        Storing(self.rejects, self.connection.dialect.name, attempt).store(chunk)

    def _upserting(self, stage: Staging) -> Callable[[Part], Counts]:
        if self.rejects is not None:
            return Upserting(stage, self.rejects, self._searching).upsert
        return lambda part: upsert_part(stage, part)

    def _split(self, chunk: Chunk) -> tuple[Chunk | None, Chunk | None]:
        """Return the rows that have a key, and those in which a part of it is NULL."""
        plan = Plan(self.target, chunk.names, self.connection.dialect)
        self.assignments.check(plan)
        at = [plan.given[key] for key in self.assignments.keys if key in plan.given]
        if chunk.batch is not None and not any(chunk.batch.column(one).null_count for one in at):
            return chunk, None
        keyless = [n for n, row in enumerate(chunk.rows) if any(row[one] is None for one in at)]
        if not keyless:
            return chunk, None
        without = set(keyless)
        keyed = [n for n in range(len(chunk)) if n not in without]
        return _some(chunk, keyed), self._without_made_key(_some(chunk, keyless), plan)

    def _without_made_key(self, chunk: Chunk | None, plan: Plan) -> Chunk | None:
        """Leave out a key that the database makes: to be given NULL is not to be left out."""
        made = self.target.table.autoincrement_column
        if chunk is None or made not in self.assignments.keys or made not in plan.given:
            return chunk
        left_out = plan.given[made]
        kept = [at for at in range(len(chunk.names)) if at != left_out]
        names = tuple(chunk.names[at] for at in kept)
        return Chunk(names, chunk.positions, [[row[at] for at in kept] for row in chunk.rows])

    def _insert(self, chunk: Chunk) -> None:
        """Insert rows without a key: they meet none."""
        self.run.sending(chunk)
        if self.rejects is None:
            self._insert_all(chunk)
            return

        def attempt(some: Chunk) -> None:
            with savepoint(self.connection):
                self._insert_all(some)

        dialect = self.connection.dialect
        Storing(
            self.rejects,
            dialect.name,
            attempt,
            lambda some: Plan(self.target, some.names, dialect),
            self._searching,
        ).store(chunk)

    def _insert_all(self, chunk: Chunk) -> None:
        plan = Plan(self.target, chunk.names, self.connection.dialect)
        writer = choose(self.connection, plan)
        if self._ids is None:
            writer.write(self.connection, plan, chunk)
        else:
            found = writer.write_returning(self.connection, plan, chunk)
            self._ids.update(zip(chunk.positions, found, strict=True))
        self.inserted += len(chunk)

    def _may_be_sent_at_once(self) -> bool:
        """Say whether a few rows can go as the values of the statement, and be counted.

        Keys must be equal in Python where they are in the database, for duplicates to be found.
        """
        return (
            self.connection.dialect.name == "postgresql"
            and self._ids is None
            and not self.assignments.called
            and all(map(_is_equal_in_python, self.assignments.keys))
            and not is_partitioned(self.connection, self.target.table)
        )

    def _has_hashable_keys(self, chunks: Sequence[Chunk]) -> bool:
        for chunk in chunks:
            plan = Plan(self.target, chunk.names, self.connection.dialect)
            self.assignments.check(plan)
            if not set(self.assignments.keys).issubset(plan.given):
                return False
            at = [plan.given[key] for key in self.assignments.keys]
            if not all(type(row[one]).__hash__ for row in chunk.rows for one in at):
                return False
        return True

    def _send_at_once(self, chunks: Sequence[Chunk]) -> None:
        for chunk in self._without_repeats(chunks):
            keyed, keyless = self._split(chunk)
            if keyless is not None:
                self._insert(keyless)
            if keyed is not None:
                self._send(keyed)
            self.run.sent(chunk)

    def _send(self, chunk: Chunk) -> None:
        plan = Plan(self.target, chunk.names, self.connection.dialect)
        statement = (
            postgresql.insert(self.target.table)
            .on_conflict_do_update(**on_conflict(self.assignments, plan, {}))
            .returning(IS_NEW)
        )
        self.run.sending(chunk)
        with naming_keys(self.assignments):
            new = self.connection.execute(statement, plan.parameters(chunk.rows)).scalars()
        found = new.all()
        inserted = sum(found)
        self.inserted += inserted
        self.updated += len(found) - inserted

    def _without_repeats(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Return the rows sorted by key, the last ones of each; or refuse several of one."""
        last: dict[Any, int] = {}
        several: dict[Any, tuple[int, int]] = {}
        for position, key in sorted(self._keys_of(chunks)):
            if None not in key:
                if key in last:
                    several[key] = (several.get(key, (last[key], 0))[0], position)
                last[key] = position
            else:
                last[(position, key)] = position
        if several and self.duplicates == "raise":
            found = [(key, *where) for key, where in several.items()]
            raise duplicates_(self.assignments.keys, found)
        kept = set(last.values())
        return [one for chunk in chunks if (one := self._sorted(chunk, kept)) is not None]

    def _keys_of(self, chunks: Sequence[Chunk]) -> Iterator[tuple[int, tuple[Any, ...]]]:
        for chunk in chunks:
            plan = Plan(self.target, chunk.names, self.connection.dialect)
            at = [plan.given[key] for key in self.assignments.keys]
            for position, row in zip(chunk.positions, chunk.rows, strict=True):
                yield position, tuple(row[one] for one in at)

    def _sorted(self, chunk: Chunk, kept: set[int]) -> Chunk | None:
        keys = [key for _, key in self._keys_of([chunk])]
        rows = [at for at, position in enumerate(chunk.positions) if position in kept]
        return _some(chunk, sorted(rows, key=lambda at: [(one is None, one) for one in keys[at]]))


def _some(chunk: Chunk, at: Sequence[int]) -> Chunk | None:
    """Return some rows of a chunk."""
    if not at:
        return None
    positions = [chunk.positions[one] for one in at]
    return Chunk(chunk.names, positions, [chunk.rows[one] for one in at])


_EQUAL_IN_PYTHON = (Integer, String, Uuid, Date, DateTime)


def _is_equal_in_python(key: Any) -> bool:
    type_ = key.type
    return (
        isinstance(type_, _EQUAL_IN_PYTHON)
        and not isinstance(type_, postgresql.CITEXT)
        and getattr(type_, "collation", None) is None
    )
