"""Which triggers of the audit a database has, and so who records which table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sessionwise.audit.triggers.artifact import DISABLED
from sessionwise.audit.triggers.install import bodies_for, of
from sessionwise.errors import OptionError, UnsupportedError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sessionwise.audit.coverage import Capture, Coverage
    from sessionwise.audit.triggers.artifact import Bodies

__all__ = ["Captures", "look"]


@dataclass(frozen=True)
class Captures:
    """Who records which table in one database."""

    triggers: frozenset[str]
    """Tables that have triggers, by the names that the audit has for them."""
    session: frozenset[str]
    """Tables that the session records."""


def look(connection: Connection, coverage: Coverage, capture: Capture) -> Captures:
    """Look into the catalog for the triggers of the audit.

    A table that has all of its triggers, and none is disabled, is recorded by them, whether they
    are the newest or not.

    :raises OptionError: where what is there does not fit ``capture``, or would record a part of
      the changes only, or some of them twice.
    """
    covered = frozenset(one.name for one in coverage)
    try:
        bodies = bodies_for(connection.dialect.name)
    except UnsupportedError:
        if capture == "trigger":
            raise
        return Captures(frozenset(), covered)
    whole, partly = _with_triggers(connection, coverage, bodies)
    _check(capture, covered, whole, partly)
    return Captures(whole, covered - whole)


def _with_triggers(
    connection: Connection, coverage: Coverage, bodies: Bodies
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the tables that have all of their triggers, and those that have some."""
    present = bodies.present(connection, coverage)
    live = {key for key, digest in present.items() if key[0] == "trigger" and digest != DISABLED}
    tables = {table for _, _, table in live}
    whole: set[str] = set()
    partly: set[str] = set()
    for covered in coverage:
        if covered.name not in tables:
            continue
        artifacts = of(covered, coverage, bodies, "auto")
        needed = {one.key for one in artifacts if one.kind == "trigger"}
        (whole if needed <= live else partly).add(covered.name)
    return frozenset(whole), frozenset(partly)


def _check(
    capture: Capture, covered: frozenset[str], whole: frozenset[str], partly: frozenset[str]
) -> None:
    if capture == "session" and (whole or partly):
        raise OptionError(
            f"capture='session', and this database has triggers that record "
            f"{_names(whole | partly)}: changes would be recorded twice. Call audit.uninstall, or "
            "use capture='auto'"
        )
    if capture == "trigger" and whole != covered:
        raise OptionError(
            f"capture='trigger', and this database has no triggers, or not all of them, on "
            f"{_names(covered - whole)}. Call audit.install, or use capture='auto'"
        )
    if partly:
        raise OptionError(
            f"{_names(partly)} has some of the triggers that record it and lacks others, or they "
            "are disabled; audit.doctor names them. Call audit.install"
        )


def _names(tables: frozenset[str]) -> str:
    return ", ".join(sorted(tables))
