"""Statements without what differs from one call to the next: literals, comments, long lists.

Thousands of texts have one shape, and a text of a megabyte often has a short one.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BROKEN", "shape"]

BROKEN = "\0"
"""What a shape has where the text cannot be understood, such as a quote that does not end."""

_LONGEST_NAME = 64
"""Characters of MySQL's names: what is longer in double quotes is a string."""


def shape(statement: str, dialect: str, paramstyle: str) -> str:
    """Return a statement with its literals and placeholders made alike, and its lists short.

    :param dialect: the name that SQLAlchemy has for it.
    :param paramstyle: of the driver, or "named" for what ``text()`` is given.
    """
    tokens, replace = _tokens(_family(dialect), paramstyle)
    short = _shorten(tokens.sub(replace, statement))
    return short.strip(" ;")


def _family(dialect: str) -> str:
    return "mysql" if dialect == "mariadb" else dialect


def _shorten(text: str) -> str:
    if "(" in text or "[" in text:
        text = _ROWS.sub(_distinct_rows, text)
        text = _ARRAY.sub("[0]", text)
        text = _IN.sub("IN (0)", text)
    return text


_LITERAL = r"[-+]?(?:0|'')(?: ?:: ?\w+(?:\[\])*)?|(?i:NULL|TRUE|FALSE|DEFAULT)\b"
_LITERALS = rf"(?:{_LITERAL})(?: ?, ?(?:{_LITERAL}))*+"
_ROW = r"(?:ROW ?)?\((?>[^()]+|\((?>[^()]+|\((?>[^()]+|\([^()]*\))*\))*\))*\)"
_ALL_LITERALS = re.compile(rf"(?:ROW ?)?\( ?{_LITERALS} ?\)", re.IGNORECASE)
_ONE_ROW = re.compile(_ROW, re.IGNORECASE)
_ROWS = re.compile(rf"(\bVALUES ?)({_ROW}(?: ?, ?{_ROW})++)", re.IGNORECASE)
_ARRAY = re.compile(rf"\[ ?{_LITERALS} ?\]")
_IN = re.compile(
    rf"\bIN ?(?:0(?![\w.])|\( ?{_LITERALS} ?\)"
    rf"|\( ?\( ?{_LITERALS} ?\)(?: ?, ?\( ?{_LITERALS} ?\))*+ ?\))",
    re.IGNORECASE,
)
"""What is in a list, or one placeholder for the list, as psycopg2 takes it."""


def _distinct_rows(match: re.Match[str]) -> str:
    rows = dict.fromkeys(_ONE_ROW.findall(match[2]))
    kept = dict.fromkeys("(0)" if _ALL_LITERALS.fullmatch(row) else row for row in rows)
    return match[1] + ", ".join(kept)


@cache
def _tokens(family: str, paramstyle: str) -> tuple[re.Pattern[str], Callable[..., str]]:
    """Return the pattern of what is to be replaced, and what gives its replacement.

    Each alternative begins with characters of its own, which is what makes the search fast. Words
    are matched, and kept, so that a digit or a quote is never one that belongs to a word.
    """
    is_postgresql = family == "postgresql"
    strings = _strings(family)
    placeholders = _placeholders(family, paramstyle)
    number = r"0[xX][\da-fA-F]++(?!\w)|\d[\d_]*+(?:\.(?!\.)\d*+)?(?:[eE][-+]?\d++)?+(?!\w)|\.\d++"
    literal = "|".join([*strings, *placeholders, number, r"(?i:NULL|TRUE|FALSE|DEFAULT)\b"])
    literal = rf"[-+]?(?:{literal})(?:::\w++(?:\[\])*+)?"
    literals = rf"\(\s*+(?:{literal})(?:\s*+,\s*+(?:{literal}))*+\s*+\)"
    groups = {
        # The lists of literals in a text of megabytes are not looked at one by one.
        "rows": rf"[vV](?i:ALUES)\s*+{literals}(?:\s*+,\s*+{literals})*+",
        "among": rf"[iI][nN]\s*+{literals}",
        "text": "|".join(strings),
        "dollar": r"\$(?P<tag>(?:[^\W\d]\w*+)?)\$.*?\$(?P=tag)\$" if is_postgresql else "",
        "zero": "|".join([*placeholders, number]),
        "broken": _executable(family),
        "gap": rf"(?:{_comments(family)}|\s++)++",
        "percent": "%%" if "format" in paramstyle else "",
        "colon": r"\\:" if paramstyle == "named" else "",
        "minuses": "--" if family == "mysql" else "",  # without a space they are no comment
        "cast": "::",
        "quoted": _quoted(family),
        "word": r"\w[\w$]*+",
        "unended": r"['\"`]|/\*" + (r"|\[" if family == "sqlite" else ""),
    }
    pattern = "|".join(f"(?P<{name}>{one})" for name, one in groups.items() if one)
    return re.compile(pattern, re.DOTALL), _replacement(family)


def _replacement(family: str) -> Callable[[re.Match[str]], str]:
    fixed = {
        "rows": "VALUES (0)",
        "among": "IN (0)",
        "text": "''",
        "dollar": "''",
        "zero": "0",
        "broken": BROKEN,
        "gap": " ",
        "percent": "%",
        "colon": ":",
        "minuses": "- -",
        "unended": BROKEN,
    }

    def replace(match: re.Match[str]) -> str:
        kind = match.lastgroup
        assert kind is not None  # noqa: S101 - every alternative is a group
        if kind in fixed:
            return fixed[kind]
        if kind == "quoted" and family == "mysql":
            return _name_or_string(match[0])
        return match[0]

    return replace


def _name_or_string(quoted: str) -> str:
    """Keep what may be a name in a session of MySQL that has ANSI_QUOTES, replace the others."""
    if quoted[0] == '"' and (len(quoted) > _LONGEST_NAME + 2 or "\\" in quoted):
        return "''"
    return quoted


def _strings(family: str) -> list[str]:
    plain = r"'[^']*+(?:''[^']*+)*+'"
    escaped = r"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'"
    if family == "mysql":
        return [escaped, rf"[xXbBnN]{escaped}"]
    if family == "postgresql":
        return [
            rf"[eE]{escaped}",
            rf"[xXbBnN]{plain}",
            rf"[uU]&{plain}",
            plain,
        ]
    return [plain, rf"[xXnN]{plain}"]


def _quoted(family: str) -> str:
    double = r'"[^"]*+(?:""[^"]*+)*+"'
    if family == "mysql":
        return r'`[^`]*+(?:``[^`]*+)*+`|"[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+"'
    if family == "postgresql":
        return double
    return double + r"|`[^`]*+(?:``[^`]*+)*+`" + (r"|\[[^\]]*+\]" if family != "oracle" else "")


def _comments(family: str) -> str:
    if family == "mysql":
        return r"--(?=\s|\Z)[^\n]*+|\#[^\n]*+|/\*(?!M?!).*?\*/"
    if family == "postgresql":
        body = r"[^*/]++|\*(?!/)|/(?!\*)"
        nested = rf"/\*(?>{body})*+\*/"
        for _ in range(3):
            nested = rf"/\*(?>{body}|{nested})*+\*/"
        return rf"--[^\n]*+|{nested}"
    return r"--[^\n]*+|/\*.*?\*/"


def _executable(family: str) -> str:
    """Match the comments that MySQL and MariaDB execute."""
    return r"/\*M?!.*?\*/" if family == "mysql" else ""


def _placeholders(family: str, paramstyle: str) -> list[str]:
    found = {
        "pyformat": [r"%\(\w++\)[sbt]", r"%[sbt](?!\w)"],
        "format": [r"%[sbt](?!\w)"],
        "qmark": [r"\?\d*+"],
        "named": [r":(?<![:\w\\]:)\w++(?!:)"],
        "numeric": [r":(?<![:\w\\]:)\d++"],
        "numeric_dollar": [r"\$\d++"],
    }.get(paramstyle, [])
    if family == "sqlite":
        return [r"\?\d*+", r"[:@$](?<![:\w\\][:@$])\w++", *found]
    return [*found, r"\$\d++"] if family == "postgresql" else found
