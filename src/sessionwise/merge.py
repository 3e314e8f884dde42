"""Technique 4: many objects merged for a handful of statements, and nobody's update lost."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from sessionwise import dialects
from sessionwise.errors import MergeConflictError, MissingRowsError, OptionError
from sessionwise.loading import internals, three_way
from sessionwise.loading.prefetch import How, identity_of, prefetch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy.orm import Session
    from sqlalchemy.orm.interfaces import ORMOption

    from sessionwise.loading.prefetch import Prefetched

__all__ = ["Conflicts", "Missing", "merge_many"]

T = TypeVar("T")

Conflicts = Literal["overwrite", "mine", "theirs", "raise"]
"""Whose value counts where both have changed; ``"overwrite"`` does not ask who has."""
Missing = Literal["insert", "raise"]
"""What becomes of an object that has no row."""


def merge_many(
    session: Session,
    instances: Iterable[T],
    *,
    conflicts: Conflicts = "overwrite",
    missing: Missing = "insert",
    options: Sequence[ORMOption] | None = None,
) -> list[T]:
    """Merge many objects into the session, and what they cascade to: one SELECT for 500.

    Two objects with one primary key become one. With ``conflicts="overwrite"`` each is merged as
    ``merge()`` does: every attribute that is loaded is written, whatever the row says by now. The
    other choices compare three values of each attribute: its base, which the object was loaded
    with; mine, in the object; theirs, in the row now, which is locked. What I did not touch is not
    written. Where both have changed, the choice decides. Collections take what I added and lose
    what I removed. An attribute set on an object without a base, such as one made from a web form,
    is a conflict where it differs from theirs; so is a collection set on it, which with "mine" is
    all that the row then has.

    :param conflicts: ``"overwrite"``, or ``"mine"``, ``"theirs"`` or ``"raise"``.
    :param missing: ``"insert"`` objects that have no row, or ``"raise"``.
    :param options: loader options for the rows.
    :returns: the session's objects, in the order given.
    :raises MergeConflictError: for ``"raise"``, with every conflict; nothing has been merged then.
    :raises MissingRowsError: for ``missing="raise"``; nothing has been merged then.
    :raises OptionError: for another value of ``conflicts`` or ``missing``.
    """
    for name, value, allowed in (
        ("conflicts", conflicts, get_args(Conflicts)),
        ("missing", missing, get_args(Missing)),
    ):
        if value not in allowed:
            raise OptionError.for_value(name, value, allowed)
    sources = list(instances)
    for source in sources:
        internals.checked_state(source)
    if session.autoflush:
        session.flush()
    if conflicts == "overwrite":
        found = prefetch(session, sources, How(options or ()))
        _check_missing(found, sources, missing)
        return internals.merge_all(session, sources, found.absent, options)
    with _locking(session, sources):
        found = prefetch(session, sources, How(options or (), anew=True, lock=True))
    _check_missing(found, sources, missing)
    merge = three_way.compare(session, found)
    if conflicts == "raise" and merge.conflicts:
        raise MergeConflictError.of(merge.conflicts)
    return merge.carry_out(session, sources, options, mine=conflicts == "mine")


def _locking(session: Session, sources: list[Any]) -> AbstractContextManager[object]:
    """Give a block in which what is read stays true until it is written."""
    for source in sources:
        bind = session.get_bind(internals.state_of(source).mapper)
        if not dialects.of(bind.dialect).locks_rows:
            return session.begin_nested()
    return nullcontext()


def _check_missing(found: Prefetched, sources: list[Any], missing: Missing) -> None:
    if missing == "insert":
        return
    states = [internals.state_of(source) for source in sources]
    absent = [state for state in states if found.target_of(state) is None]
    if absent:
        keys = [identity_of(state) for state in absent]
        raise MissingRowsError.of(
            absent[0].class_, [(None,) if key is None else key[1] for key in keys]
        )
