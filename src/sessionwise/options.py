"""The options of a session: SQLAlchemy's, typed, and ours by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.orm import Query, Session

    from sessionwise.audit import Audit
    from sessionwise.autoflush import AutoflushMode
    from sessionwise.transaction.failed_block import FailedBlockMode
    from sessionwise.transaction.receipt import ReceiptMode

__all__ = ["NAMES", "AsyncSessionOptions", "PlainOptions", "SessionOptions", "refuse_for_class"]


class _CommonOptions(TypedDict, total=False):
    autobegin: bool
    expire_on_commit: bool
    twophase: bool
    enable_baked_queries: bool
    info: dict[Any, Any]
    query_cls: type[Query[Any]]
    join_transaction_mode: Literal[
        "conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"
    ]
    close_resets_only: bool
    execution_options: Mapping[str, Any]


class _OurOptions(TypedDict, total=False):
    autoflush: AutoflushMode
    failed_block: FailedBlockMode
    receipts: ReceiptMode
    batch_loads: bool
    audit: Audit


class PlainOptions(_CommonOptions, total=False):
    """What SQLAlchemy's ``Session()`` takes besides ``bind``; SQLAlchemy documents them."""

    binds: dict[Any, Engine | Connection]


class SessionOptions(PlainOptions, _OurOptions, total=False):
    """What our ``Session()`` takes besides ``bind``."""


class AsyncSessionOptions(_CommonOptions, _OurOptions, total=False):
    """What our ``AsyncSession()`` takes besides ``bind``."""

    binds: dict[Any, AsyncEngine | AsyncConnection]
    sync_session_class: type[Session]


OURS = frozenset(_OurOptions.__optional_keys__) - {"autoflush"}
"""The options that a session class of plain SQLAlchemy does not take."""


def refuse_for_class(class_: type, ours: type, options: Mapping[str, Any]) -> None:
    """Raise OptionError where an option of ours would reach a class that is not ours."""
    foreign = OURS.intersection(options)
    if options.get("autoflush") == "related":
        foreign |= {"autoflush"}
    if foreign and not issubclass(class_, ours):
        raise OptionError.for_class(class_, foreign)


NAMES = frozenset(SessionOptions.__optional_keys__) - {"binds"}
"""What ``Database`` passes to its sessions; what else it is given is for the engine."""
