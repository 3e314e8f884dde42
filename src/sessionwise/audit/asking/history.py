"""``history``: what has become of an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, inspect
from sqlalchemy.orm import InstanceState, Mapper

from sessionwise.audit.asking.recorded import check_tables, life_of
from sessionwise.audit.asking.shape import Shapes, key_of
from sessionwise.audit.coverage import full_name
from sessionwise.audit.encode import encode_key
from sessionwise.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Column
    from sqlalchemy.orm import Session

    from sessionwise.audit.asking.change import Change
    from sessionwise.audit.coverage import Coverage

__all__ = ["history"]


def history(session: Session, coverage: Coverage, entity: Any, ident: Any = None) -> list[Change]:
    """Return the changes of an object, oldest first; see ``Audit.history``."""
    session.flush()
    mapper, identity = _identified(entity, ident)
    connection = session.connection(bind_arguments={"mapper": mapper})
    check_tables(connection)
    shapes = Shapes(coverage, connection.dialect)
    found: list[Change] = []
    for table in _tables(mapper):
        columns = key_of(coverage, table)
        values = _values(mapper, table, columns, identity)
        if values:
            key = encode_key(values, columns, connection.dialect)
            found += life_of(connection, full_name(table), key)
    return [shapes.decode(one) for one in sorted(found, key=lambda change: change.id)]


def _identified(entity: Any, ident: Any) -> tuple[Mapper[Any], Sequence[Any]]:
    """Return the mapper of an object or class, and the primary key that is meant."""
    inspected = inspect(entity, raiseerr=False)
    if not isinstance(inspected, Mapper | InstanceState):
        raise OptionError(
            f"{entity!r} is neither a mapped class nor an object of one; for what is not mapped "
            "there is changes(session, table=...)"
        )
    if isinstance(inspected, Mapper):
        if ident is None:
            raise OptionError(
                f"history() of the class {inspected.class_.__name__} needs a primary key as well: "
                f"history(session, {inspected.class_.__name__}, 1)"
            )
        return inspected, _as_identity(inspected, ident)
    if ident is not None:
        raise OptionError("history() takes an object, or a class and a primary key; not both")
    if inspected.identity is None:
        raise OptionError(
            f"{entity!r} has never been stored, so it has no history; add it to a session first"
        )
    return inspected.mapper, inspected.identity


def _as_identity(mapper: Mapper[Any], ident: Any) -> Sequence[Any]:
    keys = [mapper.get_property_by_column(one).key for one in mapper.primary_key]
    if isinstance(ident, dict):
        if ident.keys() != set(keys):
            raise OptionError(f"the primary key of {mapper.class_.__name__} is {', '.join(keys)}")
        return [ident[key] for key in keys]
    identity = list(ident) if isinstance(ident, tuple | list) else [ident]
    if len(identity) != len(keys):
        raise OptionError(
            f"the primary key of {mapper.class_.__name__} is {', '.join(keys)}; got {ident!r}"
        )
    return identity


def _tables(mapper: Mapper[Any]) -> Iterator[Table]:
    """Give the tables that an object of a class may have rows in, its subclasses' as well."""
    tables = (table for one in mapper.self_and_descendants for table in one.tables)
    for table in dict.fromkeys(tables):
        if isinstance(table, Table):
            yield table


def _values(
    mapper: Mapper[Any], table: Table, columns: Sequence[Column[Any]], identity: Sequence[Any]
) -> list[Any]:
    """Return the key of an object's row in a table of its; nothing, where that is another one."""
    owner = next(one for one in mapper.self_and_descendants if table in one.tables)
    names = [owner.get_property_by_column(one).key for one in owner.primary_key]
    wanted = [owner.get_property_by_column(one).key for one in columns]
    known = dict(zip(names, identity, strict=True))
    return [known[name] for name in wanted] if known.keys() >= set(wanted) else []
