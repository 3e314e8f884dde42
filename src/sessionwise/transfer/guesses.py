"""What the values of a column are: every value counts, the last as much as the first."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sessionwise.bulk.reading.convert import ExactFloat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Set

__all__ = ["Guess", "Numbers"]

_SURE_DIGITS = 15
"""As many digits a float always keeps."""

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,999}")
"""No zeros in front: 007 is a name, and so is +49 30 1234."""
_NUMBER = re.compile(
    r"-?(?:(?:0|[1-9][0-9]{0,999})(?:\.[0-9]{1,999}(?:[eE][+-]?[0-9]{1,3})?|[eE][+-][0-9]{1,3})?"
    r"|\.[0-9]{1,999})"
)
"""An exponent has a sign, or a point before it: 12E3 is a name."""
_NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})
"""As dumps write them."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6}0*)?)?"
_MOMENT = re.compile(rf"{_DATE.pattern}[T ]{_TIME}")
_MOMENT_IN_ZONE = re.compile(rf"{_MOMENT.pattern}(?:Z|[+-][0-9]{{2}}(?::?[0-9]{{2}})?)")
_TIME_OF_DAY = re.compile(_TIME)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _reads(pattern: re.Pattern[str], read: Callable[[str], Any]) -> Callable[[str], bool]:
    def is_one(text: str) -> bool:
        if pattern.fullmatch(text) is None:
            return False
        try:
            read(text)
        except (OverflowError, ValueError):
            return False
        return True

    return is_one


_CHECKS: dict[str, Callable[[str], bool]] = {
    "boolean": lambda text: text.lower() in {"true", "false"},
    "date": _reads(_DATE, date.fromisoformat),
    "moment": _reads(_MOMENT, datetime.fromisoformat),
    "moment in a zone": _reads(
        _MOMENT_IN_ZONE, lambda text: datetime.fromisoformat(text).astimezone(UTC)
    ),
    "time": _reads(_TIME_OF_DAY, time.fromisoformat),
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
}
"""What texts may be that are no numbers; of one text no two of them are true."""


class Numbers:
    """What the numbers of a column are."""

    def __init__(self) -> None:
        self.is_whole = True
        self.is_exact_as_float = True
        """Whether a float keeps every digit of each of them."""
        self.has_finite = False
        self.is_finite = True
        self.low = 0
        self.high = 0
        self.before = 1
        """Digits before the point, of the number that has most."""
        self.after = 0
        """Digits after it."""

    def add_texts(self, texts: Set[str]) -> bool:
        """Add numbers that are written out; False where one of them is no number."""
        rest = [text for text in texts if _WHOLE.fullmatch(text) is None]
        if any(_NUMBER.fullmatch(text) is None and text not in _NOT_FINITE for text in rest):
            return False
        self._add_whole([int(text) for text in texts - set(rest)])
        for text in rest:
            if text in _NOT_FINITE:
                self.is_whole = self.is_finite = False
            else:
                self._add_decimal(text)
        return True

    def add_values(self, values: Iterable[float]) -> None:
        """Add numbers."""
        whole: list[int] = []
        for value in values:
            if isinstance(value, int):
                whole.append(value)
            elif math.isfinite(value):
                self._add_decimal(value.text if isinstance(value, ExactFloat) else repr(value))
            else:
                self.is_whole = self.is_finite = False
        self._add_whole(whole)

    def _add_whole(self, values: list[int]) -> None:
        if not values:
            return
        self.has_finite = True
        low, high = min(values), max(values)
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high)
        self.before = max(self.before, Decimal(largest).adjusted() + 1)
        if largest > 2**53:
            self._check_exact(map(str, values))

    def _add_decimal(self, text: str) -> None:
        self.has_finite, self.is_whole = True, False
        _, digits, exponent = Decimal(text).as_tuple()
        after = max(0, -int(exponent))
        self.before = max(self.before, len(digits) + int(exponent))
        self.after = max(self.after, after)
        if len(digits) > _SURE_DIGITS or after > _SURE_DIGITS or int(exponent) > 0:
            self._check_exact([text])

    def _check_exact(self, texts: Iterable[str]) -> None:
        if self.is_exact_as_float:
            self.is_exact_as_float = all(map(_is_exact, texts))


def _is_exact(text: str) -> bool:
    value = float(text)
    return math.isfinite(value) and Decimal(repr(value)) == Decimal(text)


class Guess:
    """What one column of a file is, by all of its values."""

    def __init__(self) -> None:
        self.count = 0
        """Rows that have a value."""
        self.longest = 0
        """Signs of the longest text."""
        self.has_fractions = False
        """Whether a text has a point, and so may be a moment with a part of a second."""
        self.classes: set[str] = set()
        """What the values are in JSON: ``"boolean"``, ``"number"``, ``"text"``, ``"nested"``."""
        self.numbers = Numbers()
        self._may_be_number = True
        self._may_be = dict(_CHECKS)

    @property
    def kind(self) -> str:
        """Return what all of the values are.

        ``"boolean"``, ``"number"``, ``"date"``, ``"moment"``, ``"moment in a zone"``, ``"time"``,
        ``"uuid"``, ``"text"`` or ``"json"``.
        """
        if not self.count:
            return "text"
        if len(self.classes) > 1 or "nested" in self.classes:
            return "json"
        if self.classes and self.classes != {"text"}:
            return next(iter(self.classes))
        if not self.classes and self._may_be_number and self.numbers.has_finite:
            return "number"
        return next(iter(self._may_be), "text")

    def add_texts(self, texts: Set[str], count: int) -> None:
        """Add the values of a file in which everything is text.

        :param texts: each of them once.
        :param count: how often a row has one.
        """
        if not texts:
            return
        self.count += count
        if self._may_be_number:
            self._may_be_number = self.numbers.add_texts(texts)
        self._look_at(texts)

    def add_values(self, values: Iterable[Any]) -> None:
        """Add values of a JSON file."""
        some = [value for value in values if value is not None]
        self.count += len(some)
        by_class: dict[str, list[Any]] = {}
        for value in some:
            by_class.setdefault(_CLASSES[type(value)], []).append(value)
        self.classes.update(by_class)
        self.numbers.add_values(by_class.get("number", ()))
        texts = set(by_class.get("text", ()))
        if texts:
            self._may_be.pop("boolean", None)  # what is in quotes is meant as text
            self._look_at(texts)

    def _look_at(self, texts: Set[str]) -> None:
        self.longest = max(self.longest, *map(len, texts))
        for kind, check in list(self._may_be.items()):
            if not all(map(check, texts)):
                del self._may_be[kind]
        if self._may_be and not self.has_fractions:
            self.has_fractions = any("." in text for text in texts)


_CLASSES: dict[type, str] = {
    bool: "boolean",
    int: "number",
    float: "number",
    ExactFloat: "number",
    str: "text",
    list: "nested",
    dict: "nested",
}
