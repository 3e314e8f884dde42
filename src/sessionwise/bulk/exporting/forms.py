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
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any
from uuid import UUID

__all__ = [
    "JSON",
    "JSON_UTC",
    "TEXT",
    "TEXT_UTC",
    "Forms",
    "csv_field",
    "csv_lines",
    "json_field",
    "json_lines",
    "to_json",
]

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


def _moment(between: str, zone: str, *, in_utc: bool = False) -> Form:
    """Return the form of a datetime.

    :param zone: what says that it is in UTC.
    :param in_utc: whether those that have no time zone are.
    """
    end = zone if in_utc else ""

    def form(value: datetime) -> str:
        if value.tzinfo is not None:
            moment = value.astimezone(UTC).replace(tzinfo=None)
            return _short(moment.isoformat(between)) + zone
        text = value.isoformat(between)
        return (text.rstrip("0") if value.microsecond else text) + end

    return form


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

    def __init__(self, forms: Mapping[type, Form]) -> None:
        self._forms = dict(forms)

    def but(self, class_: type, form: Form) -> Forms:
        """Return the same, but for a type."""
        return Forms(self._forms | {class_: form})

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

    def column(self, values: Sequence[Any], kinds: set[type], null: str) -> Sequence[str]:
        """Return the texts of a column.

        :param kinds: the types of its values.
        :raises TypeError: for a value of a type that has no form.
        """
        forms = {kind: self.of(kind) for kind in kinds if kind is not NoneType}
        if len(forms) > 1:
            return [null if value is None else forms[type(value)](value) for value in values]
        if not forms:
            return [null] * len(values)
        [form] = forms.values()
        if NoneType not in kinds:
            return values if form is _same else list(map(form, values))
        if form is _same:
            return [null if value is None else value for value in values]
        return [null if value is None else form(value) for value in values]


def _same(value: str) -> str:
    return value


_BOTH: dict[type, Form] = {bool: _bool, int: str}

TEXT = Forms(
    _BOTH
    | {
        str: _same,
        float: _float,
        Decimal: _decimal,
        datetime: _moment(" ", "+00"),
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
    _BOTH
    | {
        str: _encode,
        float: _json_float,
        Decimal: _string(_decimal),
        datetime: _string(_moment("T", "+00:00")),
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


TEXT_UTC = TEXT.but(datetime, _moment(" ", "+00", in_utc=True))
JSON_UTC = JSON.but(datetime, _string(_moment("T", "+00:00", in_utc=True)))
"""Of columns whose moments are in UTC, whether they say so or not."""

_NEVER_QUOTED = {NoneType, bool, int, float, Decimal, datetime, date, time, timedelta, bytes, UUID}


def csv_field(forms: Forms, values: Sequence[Any], delimiter: str, null: str) -> Sequence[str]:
    """Return the values of a column as CSV has them: in quotes where these are needed.

    :raises TypeError: for a value of a type that has no form.
    """
    kinds = set(map(type, values))
    if not null and kinds <= _NEVER_QUOTED:
        return forms.column(values, kinds, null)
    special = re.compile(f'["\n\r{re.escape(delimiter)}]')
    given = [value for value in values if value is not None]
    texts = forms.column(given, kinds - {NoneType}, null)
    if special.search("\0".join(texts)) or null in set(texts):
        texts = [
            '"' + text.replace('"', '""') + '"' if text == null or special.search(text) else text
            for text in texts
        ]
    if len(texts) == len(values):
        return texts
    rest = iter(texts)
    return [null if value is None else next(rest) for value in values]


def csv_lines(fields: Sequence[Sequence[str]], delimiter: str) -> bytes:
    """Return rows as lines of CSV.

    :param fields: each column, from :func:`csv_field`.
    """
    if len(fields) == 1:  # a line of this alone has once meant the end of the data
        fields = [['"\\."' if text == "\\." else text for text in fields[0]]]
    return _lines(map(delimiter.join, zip(*fields, strict=True)))


def json_field(forms: Forms, values: Sequence[Any]) -> Sequence[str]:
    """Return the values of a column in JSON.

    :raises TypeError: for a value of a type that has no form.
    """
    return forms.column(values, set(map(type, values)), "null")


def json_lines(names: Sequence[str], fields: Sequence[Sequence[str]]) -> bytes:
    """Return rows as lines of JSON.

    :param fields: each column, in JSON.
    """
    pairs = ",".join(f"{_encode(name)}:".replace("%", "%%") + "%s" for name in names)
    return _lines(map(f"{{{pairs}}}".__mod__, zip(*fields, strict=True)))


def _lines(lines: Iterable[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
