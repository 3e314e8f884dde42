"""Expired and deferred columns, for many objects at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessionwise.loading import internals, keys

if TYPE_CHECKING:
    from sqlalchemy.orm import InstanceState, Session

    from sessionwise.loading.internals import ColumnLoad
    from sessionwise.loading.siblings import Siblings

__all__ = ["load"]


def load(session: Session, siblings: Siblings, wanted: ColumnLoad) -> list[object] | None:
    """Load some columns of an object, and of those around it that lack them, too.

    The first expired object that is touched in a unit of work is loaded by itself: often it is the
    only one, as in ``session.commit(); return user.id``.

    :returns: the object; None where SQLAlchemy is to load it.
    """
    state, names = wanted.state, wanted.names
    columns = names.intersection(state.mapper.column_attrs.keys())
    if state.expired and siblings.is_first(session, state):
        return None
    like = internals.options_of(state)

    def lacks_them(other: InstanceState[Any]) -> bool:
        return (
            other.mapper is state.mapper
            and other.expired == state.expired
            and (other.expired or not columns.isdisjoint(other.unloaded))
            and other.identity_token == state.identity_token
            and internals.options_of(other) == like
        )

    statement = internals.as_refreshed(state, names)
    others = [] if statement is None else siblings.near(session, state, lacks_them)
    if statement is None or not others:
        return None
    # Referred to until they are loaded: nobody else may do so.
    instances = [one.obj() for one in (state, *others)]
    options = {**wanted.execution_options, "identity_token": state.identity_token}
    primary_keys = [internals.key_of(one)[1] for one in (state, *others)]
    found = keys.load(session, statement, state.mapper, primary_keys, execution_options=options)
    # No row may mean that criteria hide it, which do not concern an object in the session.
    return instances[:1] if any(one is instances[0] for one in list(found)) else None
