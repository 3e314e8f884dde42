"""Contenders are timed in turn, round by round: a slow moment of the machine hits all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """What one contender took."""

    contender: str
    seconds: list[float]
    """One figure for each round."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Result:
    """One case on one database."""

    case: str
    database: str
    unit: str
    """What one round does."""
    target: str
    timings: list[Timing]
    """The reference comes first."""

    def ratio(self, timing: Timing) -> float:
        """Return the median, over the rounds, of a contender's time to the reference's."""
        both = zip(timing.seconds, self.timings[0].seconds, strict=False)  # the rounds of both
        return statistics.median(own / other for own, other in both)


def compare(
    contenders: dict[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 2,
    before: Callable[[], object] = lambda: None,
    after: Callable[[], object] = lambda: None,
    patience: float | None = None,
) -> list[Timing]:
    """Time each contender once a round, in an order that turns, after ``warm_up`` rounds.

    :param before: called before each, and not timed: to clear what the last one has written.
    :param after: called after each, and not timed: to see that it has done its work.
    :param patience: seconds; who has taken more, in all, is left out of the rounds that follow.
    """
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + warm_up):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            if patience is not None and sum(seconds[name]) > patience:
                continue
            before()
            gc.collect()
            gc.disable()
            started = time.perf_counter()
            contenders[name]()
            taken = time.perf_counter() - started
            gc.enable()
            after()
            if number >= warm_up:
                seconds[name].append(taken)
    return [Timing(name, seconds[name]) for name in names]
