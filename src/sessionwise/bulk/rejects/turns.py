"""Which of several rows are stored when each depends on those before it; nothing is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    Keys = Sequence[Mapping[int, int]]
    Parents = Sequence[Mapping[int, AbstractSet[int]]]

__all__ = ["in_turn"]


def in_turn(
    keys: Keys, parents: Parents, refused: AbstractSet[int], *, at_once: bool
) -> tuple[dict[int, tuple[int, int]], dict[int, int]]:
    """Go through rows in turn: the first one of a key keeps it, if it is stored itself.

    :param keys: of each unique key the rows that share it with others, and a number for the value.
    :param parents: of each foreign key to the table itself the rows that refer to none that is
      there already, and the rows that they refer to.
    :param refused: rows that are not stored anyway.
    :param at_once: whether a row may refer to a later one.
    :returns: rows whose key another one has, with the key and that row; and rows that refer to
      none that is stored, with the foreign key.
    """
    concerned = {number for one in keys for number in one}
    for one in parents:
        concerned.update(one, *one.values())
    children = _children(parents)
    shared = {number for one in keys for number in one}
    orphans: dict[int, int] = {}
    while True:
        repeats, stored, late = _pass(keys, parents, sorted(concerned - refused), at_once)
        if at_once:
            late = _orphans(parents, children, stored)
        orphans.update(late)
        refused = refused | late.keys()
        # A key that an orphan had is free for the next one.
        if not at_once or shared.isdisjoint(late):
            return repeats, orphans


def _children(parents: Parents) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for one in parents:
        for child, some in one.items():
            for parent in some:
                found.setdefault(parent, set()).add(child)
    return found


def _orphans(
    parents: Parents, children: Mapping[int, AbstractSet[int]], stored: set[int]
) -> dict[int, int]:
    """Take out rows that refer to none that is stored, and those that refer to these."""
    orphans: dict[int, int] = {}
    doubtful: set[int] = stored
    while doubtful:
        late = {
            number: at
            for number in sorted(doubtful)
            if (at := _lacking(parents, number, stored)) is not None
        }
        orphans.update(late)
        stored = stored - late.keys()
        doubtful = {child for one in late for child in children.get(one, ())} & stored
    return orphans


def _pass(
    keys: Keys, parents: Parents, rows: Sequence[int], at_once: bool
) -> tuple[dict[int, tuple[int, int]], set[int], dict[int, int]]:
    first: list[dict[int | None, int]] = [{} for _ in keys]
    repeats: dict[int, tuple[int, int]] = {}
    stored: set[int] = set()
    orphans: dict[int, int] = {}
    for number in rows:
        values = [one.get(number) for one in keys]
        taken = next((at for at, value in enumerate(values) if value in first[at]), None)
        if taken is not None:
            repeats[number] = (taken, first[taken][values[taken]])
            continue
        stored.add(number)
        lacking = None if at_once else _lacking(parents, number, stored)
        if lacking is not None:
            stored.discard(number)
            orphans[number] = lacking
            continue
        for at, value in enumerate(values):
            if value is not None:
                first[at][value] = number
    return repeats, stored, orphans


def _lacking(parents: Parents, number: int, stored: AbstractSet[int]) -> int | None:
    """Return by which foreign key a row refers to none that is stored."""
    return next(
        (at for at, one in enumerate(parents) if number in one and stored.isdisjoint(one[number])),
        None,
    )
