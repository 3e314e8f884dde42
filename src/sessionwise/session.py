"""``Session`` and ``sessionmaker``: a table of contents, one short method per verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy import event, orm

from sessionwise import connection, identity, options, savepoint
from sessionwise.transaction.failed_block import install as install_failed_block

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Unpack

    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import SessionTransaction

    from sessionwise.transaction.failed_block import FailedBlockMode

__all__ = ["Session", "sessionmaker"]

_S = TypeVar("_S", bound=orm.Session)


class Session(orm.Session):
    """SQLAlchemy's ``Session``, and what the rooms of this package add to it.

    Cooperative: ``class S(sessionwise.Session, sqlmodel.Session)`` has the verbs of both.

    :param bind: the engine or connection, as in SQLAlchemy.
    :param failed_block: what ``rollback()`` undoes while it handles the exception that a savepoint
      block has undone already: ``"unit"``, the whole unit of work, as in SQLAlchemy, or
      ``"contained"``, nothing more.
    :param options: SQLAlchemy's options.
    :raises OptionError: where ``failed_block`` is neither of the two.
    """

    def __init__(
        self,
        bind: Engine | Connection | None = None,
        *,
        failed_block: FailedBlockMode = "unit",
        **options: Unpack[options.PlainOptions],
    ) -> None:
        super().__init__(bind, **options)
        self._adopted: set[Engine] = set()
        identity.install(self)
        install_failed_block(self, failed_block)

    # 10 identity map

    def expunge_all(self) -> None:
        """Remove every object from the session, as in SQLAlchemy."""
        super().expunge_all()
        identity.install(self)

    # 11 savepoint

    def begin(self, nested: bool = False) -> SessionTransaction:
        """Begin a transaction, or a savepoint, whose ``with`` block owns what happens in it."""
        transaction = super().begin(nested)
        return savepoint.block(transaction) if nested else transaction

    def commit(self) -> None:
        """Commit the transaction; in a savepoint block, the block's savepoint."""
        savepoint.commit(self, super().commit)

    def rollback(self) -> None:
        """Roll back the transaction; in a savepoint block, the block's savepoint."""
        savepoint.rollback(self, super().rollback)

    # 12 connection

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """Return the engine or connection for a statement, as in SQLAlchemy."""
        bind = super().get_bind(*args, **kwargs)
        self._adopt(bind.engine)
        return bind

    def _adopt(self, engine: Engine) -> None:
        if engine not in self._adopted:
            connection.adopt(engine)
            self._adopted.add(engine)

    def cursor(self, **bind_arguments: Any) -> AbstractContextManager[Any]:
        """Flush, then give the driver's own cursor, in the session's transaction, for a block.

        :param bind_arguments: as in ``get_bind``, for a session with several engines.
        """
        return connection.cursor(self, **bind_arguments)


@event.listens_for(Session, "after_begin")
def _adopt_begun(
    session: Session, transaction: SessionTransaction, connection: Connection
) -> None:
    """Adopt the engine of a session whose own ``get_bind`` does not call ours."""
    session._adopt(connection.engine)


class sessionmaker(orm.sessionmaker[_S]):  # noqa: N801 -- SQLAlchemy's name for it
    """SQLAlchemy's ``sessionmaker`` that makes our sessions and takes our options.

    :raises OptionError: where an option of ours meets a ``class_`` that is not ours.
    """

    @overload
    def __init__(
        self,
        bind: Engine | Connection | None = None,
        *,
        class_: type[_S],
        **options: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: sessionmaker[Session],
        bind: Engine | Connection | None = None,
        **options: Unpack[options.SessionOptions],
    ) -> None: ...

    def __init__(
        self,
        bind: Engine | Connection | None = None,
        *,
        class_: type[Any] = Session,
        **kw: Any,
    ) -> None:
        options.refuse_for_class(class_, Session, kw)
        super().__init__(bind, class_=class_, **kw)

    def configure(self, **new_kw: Any) -> None:
        """Change the options of the sessions to come, as in SQLAlchemy."""
        options.refuse_for_class(self.class_, Session, new_kw)
        super().configure(**new_kw)
