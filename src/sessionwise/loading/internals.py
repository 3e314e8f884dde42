"""What SQLAlchemy's loading keeps to itself: all of it is used here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import inspect, select
from sqlalchemy.orm import LoaderCallableStatus, Mapper, RelationshipProperty
from sqlalchemy.orm.attributes import instance_dict, instance_state
from sqlalchemy.orm.context import _ORMCompileState
from sqlalchemy.orm.exc import NO_STATE, UnmappedInstanceError
from sqlalchemy.orm.util import AliasedInsp

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import InstanceState, PassiveFlag, Session

    from sessionwise.loading.keys import IdentityKey

    Loader = Callable[[InstanceState[Any], PassiveFlag], Any]

__all__ = [
    "EAGER",
    "ColumnLoad",
    "LazyLoad",
    "as_loaded",
    "as_refreshed",
    "cache_key",
    "checked_state",
    "columns_only",
    "is_by_primary_key",
    "is_compiled_by_others",
    "is_known_absent",
    "is_unconfirmed",
    "key_of",
    "load_by_class",
    "load_of",
    "mapper_of",
    "mark_all_unconfirmed",
    "mark_unconfirmed",
    "merge_all",
    "named_in_options",
    "note_deleted",
    "options_of",
    "parameters_of",
    "replace_criteria",
    "set_loader",
    "state_of",
    "state_or_none",
    "values_of",
    "with_options_of",
]


_ABSENT = "_sessionwise_absent"
"""Where a session holds the keys that a merge has found to have no row."""

EAGER = frozenset({"joined", "selectin", "subquery", "immediate", False})
"""Values of ``lazy`` by which a relationship is read with its object."""

_UNCONFIRMED = "sessionwise_unconfirmed"
"""Where an object notes it; what it notes there is pickled with it."""


def state_of(instance: object) -> InstanceState[Any]:
    """Return the state of a mapped object: ``inspect()``, at a fifth of its time."""
    return instance_state(instance)


def state_or_none(instance: object) -> InstanceState[Any] | None:
    """Return the state of an object; None where it is not of a mapped class."""
    try:
        return instance_state(instance)
    except NO_STATE:
        return None


def checked_state(instance: object) -> InstanceState[Any]:
    """Return the state of what a caller has given.

    :raises UnmappedInstanceError: where it is no object of a mapped class.
    """
    state = state_or_none(instance)
    if state is None:
        raise UnmappedInstanceError(instance)
    return state


def note_deleted(session: Session, states: Iterable[InstanceState[Any]]) -> None:
    """Take out of the session what has been found to have no row any more, as ``get()`` does."""
    session._remove_newly_deleted(list(states))


def key_of(state: InstanceState[Any]) -> IdentityKey:
    """Return the identity key of a persistent object."""
    return cast("IdentityKey", state.key)


def options_of(state: InstanceState[Any]) -> tuple[Any, ...]:
    """Return what tells apart the options that objects were loaded with."""
    if not state.load_options:
        return ()
    # Paths are hashed by identity, what is in them is not.
    return tuple(map(id, state.load_options)), state.load_path.path


def as_loaded(statement: Select[Any], state: InstanceState[Any]) -> Select[Any]:
    """Give a SELECT of the class of an object the options that the object was loaded with.

    Source: ``sqlalchemy.orm.loading._load_on_pk_identity``, which does so for a refresh.
    """
    if not state.load_options:
        return statement
    statement = statement.options(*state.load_options)
    path = {"_current_path": state.load_path.parent}
    statement._compile_options = _ORMCompileState.default_compile_options + path
    return statement


def as_refreshed(state: InstanceState[Any], names: Collection[str]) -> Select[Any] | None:
    """Return a SELECT that loads some attributes of objects like one, as a refresh of it would.

    None where that cannot be for more than one object at a time.
    """
    mapper = state.mapper
    if any(one.polymorphic_load == "selectin" for one in mapper.self_and_descendants):
        return None
    statement = as_loaded(select(mapper), state)
    options: Any = statement._compile_options
    if not state.load_options:
        options = _ORMCompileState.default_compile_options
    props = mapper._primary_key_propkeys.union(names)
    if mapper.polymorphic_on is not None:
        props |= {mapper.get_property_by_column(mapper.polymorphic_on).key}
    statement._compile_options = options + {"_only_load_props": frozenset(props)}
    return statement


def columns_only(statement: Select[Any], columns: Iterable[Any]) -> Select[Any]:
    """Have a SELECT of a class give columns of it; of its options only the criteria are left."""
    if statement._distinct:  # databases want to see then what is sorted by
        columns = [*columns, *(one for one in statement._order_by_clauses)]
    statement = statement.with_only_columns(*columns)
    statement._with_options = tuple(
        option for option in statement._with_options if _is_criteria(option)
    )
    return statement


def _is_criteria(option: Any) -> bool:
    return bool(option._is_criteria_option)


def with_options_of(source: Select[Any], statement: Select[Any]) -> Select[Any]:
    """Give a SELECT the loader and execution options of another one."""
    statement = statement.options(*source._with_options)
    return statement.execution_options(**source.get_execution_options())


def set_loader(state: InstanceState[Any], name: str, loader: Loader) -> None:
    """Have an attribute of one object read by a function, as long as it is not loaded."""
    state.callables = {**state.callables, name: loader}


def load_by_class(state: InstanceState[Any], name: str, passive: PassiveFlag) -> Any:
    """Load an attribute as its class does, and from now on, too."""
    state.callables = {key: one for key, one in state.callables.items() if key != name}
    loader: Loader | None = state.manager[name].impl.callable_
    return LoaderCallableStatus.ATTR_EMPTY if loader is None else loader(state, passive)


def merge_all(
    session: Session,
    instances: Iterable[Any],
    absent: Collection[IdentityKey],
    options: Sequence[Any] | None,
) -> list[Any]:
    """Merge objects as ``Session.merge_all`` does; two with one primary key become one.

    :param absent: keys that are known to have no row: they are not looked for again.
    """
    recursive: dict[Any, object] = {}
    by_key: dict[Any, object] = {}
    session.__dict__[_ABSENT] = absent
    try:
        with session.no_autoflush:
            return [
                session._merge(
                    instance_state(instance),
                    instance_dict(instance),
                    load=True,
                    options=options,
                    _recursive=recursive,
                    _resolve_conflict_map=by_key,
                )
                for instance in instances
            ]
    finally:
        del session.__dict__[_ABSENT]


def is_known_absent(session: Session, entity: Any, ident: Any, token: Any) -> bool:
    """Say whether a merge that runs now has found that a primary key has no row."""
    absent: Collection[IdentityKey] | None = session.__dict__.get(_ABSENT)
    if not absent:
        return False
    mapper = inspect(entity)
    return mapper.identity_key_from_primary_key(tuple(ident), token) in absent


def mark_unconfirmed(instance: object, flushed: Sequence[Collection[InstanceState[Any]]]) -> None:
    """Note that an object, and what it cascades to, leaves with values that are not committed.

    :param flushed: the objects that have been flushed in the running unit.
    """
    state = state_or_none(instance)
    if state is not None:
        cascaded = state.mapper.cascade_iterator("expunge", state)
        leaving = [state, *(other for _, _, other, _ in cascaded)]
        mark_all_unconfirmed(one for one in leaving if any(one in states for states in flushed))


def mark_all_unconfirmed(states: Iterable[InstanceState[Any]]) -> None:
    """Note that objects leave the session with values that are not committed."""
    for state in states:
        state.info[_UNCONFIRMED] = True


def is_unconfirmed(state: InstanceState[Any]) -> bool:
    """Say whether an object has left a session with values that were not committed."""
    return _UNCONFIRMED in state.info


@dataclass(frozen=True, slots=True)
class ColumnLoad:
    """A statement by which SQLAlchemy loads columns of an object."""

    state: InstanceState[Any]
    names: frozenset[str]
    execution_options: Mapping[str, Any]
    """Those of the statement, as far as they hold for any object."""


@dataclass(frozen=True, slots=True)
class LazyLoad:
    """A statement by which SQLAlchemy loads a relationship of an object."""

    state: InstanceState[Any]
    relationship: RelationshipProperty[Any]
    by_primary_key: bool
    """Whether a many-to-one looks for the primary key of what it refers to."""
    statement: Select[Any]
    params: Mapping[str, Any]
    execution_options: Mapping[str, Any]


def load_of(
    statement: Any, params: Any, execution_options: Mapping[str, Any]
) -> ColumnLoad | LazyLoad | None:
    """Return what a statement loads, where SQLAlchemy sends it to load something for an object."""
    options = execution_options["_sa_orm_load_options"]
    state: InstanceState[Any] | None = options._refresh_state
    if state is not None:
        names = statement._compile_options._only_load_props
        if names is None or options._is_user_refresh or options._version_check:
            return None
        for_any = {"_sa_orm_load_options": options + {"_refresh_state": None}}
        return ColumnLoad(state, names, {**execution_options, **for_any})
    state = options._lazy_loaded_from
    if state is None or not params:
        return None
    if statement.get_execution_options().get("autoflush") is False:
        return None  # for an object that is being changed: what it looked like before
    relationship = statement._compile_options._current_path.prop
    by_primary_key = is_by_primary_key(relationship)
    return LazyLoad(state, relationship, by_primary_key, statement, params, execution_options)


def is_by_primary_key(relationship: RelationshipProperty[Any]) -> bool:
    """Say whether a many-to-one refers to a primary key, and nothing else decides."""
    return bool(relationship._lazy_strategy.use_get)


def parameters_of(load: LazyLoad) -> dict[str, str] | None:
    """Return which attribute of the object each parameter of a lazy load's criteria comes from.

    None where the criteria have parameters that come from elsewhere.
    """
    strategy, mapper = load.relationship._lazy_strategy, load.relationship.mapper
    if load.by_primary_key:
        binds = mapper._get_clause[1]
        columns = {binds[one].key: strategy._equated_columns[one] for one in mapper.primary_key}
    else:
        columns = {key: column for key, column, _ in strategy._simple_lazy_clause[1]}
    unknown = any(column is None for column in columns.values())
    if unknown or columns.keys() != load.params.keys():
        return None
    attributes = load.state.mapper._columntoproperty
    return {key: attributes[column].key for key, column in columns.items()}


def values_of(state: InstanceState[Any], names: Sequence[str]) -> tuple[Any, ...] | None:
    """Return the values of some attributes as they are stored; None where they are not known."""
    loaded, key = state.dict, state.key
    if all(name in loaded and name not in state.committed_state for name in names):
        return tuple(loaded[name] for name in names)
    if key is None:
        return None
    primary_key = state.mapper._primary_key_propkeys
    if not primary_key.issuperset(names) or not primary_key.isdisjoint(state.committed_state):
        return None
    by_name = dict(zip((one.key for one in state.mapper._identity_key_props), key[1], strict=True))
    return tuple(by_name[name] for name in names)


def replace_criteria(statement: Select[Any], criterion: ColumnElement[bool]) -> Select[Any]:
    """Give a SELECT other criteria."""
    replaced = statement.where(criterion)
    replaced._where_criteria = (criterion,)
    return replaced


def cache_key(statement: Any) -> Any:
    """Return what SQLAlchemy knows a statement by; None where it cannot be known again."""
    made = statement._generate_cache_key()
    return None if made is None else made.key


def mapper_of(part: Any) -> Mapper[Any] | None:
    """Return the class that a part of a statement, an entity or a column, belongs to."""
    entity = part._annotations.get("parententity")
    return None if entity is None else entity.mapper


def is_compiled_by_others(part: Any) -> bool:
    """Say whether SQL is made of a part of a statement by an application's own function."""
    return hasattr(type(part), "_compiler_dispatcher")


def named_in_options(statement: Any) -> list[Any] | None:
    """Return the classes, relationships and expressions that the options of a statement name.

    None where they are not known.
    """
    named: list[Any] = []
    for option in getattr(statement, "_with_options", ()):
        if option._is_criteria_option:
            if option.deferred_where_criteria:
                return None
            named.append(option.where_criteria)
        elif option._is_strategy_option:
            steps = getattr(option, "context", (option,))  # one for "*" is its only step
            if any(map(_is_eager_wildcard, steps)):
                return None
            named += [one for step in steps for one in _named_in_step(step)]
    return named


def _is_eager_wildcard(step: Any) -> bool:
    is_one = getattr(step, "is_token_strategy", True)
    return is_one and dict(step.strategy or ()).get("lazy") in EAGER


def _named_in_step(step: Any) -> list[Any]:
    path = getattr(step.path, "path", ())
    named: list[Any] = [one for one in path if isinstance(one, Mapper | RelationshipProperty)]
    for one in path:
        if isinstance(one, AliasedInsp):
            named += [one.mapper, one.selectable]
    return [*named, *getattr(step, "_extra_criteria", ())]
