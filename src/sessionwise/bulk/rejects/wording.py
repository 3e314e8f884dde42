"""What is said against a row, in the same words for each database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessionwise.bulk.rejects.faults import Fault

__all__ = ["missing", "not_null", "repeated", "there", "unmet", "with_values"]


def not_null(column: str) -> str:
    """Say that a column has no value."""
    return f"{column} is NULL, and may not be NULL"


def unmet(shown: str | None, condition: str) -> str:
    """Say that a CHECK is not met.

    :param shown: the value that it is about, where it is about one.
    """
    return f"{shown or 'the row'} does not meet CHECK {' '.join(condition.split())}"


def there(shown: str, table: str) -> str:
    """Say that a key is there already."""
    return f"{shown} is in {table} already"


def repeated(shown: str, position: int) -> str:
    """Say that another row of the input has the key."""
    return f"{shown} is in row {position:,} of the input, too"


def missing(shown: str, table: str | None) -> str:
    """Say that there is no such row to refer to."""
    return f"{shown} refers to a row{'' if table is None else f' of {table}'} that is not there"


def with_values(fault: Fault, shown: str, table: str, referred: str | None) -> Fault:
    """Return a fault that a database has told, with the values that it is about.

    :param shown: the values of the fault's columns.
    :param referred: the table that a foreign key refers to.
    """
    message = fault.message
    if fault.kind == "not null" and fault.column is not None:
        message = not_null(fault.column)
    elif fault.kind == "unique":
        message = there(shown, table)
    elif fault.kind == "foreign key":
        message = missing(shown, referred)
    elif not message.startswith(f"{fault.column}"):
        message = f"{shown}: {message}"
    return replace(fault, message=message)
