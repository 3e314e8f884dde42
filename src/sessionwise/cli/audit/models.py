"""From ``--models`` to an audit: what an application declares, or what a database has."""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sessionwise.audit import Audit
from sessionwise.audit.tables import METADATA
from sessionwise.cli import tables
from sessionwise.cli.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["audit_of"]

_OURS = frozenset({*METADATA.tables, "audit_context", "audit_replaced"})
"""The audit's own tables; two are of its triggers in SQLite."""


def audit_of(engine: Engine, models: str | None) -> Audit:
    """Return the audit that is meant.

    :param models: ``module:name``; None for the tables that the database has.
    :raises InputError: where there is none.
    """
    found = _reflected(engine) if models is None else _imported(models)
    audit = found if isinstance(found, Audit) else Audit(found)
    if not audit.coverage:
        place = "the database" if models is None else models
        raise InputError(f"{place} has no tables to audit; create them first")
    return audit


def _imported(models: str) -> Audit | sa.MetaData:
    module_name, _, path = models.partition(":")
    if not module_name or not path:
        raise InputError(
            f"--models {models} is not of the form module:name, such as myapp.models:Base"
        )
    found: Any = _import(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            near = get_close_matches(name, dir(found), 1)
            hint = f"did you mean {near[0]!r}?" if near else "correct the name"
            raise InputError(f"--models {models}: there is no {name!r}; {hint}")
        found = getattr(found, name)
    if isinstance(found, Audit | sa.MetaData):
        return found
    metadata = getattr(found, "metadata", None)
    if isinstance(metadata, sa.MetaData):
        return metadata
    raise InputError(
        f"--models {models} is {type(found).__name__!r}; name a MetaData, a declarative base or "
        "an Audit"
    )


def _import(name: str) -> Any:
    """Import a module, as Python does in the directory that it is started in."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name != missing and not name.startswith(f"{missing}."):
            raise InputError(f"--models: {name} imports {missing}, which is not there") from error
        raise InputError(
            f"--models: there is no module {name!r}; start where Python finds it, or install it"
        ) from error


def _reflected(engine: Engine) -> sa.MetaData:
    """Return the tables that a database has, but for the audit's."""
    metadata = sa.MetaData()
    metadata.reflect(engine, only=lambda name, _: name not in _OURS)
    if engine.dialect.name in {"mysql", "mariadb"}:
        for table in metadata.tables.values():
            for column in tables.find(engine, table.name).columns:  # which knows JSON
                table.columns[column.name].type = column.type
    return metadata
