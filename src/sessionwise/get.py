"""Technique 8: many objects by their primary keys, for a handful of statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from sqlalchemy import select
from sqlalchemy.util import EMPTY_DICT

from sessionwise.errors import MissingRowsError, OptionError
from sessionwise.loading import internals, keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Mapper, Session
    from sqlalchemy.sql.base import ExecutableOption

    from sessionwise.loading.keys import IdentityKey

__all__ = ["Missing", "get_many"]

T = TypeVar("T")

Missing = Literal["none", "skip", "raise"]
"""What stands for a row that is not there: None, nothing, or an error."""


def get_many(
    session: Session,
    entity: type[T],
    idents: Iterable[Any],
    *,
    missing: Missing = "none",
    options: Sequence[ExecutableOption] = (),
    populate_existing: bool = False,
    with_for_update: bool | Mapping[str, Any] | None = None,
    identity_token: Any = None,
    execution_options: Mapping[str, Any] = EMPTY_DICT,
    bind_arguments: dict[str, Any] | None = None,
) -> list[T | None]:
    """Return the objects with some primary keys, in the order asked.

    Each is what ``session.get()`` returns. Those that the identity map holds cost nothing, the
    others one SELECT for 500.

    :param idents: primary keys, each as ``get()`` takes it; one may come twice.
    :param missing: what stands for a row that is not there: ``"none"``: None; ``"skip"``: nothing,
      and the list is shorter; ``"raise"``: an error.
    :param options: loader options, for what the identity map does not hold.
    :param populate_existing: read all of them anew.
    :param with_for_update: lock the rows, as ``Session.refresh`` takes it; they are read anew.
    :raises MissingRowsError: for ``missing="raise"``, with the keys of all that are not there.
    :raises OptionError: for another value of ``missing``.
    """
    if missing not in get_args(Missing):
        raise OptionError.for_value("missing", missing, get_args(Missing))
    mapper = keys.mapper_of(entity)
    statement: Select[Any] = keys.for_update(select(entity).options(*options), with_for_update)
    if identity_token is not None:
        execution_options = {**execution_options, "identity_token": identity_token}
    if populate_existing or (with_for_update and session.autoflush):
        execution_options = {**execution_options, "populate_existing": True}
    anew = with_for_update or mapper.always_refresh or execution_options.get("populate_existing")

    wanted = [
        mapper.identity_key_from_primary_key(keys.of(mapper, ident), identity_token)
        for ident in idents
    ]
    found: dict[IdentityKey, Any] = {} if anew else _held(session, wanted)
    absent = [key for key in dict.fromkeys(wanted) if key not in found]
    held = _objects(session, absent)
    for instance in keys.load(
        session,
        statement,
        mapper,
        [key[1] for key in absent],
        execution_options=execution_options,
        bind_arguments=bind_arguments,
    ):
        found[internals.key_of(internals.state_of(instance))] = instance
    unsure = keys.in_doubt((key[1] for key in absent), (key[1] for key in found))
    for key in absent:
        if key not in found and key[1] in unsure:
            found[key] = session.get(entity, key[1])
    _settle(session, mapper, held, found)
    answers = [_of_class(found.get(key), entity) for key in wanted]
    return _without_missing(entity, wanted, answers, missing)


def _held(session: Session, wanted: Iterable[IdentityKey]) -> dict[IdentityKey, Any]:
    """Return what the identity map can answer: objects that are not expired."""
    objects = _objects(session, wanted)
    return {key: one for key, one in objects.items() if not internals.state_of(one).expired}


def _objects(session: Session, wanted: Iterable[IdentityKey]) -> dict[IdentityKey, Any]:
    """Return the objects of some keys that the identity map has, expired or not."""
    identity_map = session.identity_map
    pairs = ((key, identity_map.get(key)) for key in wanted)
    return {key: instance for key, instance in pairs if instance is not None}


def _settle(
    session: Session,
    mapper: Mapper[Any],
    held: dict[IdentityKey, Any],
    found: dict[IdentityKey, Any],
) -> None:
    """Find out what has become of objects in the session that no row came for.

    The row has been deleted, or else criteria hide it, which do not concern ``get()`` here.
    """
    in_doubt = {key: one for key, one in held.items() if key not in found}
    if not in_doubt:
        return
    there = keys.existing(session, mapper, [key[1] for key in in_doubt])
    found.update((key, one) for key, one in in_doubt.items() if key[1] in there)
    gone = [internals.state_of(one) for key, one in in_doubt.items() if key[1] not in there]
    internals.note_deleted(session, gone)


def _of_class(instance: Any, entity: type[T]) -> T | None:
    return instance if isinstance(instance, entity) else None


def _without_missing(
    entity: type[T], wanted: list[IdentityKey], answers: list[T | None], missing: Missing
) -> list[T | None]:
    if missing == "none":
        return answers
    if missing == "raise":
        absent = [key[1] for key, one in zip(wanted, answers, strict=True) if one is None]
        if absent:
            raise MissingRowsError.of(entity, absent)
    return [one for one in answers if one is not None]
