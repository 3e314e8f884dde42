r"""The text that values have in files: CSV, TSV and JSON Lines.

It is the same whichever database they come from: what PostgreSQL's COPY and ``row_to_json`` write,
with moments in UTC. So they may write it themselves.

============== ======================================= ===========================================
value          CSV and TSV                             JSON Lines
============== ======================================= ===========================================
None           nothing                                 ``null``
text           as it is; in quotes where it is empty,  a string
               or has the delimiter, a quote or a
               line's end
int            digits                                  a number
bool           ``true``, ``false``                     ``true``, ``false``
float          the shortest that reads back the same,  the same number; of the last three a string
               ``NaN``, ``Infinity``, ``-Infinity``
Decimal        digits                                  a string: readers make floats of numbers
date, time     ISO 8601                                ISO 8601
datetime       ``2013-01-01 10:00:00.5``, with a time  ``2013-01-01T10:00:00.5``, with a time zone
               zone ``2013-01-01 10:00:00.5+00``       ``2013-01-01T10:00:00.5+00:00``
timedelta      ``1 day 02:03:04.5``                    the same
bytes          ``\xc0ffee``                             the same
UUID           with hyphens                            with hyphens
Enum           its name                                its name
JSON, lists    JSON                                    JSON
============== ======================================= ===========================================
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any
from uuid import UUID

__all__ = ["JSON", "TEXT", "Forms", "csv_lines", "json_lines", "quoted", "to_json"]

Form = Callable[[Any], str]

_WITHOUT_EXPONENT = 1e15
"""From here on PostgreSQL writes a float with an exponent; Python does from 1e16 on."""
_LAST_WITHOUT_IN_PYTHON = 1e16


def _float(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    size = abs(value)
    if size < _WITHOUT_EXPONENT:
        text = repr(value)
        return text.removesuffix(".0")
    if size >= _LAST_WITHOUT_IN_PYTHON:
        return repr(value)
    digits = repr(size).removesuffix(".0").replace(".", "")
    fraction = digits[1:].rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[0]}{'.' if fraction else ''}{fraction}e+15"


def _decimal(value: Decimal) -> str:
    return format(value, "f")


def _short(text: str) -> str:
    """Leave out the zeros at the end of a second's fraction."""
    return text.rstrip("0") if "." in text else text


def _datetime(value: datetime, between: str, utc: str) -> str:
    if value.tzinfo is None:
        return _short(value.isoformat(between))
    return _short(value.astimezone(UTC).replace(tzinfo=None).isoformat(between)) + utc


def _time(value: time) -> str:
    if value.tzinfo is None:
        return _short(value.isoformat())
    zone = value.isoformat()[len(value.replace(tzinfo=None).isoformat()) :]
    return _short(value.replace(tzinfo=None).isoformat()) + zone


def _timedelta(value: timedelta) -> str:
    sign = "-" if value < timedelta() else ""
    size = abs(value)
    parts = []
    if size.days:
        parts.append(f"{sign}{size.days} {'day' if sign + str(size.days) == '1' else 'days'}")
    if size.seconds or size.microseconds or not parts:
        hours, seconds = divmod(size.seconds, 3600)
        text = f"{sign}{hours:02}:{seconds // 60:02}:{seconds % 60:02}.{size.microseconds:06}"
        parts.append(_short(text).removesuffix("."))
    return " ".join(parts)


def _bytes(value: Any) -> str:
    return "\\x" + bytes(value).hex()


def _bool(value: bool) -> str:
    return "true" if value else "false"


_encode: Callable[[str], str] = json.encoder.encode_basestring
"""A JSON string, with all but controls, quotes and backslashes as they are."""


def _string(form: Form) -> Form:
    return lambda value: f'"{form(value)}"'


def _json_float(value: float) -> str:
    return _float(value) if math.isfinite(value) else f'"{_float(value)}"'


def _json_list(values: Any) -> str:
    return f"[{', '.join(map(to_json, values))}]"


def _json_object(values: Any) -> str:
    pairs = (f"{_encode(str(key))}: {to_json(value)}" for key, value in values.items())
    return f"{{{', '.join(pairs)}}}"


def to_json(value: Any) -> str:
    """Return the JSON of a value."""
    return "null" if value is None else JSON.of(type(value))(value)


class Forms:
    """How values of each type are written."""

    def __init__(self, null: str, forms: Mapping[type, Form]) -> None:
        self.null = null
        self._forms = dict(forms)

    def of(self, class_: type) -> Form:
        """Return how values of a type are written.

        :raises TypeError: where nobody has said how.
        """
        known = self._forms.get(class_)
        if known is None:
            for one in class_.__mro__:
                if one in self._forms:
                    known = self._forms[class_] = self._forms[one]
                    return known
            message = f"{class_.__name__} has no form in a file of text"
            raise TypeError(message)
        return known

    def column(self, values: Sequence[Any]) -> list[str | None]:
        """Return the texts of a column; None stays None.

        :raises TypeError: for a value of a type that has no form.
        """
        kinds = set(map(type, values))
        nulls = NoneType in kinds
        kinds.discard(NoneType)
        if kinds == {str} and self._forms[str] is str:
            return list(values)
        if len(kinds) == 1:
            form = self.of(kinds.pop())
            if not nulls:
                return list(map(form, values))
            return [None if value is None else form(value) for value in values]
        forms = {kind: self.of(kind) for kind in kinds}
        return [None if value is None else forms[type(value)](value) for value in values]


_BOTH: dict[type, Form] = {bool: _bool, int: str}

TEXT = Forms(
    "",
    _BOTH
    | {
        str: str,
        float: _float,
        Decimal: _decimal,
        datetime: lambda value: _datetime(value, " ", "+00"),
        date: date.isoformat,
        time: _time,
        timedelta: _timedelta,
        bytes: _bytes,
        bytearray: _bytes,
        memoryview: _bytes,
        UUID: str,
        Enum: lambda value: str(value.name),
        dict: _json_object,
        list: _json_list,
        tuple: _json_list,
    },
)
"""Of CSV and TSV, before quotes."""

JSON = Forms(
    "null",
    _BOTH
    | {
        str: _encode,
        float: _json_float,
        Decimal: _string(_decimal),
        datetime: _string(lambda value: _datetime(value, "T", "+00:00")),
        date: _string(date.isoformat),
        time: _string(_time),
        timedelta: _string(_timedelta),
        bytes: lambda value: f'"\\\\x{bytes(value).hex()}"',
        bytearray: lambda value: f'"\\\\x{bytes(value).hex()}"',
        memoryview: lambda value: f'"\\\\x{bytes(value).hex()}"',
        UUID: _string(str),
        Enum: lambda value: _encode(str(value.name)),
        dict: _json_object,
        list: _json_list,
        tuple: _json_list,
    },
)
"""Of JSON Lines."""


def quoted(texts: Sequence[str | None], delimiter: str, null: str) -> Sequence[str]:
    """Return the texts of a column as CSV has them: in quotes where these are needed."""
    special = re.compile(f'["\n\r{re.escape(delimiter)}]')
    given = [text for text in texts if text is not None]
    if special.search("\0".join(given)) is None and null not in set(given):
        if len(given) == len(texts):
            return given
        return [null if text is None else text for text in texts]
    return [
        null
        if text is None
        else '"' + text.replace('"', '""') + '"'
        if text == null or special.search(text)
        else text
        for text in texts
    ]


def csv_lines(columns: Sequence[Sequence[str | None]], delimiter: str, null: str) -> bytes:
    """Return rows as lines of CSV.

    :param columns: the texts of each column.
    """
    fields = [quoted(column, delimiter, null) for column in columns]
    if len(fields) == 1:  # a line of this alone has once meant the end of the data
        fields = [['"\\."' if text == "\\." else text for text in fields[0]]]
    return _lines(map(delimiter.join, zip(*fields, strict=True)))


def json_lines(names: Sequence[str], columns: Sequence[Sequence[str | None]]) -> bytes:
    """Return rows as lines of JSON.

    :param columns: the values of each column, in JSON.
    """
    pairs = ",".join(f"{_encode(name)}:".replace("%", "%%") + "%s" for name in names)
    line = f"{{{pairs}}}".__mod__
    values = (
        column if None not in column else ["null" if one is None else one for one in column]
        for column in columns
    )
    return _lines(map(line, zip(*values, strict=True)))


def _lines(lines: Any) -> bytes:
    return ("\n".join(lines) + "\n").encode()
