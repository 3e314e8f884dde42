"""A pytest plugin for SQLAlchemy's test suite: our classes, and outcomes as JSON.

The environment says what to do: ``DROPIN_OUTCOMES`` is the file to write, ``DROPIN_OURS`` puts our
classes in place of SQLAlchemy's, with the options of ours that it holds as JSON, and
``DROPIN_WITHOUT`` names a file with the tests to leave out.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

created: Counter[str] = Counter()
"""Sessions made, by class: a substitution that does nothing must not pass."""

outcomes: dict[str, str] = {}


def substitute(options: dict[str, Any]) -> None:
    """Put our classes where SQLAlchemy's tests, and its test fixtures, look for them.

    :param options: of ours, which the sessions have in addition.
    """
    from sqlalchemy import orm
    from sqlalchemy.ext import asyncio as sa_asyncio

    import sessionwise
    import sessionwise.asyncio

    for ours, modules in (
        (sessionwise, (orm,)),
        (sessionwise.asyncio, (sa_asyncio, sa_asyncio.session, sa_asyncio.scoping)),
    ):
        for name in ours.__all__:
            for module in modules:
                if hasattr(module, name):
                    setattr(module, name, getattr(ours, name))
    # Not ``orm.session.Session``: by that name SQLAlchemy itself means any session.
    orm.session.sessionmaker = sessionwise.sessionmaker  # type: ignore[misc]
    _count(sessionwise.Session, options)
    _count(sessionwise.asyncio.AsyncSession, {})


def _count(class_: Any, options: dict[str, Any]) -> None:
    initialize = class_.__init__

    @wraps(initialize)
    def counting(self: Any, *args: Any, **kwargs: Any) -> None:
        created[class_.__name__] += 1
        initialize(self, *args, **(options | kwargs))

    class_.__init__ = counting


if "DROPIN_OURS" in os.environ:
    substitute(json.loads(os.environ["DROPIN_OURS"]))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "DROPIN_WITHOUT" not in os.environ:
        return
    without = set(Path(os.environ["DROPIN_WITHOUT"]).read_text().splitlines())
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in without])
    items[:] = [item for item in items if item.nodeid not in without]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    says_something = report.when == "call" or report.outcome != "passed"
    # A failure while tearing down counts, a pass does not make good for it.
    if says_something and outcomes.get(report.nodeid) != "failed":
        outcomes[report.nodeid] = report.outcome


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    created.update(node.workeroutput.get("created", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    worker = getattr(session.config, "workeroutput", None)
    if worker is not None:
        worker["created"] = dict(created)
        return
    document = {"outcomes": outcomes, "created": dict(created)}
    Path(os.environ["DROPIN_OUTCOMES"]).write_text(json.dumps(document))
