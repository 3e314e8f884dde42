"""Checkpoints: which pieces of which files are stored, noted in the transactions that store them.

A load has a row that says that it runs, or has finished, and one for each piece. Who stores a
piece writes its row first: of two processes the second waits there, and then finds it taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from sessionwise.errors import LoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

    from sessionwise.transfer.inputs import Input
    from sessionwise.transfer.options import LoadOptions

__all__ = ["TABLE", "Checkpoints", "State", "patient"]

TABLE = Table(
    "sessionwise_load",
    MetaData(),
    Column("load", String(64), primary_key=True),
    Column("piece", Integer, primary_key=True, autoincrement=False),
    Column("first_row", BigInteger, nullable=False),
    Column("read", BigInteger, nullable=False, default=0),
    Column("stored", BigInteger, nullable=False, default=0),
    Column("updated", BigInteger, nullable=False, default=0),
    Column("skipped", BigInteger, nullable=False, default=0),
    Column("rejected", BigInteger, nullable=False, default=0),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("commit_every", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False, default=False),
    Column("target", Text, nullable=False),
    Column("file", Text, nullable=False),
)
"""Where it is noted; a load that is not to be resumed may be deleted from it."""

_SUMMARY = -1
"""The piece that stands for the whole load."""

_COUNTS = ("read", "stored", "updated", "skipped", "rejected")

_MILLISECONDS_TO_WAIT = 60_000
"""How long a piece waits for SQLite's one writer."""


@dataclass
class State:
    """How far the load of one file had come when this one began."""

    load: str
    """What the load is known by."""
    size: int
    """Rows of a piece."""
    done: set[int] = field(default_factory=set)
    """The pieces that are stored."""
    finished: bool = False
    """Whether there is nothing left to do."""
    rejected: int = 0
    """Rows of these pieces that were rejected."""


def patient(connection: Connection) -> None:
    """Let a connection wait for its turn, unless its URL says how long: SQLite has one writer."""
    if connection.dialect.name == "sqlite" and "timeout" not in connection.engine.url.query:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_MILLISECONDS_TO_WAIT}")


class Checkpoints:
    """The checkpoints of one load: of each of its files into one table."""

    def __init__(self, engine: Engine, table: Table, options: LoadOptions) -> None:
        self._engine = engine
        self._table = table
        self._options = options
        self._states: dict[Input, State] = {}

    def __getitem__(self, one: Input) -> State:
        return self._states[one]

    def create(self) -> None:
        """Create the table, before anything else: MariaDB commits what came before it."""
        try:
            TABLE.create(self._engine, checkfirst=True)
        except DBAPIError:
            if not inspect(self._engine).has_table(TABLE.name):
                raise  # and where it is there now, another load has been faster

    def refuse_unfinished(self, inputs: Sequence[Input]) -> None:
        """See to it that no part of a file is stored by an earlier load.

        :raises LoadError: where it is.
        """
        if not inspect(self._engine).has_table(TABLE.name):
            return
        changes = self._options.restart
        with self._engine.begin() if changes else self._engine.connect() as connection:
            patient(connection)
            for one in inputs:
                if one.path is not None:
                    self._begin(connection, one, None)

    def begin(self, inputs: Sequence[Input], size: int) -> None:
        """Note that the load of each file has begun, or find how far it has come.

        :raises LoadError: where it cannot begin so.
        """
        for one in inputs:
            if one.path is None:
                raise LoadError(
                    f"{one.name} can be read only once, so a load of it cannot be resumed: load "
                    "it in one transaction, without commit_every=, resume= and jobs=, or save it "
                    "as a file first"
                )
        try:
            with self._engine.begin() as connection:
                patient(connection)
                for one in inputs:
                    self._states[one] = self._begin(connection, one, size)
        except IntegrityError as error:
            raise LoadError(
                "another process has begun to load the same file into "
                f"{self._table.fullname} at this moment: wait until it has ended"
            ) from error

    def _begin(self, connection: Connection, one: Input, size: int | None) -> State:
        """Look for a load of a file.

        :param size: rows of a piece; None where this load has no pieces, and is noted nowhere.
        """
        load = one.fingerprint(one.path, self._table)  # type: ignore[arg-type]
        file = str(one.path.resolve())  # type: ignore[union-attr]
        known = connection.execute(self._summary(load)).one_or_none()
        if known is None:
            self._refuse_changed(connection, one, file)
        if known is not None and self._options.resume and size is not None:
            return self._known(connection, one, known)
        if known is not None and not known.finished and not self._options.restart:
            raise self._unfinished(connection, one, load, "")
        if size is None:
            if self._options.restart:
                connection.execute(delete(TABLE).where(TABLE.c.load == load))
            return State(load, 0)
        if known is not None:
            connection.execute(delete(TABLE).where(TABLE.c.load == load))
        values = self._row(load, _SUMMARY, 0, size, file)
        connection.execute(insert(TABLE), values)
        return State(load, size)

    def _known(self, connection: Connection, one: Input, known: Any) -> State:
        wanted = self._options.commit_every
        if known.finished:
            return State(known.load, known.commit_every, finished=True, rejected=known.rejected)
        if wanted is not None and wanted != known.commit_every:
            raise LoadError(
                f"the load of {one.name} was begun with commit_every={known.commit_every}, and "
                f"cannot go on with {wanted}: leave it out"
            )
        rows = connection.execute(
            select(TABLE.c.piece, TABLE.c.rejected).where(
                TABLE.c.load == known.load, TABLE.c.piece != _SUMMARY
            )
        ).all()
        return State(
            known.load,
            known.commit_every,
            {piece for piece, _ in rows},
            rejected=sum(rejected for _, rejected in rows),
        )

    def _refuse_changed(self, connection: Connection, one: Input, file: str) -> None:
        for load, other in connection.execute(
            select(TABLE.c.load, TABLE.c.file).where(
                TABLE.c.piece == _SUMMARY,
                TABLE.c.finished.is_(False),
                TABLE.c.target == self._table.fullname,
            )
        ).all():
            if other != file:
                continue
            if not self._options.restart:
                raise self._unfinished(connection, one, load, ", and the file has changed since")
            connection.execute(delete(TABLE).where(TABLE.c.load == load))

    def _unfinished(
        self, connection: Connection, one: Input, load: str, changed: str
    ) -> LoadError:
        stored = connection.scalar(select(_stored()).where(TABLE.c.load == load)) or 0
        steps = "add restart=True to load all of it"
        if not changed:
            steps = f"add resume=True to go on, or {steps.removeprefix('add ')}"
        return LoadError(
            f"a load of {one.name} into {self._table.fullname} has not come to its end{changed}: "
            f"{int(stored):,} rows of it are stored; {steps}, whose rows stay"
        )

    def claim(self, session: Session, one: Input, piece: int) -> bool:
        """Begin to store a piece; say whether it is still to be stored.

        :raises LoadError: where another process has forgotten this load.
        """
        state = self._states[one]
        values = self._row(state.load, piece, piece * state.size, state.size, one.label)
        connection = session.connection(bind_arguments={"clause": self._table})
        patient(connection)
        try:
            connection.execute(insert(TABLE), values)
        except IntegrityError:
            session.rollback()
            return False
        # Whoever finishes the load removes the pieces: that must not happen in between.
        running = connection.execute(self._summary(state.load).with_for_update(read=True))
        known = running.one_or_none()
        if known is None:
            raise LoadError(
                f"another process has begun to load {one.name} anew: let one of them do it"
            )
        return not known.finished

    def complete(self, session: Session, one: Input, piece: int, counts: dict[str, int]) -> None:
        """Note what has become of the rows of a piece, in the transaction that has stored it."""
        where = (TABLE.c.load == self._states[one].load, TABLE.c.piece == piece)
        connection = session.connection(bind_arguments={"clause": self._table})
        connection.execute(update(TABLE).where(*where).values(**counts))

    def finish(self) -> None:
        """Note that every file is stored, and no more which pieces."""
        with self._engine.begin() as connection:
            patient(connection)
            for state in self._states.values():
                of_load = TABLE.c.load == state.load
                if connection.dialect.name == "sqlite":  # to read first is not to begin to write
                    connection.execute(update(TABLE).where(of_load).values(load=TABLE.c.load))
                running = connection.execute(self._summary(state.load).with_for_update())
                known = running.one_or_none()
                if known is None or known.finished:
                    continue
                sums = [func.sum(TABLE.c[name]).label(name) for name in _COUNTS]
                found = connection.execute(select(*sums).where(of_load)).one()
                connection.execute(delete(TABLE).where(of_load, TABLE.c.piece != _SUMMARY))
                totals = {name: int(getattr(found, name) or 0) for name in _COUNTS}
                done = {**totals, "finished": True, "at": datetime.now(UTC)}
                connection.execute(update(TABLE).where(of_load).values(**done))

    def stored(self) -> int:
        """Return how many rows of all files are stored, by whatever load."""
        loads = [state.load for state in self._states.values()]
        with self._engine.connect() as connection:
            patient(connection)
            statement = select(_stored()).where(TABLE.c.load.in_(loads))
            return int(connection.scalar(statement) or 0)

    def _row(self, load: str, piece: int, first: int, size: int, file: str) -> dict[str, Any]:
        return {
            "load": load,
            "piece": piece,
            "first_row": first,
            "at": datetime.now(UTC),
            "commit_every": size,
            "target": self._table.fullname,
            "file": file,
        }

    def _summary(self, load: str) -> Any:
        return select(TABLE).where(TABLE.c.load == load, TABLE.c.piece == _SUMMARY)


def _stored() -> Any:
    return func.sum(TABLE.c.stored + TABLE.c.updated)
