"""PostgreSQL: numbers for primary keys, taken before the rows are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Text, bindparam, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from sessionwise.bulk.writers.postgresql_table import Numbers

__all__ = ["move_past", "take"]

_TAKE = text(
    """
SELECT min(id), max(id), CASE max(id) - min(id) WHEN (count(*) - 1) * :step THEN NULL
                         ELSE array_agg(id ORDER BY id) END
  FROM (SELECT nextval(CAST(:name AS regclass)) AS id FROM generate_series(1, :count)) AS taken
"""
).bindparams(
    bindparam("name", type_=Text),
    bindparam("step", type_=BigInteger),
    bindparam("count", type_=BigInteger),
)
"""The numbers themselves come only where others have taken some of between them."""

_WALK = 1_000
"""How far a sequence is moved on by taking its numbers.

That cannot set it back, whoever takes from it at the same time. ``setval`` could, if others took
more numbers than these while one statement looks at the sequence and sets it.
"""

_MOVE = text(
    """
SELECT CASE WHEN :past - at.value > :walk * :step THEN setval(CAST(:name AS regclass), :past)
            ELSE (SELECT max(nextval(CAST(:name AS regclass)))
                    FROM generate_series(1, CEIL((:past - at.value) / CAST(:step AS numeric))))
       END
  FROM (SELECT COALESCE(pg_sequence_last_value(CAST(:name AS regclass)), s.seqstart - :step)
          FROM pg_sequence AS s WHERE s.seqrelid = CAST(:name AS regclass)) AS at (value)
 WHERE at.value < :past
"""
).bindparams(
    bindparam("name", type_=Text),
    bindparam("step", type_=BigInteger),
    bindparam("past", type_=BigInteger),
    bindparam("walk", type_=BigInteger),
)


def take(connection: Connection, numbers: Numbers, count: int) -> Sequence[int]:
    """Take numbers from a sequence; nobody else gets them."""
    parameters = {"name": numbers.name, "step": numbers.step, "count": count}
    least, greatest, taken = connection.execute(_TAKE, parameters).one()
    return range(least, greatest + 1, numbers.step) if taken is None else taken


def move_past(connection: Connection, numbers: Numbers, id_: int) -> None:
    """Have a sequence give only numbers that are greater, as far as it has such."""
    if not numbers.may_move or numbers.step < 1:
        return
    past = min(id_, numbers.last)
    parameters = {"name": numbers.name, "step": numbers.step, "past": past, "walk": _WALK}
    connection.execute(_MOVE, parameters)
