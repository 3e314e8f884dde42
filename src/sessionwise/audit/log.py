"""The audit's rows as objects, to be queried as any others."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotation
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import DeclarativeBase, Mapped, relationship

from sessionwise.audit.listening import create
from sessionwise.audit.tables import LOG, METADATA, TRANSACTION

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AuditLog", "AuditTransaction"]


class _Base(DeclarativeBase):
    metadata = METADATA


class AuditTransaction(_Base):
    """A transaction that has changed something: who, when and why."""

    __table__ = TRANSACTION

    id: Mapped[int]
    native_id: Mapped[str | None]
    at: Mapped[datetime]
    actor: Mapped[str | None]
    reason: Mapped[str | None]
    request_id: Mapped[str | None]
    context: Mapped[Any]


class AuditLog(_Base):
    """One change of one row."""

    __table__ = LOG

    id: Mapped[int]
    transaction_id: Mapped[int]
    at: Mapped[datetime]
    action: Mapped[str]
    table: Mapped[str]
    object_id: Mapped[str | None]
    previous_id: Mapped[str | None]
    old: Mapped[Any]
    new: Mapped[Any]
    schema_version: Mapped[str | None]
    transaction: Mapped[AuditTransaction] = relationship(
        AuditTransaction,
        primaryjoin=LOG.c.transaction_id == TRANSACTION.c.id,
        foreign_keys=LOG.c.transaction_id,
        viewonly=True,
    )

    @classmethod
    def create(
        cls,
        *,
        action: str,
        table: str,
        object_id: Any = None,
        changes: Mapping[str, tuple[Any, Any]] | None = None,
        timestamp: datetime | None = None,
        session: Any = None,
    ) -> None:
        """Record a change from a listener of the application's own, in the session's transaction.

        The same is recorded once for a flush, and an UPDATE without changes not at all. Nothing is
        done for a table that the session's ``audit=`` records: that has more to say.

        :param action: INSERT, UPDATE, DELETE, TRUNCATE, LINK or UNLINK.
        :param table: as ``__tablename__``, or with its schema.
        :param object_id: the primary key, or the object. None stands for the new objects of the
          table, in the order of ``session.new``: they get their ids in the flush.
        :param changes: what :func:`get_changes` returns, or the like.
        :param timestamp: one without a zone is UTC; None is now.
        :param session: by default the one whose event is running, of sessionwise's.
        :raises OptionError: where it cannot be known which session or which object is meant.
        :raises AuditError: where the database has no audit's tables.
        """
        create.create(
            action=action,
            table=table,
            object_id=object_id,
            changes=changes,
            timestamp=timestamp,
            session=session,
        )
