"""Which objects are loaded along with one that is touched: the nearest in load order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.orm import InstanceState, Session

__all__ = ["LIMIT", "Siblings", "install", "of"]

LIMIT = 500
"""How many objects one SELECT serves, the touched one included."""
_FARTHEST = 10_000
"""How far from the touched object to look for others."""

_MOST_DOUBLED = 16
"""How often the time not to look is doubled."""

_ATTRIBUTE = "_sessionwise_siblings"


@dataclass
class Siblings:
    """The order in which a session's objects were loaded, as it was when it was last needed."""

    alone: InstanceState[Any] | None = None
    """The first expired object that was touched in this unit of work: it is loaded by itself."""
    _is_beginning: bool = False
    """Whether a touch begins the unit."""
    _order: list[InstanceState[Any]] = field(default_factory=list)
    _places: dict[InstanceState[Any], int] = field(default_factory=dict)
    _wait: int = 0
    """How often not to look, before the order is taken anew."""
    _misses: int = 0
    """How often that was done in vain, one time after the other."""

    def begin(self) -> None:
        """Begin a unit of work: everything may have been expired."""
        if not self._is_beginning:
            self.alone = None
        self._is_beginning = False

    def is_first(self, session: Session, state: InstanceState[Any]) -> bool:
        """Say whether an expired object is the first that is touched in this unit of work."""
        if self.alone is not None and session.in_transaction():
            return False
        self.alone, self._is_beginning = state, not session.in_transaction()
        return True

    def near(
        self,
        session: Session,
        state: InstanceState[Any],
        wanted: Callable[[InstanceState[Any]], bool],
    ) -> list[InstanceState[Any]]:
        """Return objects that are to be loaded along with one: the nearest in load order.

        :param wanted: says whether an object qualifies.
        """
        place = self._places.get(state)
        if place is None:
            place = self._take_order(session, state)
        if place is None:
            return []
        found: list[InstanceState[Any]] = []
        for other in self._around(place):
            if other.session_id == state.session_id and other.obj() is not None and wanted(other):
                found.append(other)
                if len(found) == LIMIT - 1:
                    break
        self._misses = 0 if found else self._misses + 1
        return found

    def _take_order(self, session: Session, state: InstanceState[Any]) -> int | None:
        """Take down the order of the session's objects.

        That costs time in proportion to their number. Where it is in vain again and again, as in a
        loop that gets objects one by one, it is done less and less often.
        """
        if self._wait:
            self._wait -= 1
            return None
        self._wait = min(2 ** min(self._misses, _MOST_DOUBLED), len(self._order) // LIMIT)
        self._order = session.identity_map.all_states()
        self._places = {one: place for place, one in enumerate(self._order)}
        return self._places.get(state)

    def _around(self, place: int) -> Iterator[InstanceState[Any]]:
        """Give the objects after a place, then those before it: most are touched in order."""
        yield from self._order[place + 1 : place + _FARTHEST]
        yield from reversed(self._order[max(0, place - _FARTHEST) : place])


def install(session: Session) -> None:
    """Have the session load siblings, too."""
    session.__dict__[_ATTRIBUTE] = Siblings()


def of(session: Session) -> Siblings | None:
    """Return the order of the session's objects; None where it does not load siblings."""
    found: Siblings | None = session.__dict__.get(_ATTRIBUTE)
    return found
