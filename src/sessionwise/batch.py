"""Batches with bad rows: ``each`` treats every item as if it had a savepoint of its own.

Chunks share a savepoint, and only a chunk that fails is done again in parts. How large a chunk is,
and what its parts are, is decided by :func:`size` and :func:`parts`, which touch nothing;
:class:`_Batch` does it.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import ClauseElement, Table, UniqueConstraint, event, inspect, select, tuple_
from sqlalchemy.exc import (
    DBAPIError,
    IllegalStateChangeError,
    IntegrityError,
    InvalidRequestError,
    SQLAlchemyError,
)
from sqlalchemy.orm.exc import UnmappedColumnError

from sessionwise.errors import DeadlineExceededError, OptionError
from sessionwise.transaction import activity, failed_block, internals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from sqlalchemy import Column
    from sqlalchemy.orm import InstanceState, Mapper, Session, SessionTransaction

__all__ = ["BatchResult", "Reject", "each", "parts", "size"]

T = TypeVar("T")

CHUNK_SIZE = 500
"""Larger ones save next to nothing, and cost more where one item fails."""
WAYS = 8
"""In how many parts a chunk that failed is done again."""
MANY = 0.12
"""The share of surprises beyond which items go one by one: a failed attempt costs several."""
HOPEFUL = 0.4
"""How many failing items a chunk may be expected to have: two of three such chunks have none."""


@dataclass(frozen=True)
class Reject(Generic[T]):
    """An item that could not be stored."""

    position: int
    """Where it stands in the input, from 0."""
    item: T
    """The item itself, as it was before it was tried."""
    error: Exception
    """What its own savepoint failed with."""


@dataclass(frozen=True)
class BatchResult(Generic[T]):
    """What has become of the items of :func:`each`."""

    accepted: list[T] = field(default_factory=list)
    """The items whose work stands, in the order of the input."""
    rejected: list[Reject[T]] = field(default_factory=list)
    """The others, in the order of the input."""

    @property
    def total(self) -> int:
        """How many items there were."""
        return len(self.accepted) + len(self.rejected)


def each(
    session: Session,
    items: Iterable[T],
    apply: Callable[[T], object] | None = None,
    *,
    chunk_size: int = CHUNK_SIZE,
) -> BatchResult[T]:
    """Do the same to each item; one that fails leaves nothing behind, and the others stand.

    It happens in the session's transaction, in the block it is in, and is not committed. What was
    pending before is flushed first. An item fails by an exception of ``apply`` or of its flush.

    :param items: read as needed, ``chunk_size`` at a time.
    :param apply: takes an item and may do with the session whatever a savepoint undoes; the
      default is ``session.add``. It is called again for the items of a chunk that failed, so what
      it does outside of the session must bear repeating. It ends no transaction but its own.
    :param chunk_size: how many items share a savepoint, 1 or more.
    :return: the items accepted and those rejected, with position and error.
    :raises OptionError: for a ``chunk_size`` below 1.
    :raises InvalidRequestError: where ``apply`` has ended the savepoint it was called in.
    :raises Exception: what no item is to blame for: a lost connection, a transaction that the
      server has rolled back, a deadline that has passed, what reading ``items`` raises. What is
      done until then stands in the transaction, as far as there is one.
    """
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1:
        raise OptionError(f"chunk_size={chunk_size!r} is not a size; use 1 or more, such as 1000")
    batch = _Batch(session, apply or session.add)
    source = enumerate(items)
    with batch.listening():
        batch.do_all(source, chunk_size)
    return batch.result


def size(limit: int, seen: int, surprises: int) -> int:
    """Decide how many items are to share a savepoint.

    :param limit: how many at most, 1 or more.
    :param seen: how many items have been accepted or rejected.
    :param surprises: how many of them have been rejected and had not been told by their keys.
    """
    if not surprises:
        return limit
    if surprises > MANY * seen:
        return 1
    return max(1, min(limit, int(HOPEFUL * seen / surprises)))


def parts(
    chunk: Sequence[T], suspects: Collection[int], seen: int, surprises: int
) -> list[Sequence[T]]:
    """Decide in which parts a chunk that failed is done again.

    :param chunk: two items or more.
    :param suspects: the places in it of items that are tried alone; the others stay together.
    :param seen: as for :func:`size`.
    :param surprises: as for :func:`size`.
    """
    step = len(chunk) if suspects else size(-(-len(chunk) // WAYS), seen, surprises)
    cuts = {*range(0, len(chunk), step), *suspects, *(place + 1 for place in suspects)}
    bounds = sorted(cuts | {len(chunk)})
    return [chunk[start:end] for start, end in pairwise(bounds)]


@dataclass(frozen=True)
class _Failure:
    """Why an attempt failed."""

    error: Exception
    suspects: set[int]
    """The places of the items that may be to blame, as far as can be told."""
    foreseen: bool
    """Whether their keys have told them, all at once."""


@dataclass(frozen=True, slots=True)
class Added:
    """An object that an attempt has added to the session."""

    place: int
    """The place, in the attempt, of the item it was added for."""
    state: InstanceState[Any]
    before: dict[str, Any]
    """Its attributes when it was added."""


class _Batch(Generic[T]):
    """The run of one :func:`each`."""

    def __init__(self, session: Session, apply: Callable[[T], object]) -> None:
        self.result: BatchResult[T] = BatchResult()
        self._session = session
        self._apply = apply
        self._surprises = 0
        self._added: list[Added] = []
        """What the running attempt has added."""
        self._place = 0
        """Which of its items is applied."""
        self._savepoint: SessionTransaction | None = None
        """The savepoint of the running attempt, until it ends."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Follow what is added to the session, and which transactions end, for a block."""
        listeners = (
            ("transient_to_pending", self._note_added),
            ("after_transaction_end", self._note_ended),
        )
        for name, listener in listeners:
            event.listen(self._session, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners:
                event.remove(self._session, name, listener)

    def do_all(self, source: Iterator[tuple[int, T]], chunk_size: int) -> None:
        """Do the items, chunk by chunk."""
        while chunk := list(islice(source, size(chunk_size, self.result.total, self._surprises))):
            self._do(chunk)

    def _do(self, chunk: Sequence[tuple[int, T]]) -> None:
        """Do the items of a chunk, in its parts where it fails."""
        result, to_do, foreseen = self.result, [chunk], set[int]()
        while to_do:
            part = to_do.pop()
            limit = size(len(part), result.total, self._surprises)
            if len(part) > WAYS * limit:  # it was cut when less was known
                to_do.append(part[limit:])
                part = part[:limit]
            failure = self._attempt([item for _, item in part])
            if failure is None:
                result.accepted.extend(item for _, item in part)
            elif len(part) == 1:
                [(position, item)] = part
                result.rejected.append(Reject(position, item, failure.error))
                self._surprises += position not in foreseen
            else:
                if failure.foreseen:
                    foreseen.update(part[place][0] for place in failure.suspects)
                to_do += reversed(parts(part, failure.suspects, result.total, self._surprises))

    def _attempt(self, items: Sequence[T]) -> _Failure | None:
        """Do some items in one savepoint; where that fails, undo all of it and say why.

        The block is entered, so that a ``commit()`` of ``apply``'s ends the savepoint, no more.
        """
        self._added.clear()
        applied = False
        self._savepoint = savepoint = self._session.begin_nested()
        try:
            with savepoint:
                self._apply_to(items)
                applied = True
            return None
        except Exception as raised:
            failed_block.forget(self._session)
            if not _is_an_items(raised, self._session):
                raise
            error = raised
        suspects = set[int]() if applied else {self._place}
        told = set[int]()
        if len(items) > WAYS and isinstance(error, IntegrityError):
            told = taken(self._session, self._added)
        self._restore_added()
        return _Failure(error, suspects | told, foreseen=bool(told))

    def _apply_to(self, items: Sequence[T]) -> None:
        try:
            for self._place, item in enumerate(items):
                self._apply(item)
                self._check_savepoint()
        except Exception as raised:
            self._check_savepoint(raised)
            raise

    def _check_savepoint(self, error: Exception | None = None) -> None:
        if self._savepoint is None:
            raise _SavepointGoneError(
                "apply has ended the savepoint that session.each() called it in. Leave commit(), "
                "rollback() and close() out of it; with session.begin_nested() it has a block of "
                "its own to undo"
            ) from error

    def _note_ended(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction is self._savepoint:
            self._savepoint = None

    def _note_added(self, _session: Session, instance: object) -> None:
        state = inspect(instance, raiseerr=True)
        self._added.append(Added(self._place, state, dict(state.dict)))

    def _restore_added(self) -> None:
        """Take from the objects that were added what the flush has given them: keys, defaults.

        SQLAlchemy lets it stand, and the next attempt would store it as if the user had set it.
        """
        for added in reversed(self._added):
            state, before = added.state, added.before
            state.expired_attributes.clear()
            for attribute in state.mapper.column_attrs:
                if attribute.key in before:
                    state.dict[attribute.key] = before[attribute.key]
                else:
                    state.dict.pop(attribute.key, None)


class _SavepointGoneError(InvalidRequestError):
    """``apply`` has ended the savepoint that it was called in."""


def _is_an_items(error: Exception, session: Session) -> bool:
    """Say whether an error rejects an item, or else ends the batch."""
    if isinstance(error, _SavepointGoneError | DeadlineExceededError | IllegalStateChangeError):
        return False
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return False
    return all(
        not connection.invalidated and activity.of(connection).intact
        for connection in internals.connections_of(session)
    )


def taken(session: Session, added: Iterable[Added]) -> set[int]:
    """Find the items whose unique keys are stored already, or come a second time.

    A message names one such key at most, and SQLite's not even its value: so the database is
    asked. What it says is only where to look first; a savepoint decides.
    """
    found = set[int]()
    by_mapper: dict[Mapper[Any], list[Added]] = {}
    for one in added:
        by_mapper.setdefault(one.state.mapper, []).append(one)
    for mapper, group in by_mapper.items():
        for columns, attributes in _unique_keys(mapper):
            places: dict[tuple[Any, ...], int] = {}
            for one in group:
                key = tuple(one.state.dict.get(attribute) for attribute in attributes)
                if all(_is_known(value) for value in key):
                    if key in places:
                        found.add(one.place)
                    places.setdefault(key, one.place)
            if places:
                stored = _stored(session, mapper, columns, list(places))
                found.update(places[key] for key in stored if key in places)
    return found


def _unique_keys(mapper: Mapper[Any]) -> Iterator[tuple[list[Column[Any]], list[str]]]:
    """Give the columns, and the attributes, of each unique key of a mapper's tables."""
    for table in mapper.tables:
        if not isinstance(table, Table):
            continue
        keys: list[Any] = [table.primary_key]
        keys += [one for one in table.constraints if isinstance(one, UniqueConstraint)]
        keys += [index for index in table.indexes if index.unique]
        for key in filter(len, (one.columns for one in keys)):
            columns = list(key)
            with suppress(UnmappedColumnError):
                yield columns, [mapper.get_property_by_column(column).key for column in columns]


def _is_known(value: object) -> bool:
    """Say whether a value of a key is there, and is not computed by the database."""
    return (
        value is not None
        and isinstance(value, Hashable)
        and not isinstance(value, ClauseElement)
        and not hasattr(value, "__clause_element__")
    )


def _stored(
    session: Session, mapper: Mapper[Any], columns: list[Column[Any]], keys: list[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Return those of some keys that are stored; none where the database cannot be asked."""
    one_column = len(columns) == 1
    sought = columns[0].in_([key for (key,) in keys]) if one_column else tuple_(*columns).in_(keys)
    with session.begin_nested() as savepoint:
        try:
            connection = session.connection({"mapper": mapper})
            return [tuple(row) for row in connection.execute(select(*columns).where(sought))]
        except SQLAlchemyError:
            savepoint.rollback()
            return []
