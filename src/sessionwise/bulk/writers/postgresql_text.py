"""PostgreSQL: rows as the text of COPY, for psycopg2, which has nothing of its own for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from sessionwise.bulk.writers.postgresql_table import Field

__all__ = ["text_of"]

_NULL = r"\N"

_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def text_of(fields: Sequence[Field], values: Sequence[Sequence[Any]]) -> str | None:
    """Return rows as COPY reads them.

    :param values: of each column, such as ``is_safe_in_text`` lets pass.
    :returns: None where a column cannot be written so.
    """
    columns = []
    for field, column in zip(fields, values, strict=True):
        encode = None if field.element is not None else _ENCODERS.get(field.type, _escaped)
        if encode is None:
            return None
        if None in column:
            columns.append([_NULL if value is None else encode(value) for value in column])
        else:
            columns.append(list(map(encode, column)))
    lines = map("\t".join, zip(*columns, strict=True))
    text = "\n".join(lines) + "\n"
    return None if "\0" in text else text  # psycopg2's INSERT refuses that, the server would not


def _escaped(value: Any) -> str:
    text: str = value if type(value) is str else str(value)
    return text.translate(_ESCAPES) if not text.isalnum() else text


def _float(value: float) -> str:
    return repr(value + 0.0)  # by psycopg2's INSERT, -0.0 is 0 in the end


def _interval(value: timedelta) -> str:
    return f"{value.days} days {value.seconds}.{value.microseconds:06d} seconds"


def _bytes(value: Any) -> str:
    return rf"\\x{memoryview(value.adapted).hex()}"


def _bool(value: bool) -> str:
    return "t" if value else "f"


_ENCODERS: dict[str, Callable[[Any], str]] = {
    "bool": _bool,
    "bytea": _bytes,
    "date": str,
    "float4": _float,
    "float8": _float,
    "int2": str,
    "int4": str,
    "int8": str,
    "interval": _interval,
    "numeric": str,
    "time": str,
    "timestamp": str,
    "timestamptz": str,
    "timetz": str,
    "uuid": str,
}
"""How a value of a type is written; others are strings."""
