"""The tests that every bulk writer passes; whoever writes a new one runs them.

Subclass :class:`WriterConformance` where pytest finds it, name the writer, and say how to reach a
database::

    class TestMyWriter(WriterConformance):
        writer = MyWriter()

        @pytest.fixture(scope="class")
        @classmethod
        def run(cls):
            engine = create_engine("mydb://…")

            def run(function):
                with sessionwise.Session(engine) as session:
                    return function(session)

            yield run
            engine.dispose()

For an async driver ``run`` calls ``await session.run_sync(function)`` of an ``AsyncSession``, and
``run_together`` does so for several functions at once.

Each value of each type is compared with what the ORM stores and reads for it on the same driver.
The tables are called ``sw_conf…``; they are made as they are needed, and dropped in the end.
"""

from __future__ import annotations

from sessionwise.bulk.conformance.defaults import DefaultConformance
from sessionwise.bulk.conformance.failing import FailureConformance
from sessionwise.bulk.conformance.harness import in_threads
from sessionwise.bulk.conformance.keys import KeyConformance
from sessionwise.bulk.conformance.typed import ValueConformance

__all__ = ["WriterConformance", "in_threads"]


class WriterConformance(ValueConformance, DefaultConformance, KeyConformance, FailureConformance):
    """What a writer must do, as tests; the module says how to use it."""
