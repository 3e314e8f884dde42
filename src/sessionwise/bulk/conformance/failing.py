"""What fails leaves nothing behind, and the transaction usable; what is undone is gone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, event, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from sessionwise.bulk.conformance import tables
from sessionwise.bulk.conformance.harness import Harness, in_session
from sessionwise.bulk.conformance.tables import Child, Guarded, Log, Plain, Watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Table

    from sessionwise import Session
    from sessionwise.bulk.conformance.harness import Run
    from sessionwise.bulk.result import BulkProgress

__all__ = ["FailureConformance"]

BAD: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "twice in the input": (Plain, [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "a"}]),
    "there already": (Plain, [{"name": "a"}, {"name": "b"}, {"name": "first"}]),
    "NULL": (Plain, [{"name": "a"}, {"name": "b"}, {"name": None}]),
    "left out": (Plain, [{"name": "a"}, {"size": 1}, {"size": 2}]),
    "CHECK": (Plain, [{"name": n, "size": s} for n, s in (("a", 1), ("b", 2), ("c", -1))]),
    "too long": (Plain, [{"name": "a"}, {"name": "b"}, {"name": "x" * 51}]),
    "no number": (Plain, [{"name": n, "size": s} for n, s in (("a", 1), ("b", 2), ("c", "x"))]),
    "foreign key": (Child, [{"plain_id": None}, {"plain_id": None}, {"plain_id": 987_654}]),
}
"""Rows that databases refuse, by why."""


class FailureConformance(Harness):
    """Errors, rollbacks, triggers, row-level security and mapper events."""

    @pytest.mark.parametrize("returning", [False, True], ids=["plain", "returning"])
    @pytest.mark.parametrize("why", BAD)
    def test_nothing_is_stored_of_what_fails(
        self, run: Run, made: set[Table], why: str, returning: bool
    ) -> None:
        """The error is the ORM's, and what was there before is there still."""
        tables.prepare(run, made, Plain, Child)
        model, rows = BAD[why]

        def test(session: Session) -> None:
            session.add(Plain(name="first"))
            session.flush()
            expected: type[Exception] | None = None
            try:
                with session.begin_nested():
                    session.add_all(model(**row) for row in rows)
            except Exception as error:  # noqa: BLE001  this is what is to be raised
                expected = type(error)
            if expected is None:
                pytest.skip("this database takes it")
            with pytest.raises(DBAPIError) as caught:
                self.insert(session, model, rows, chunk_size=2, returning=returning)
            if issubclass(expected, IntegrityError) and why != "left out":
                assert isinstance(caught.value, IntegrityError)
            assert session.scalars(select(Plain.name)).all() == ["first"]
            assert session.scalars(select(Child)).all() == []
            self.insert(session, Plain, [{"name": "a"}, {"name": "b"}])
            session.flush()
            assert set(session.scalars(select(Plain.name))) == {"first", "a", "b"}

        run(test)

    @in_session(Plain)
    def test_an_input_that_fails(self, session: Session) -> None:
        def rows() -> Iterator[dict[str, Any]]:
            for at in range(25):
                yield {"name": f"n{at}"}
            raise ZeroDivisionError

        session.add(Plain(name="first"))
        with pytest.raises(ZeroDivisionError):
            session.bulk_insert(Plain, rows(), chunk_size=10)
        assert session.scalars(select(Plain.name)).all() == ["first"]

    @in_session(Plain)
    def test_rollback_undoes_all(self, session: Session) -> None:
        self.insert(session, Plain, [{"name": f"n{at}"} for at in range(50)], chunk_size=20)
        assert _count(session) == 50
        session.rollback()
        assert _count(session) == 0

    @in_session(Plain)
    def test_the_rollback_of_a_savepoint_undoes_all_of_it(self, session: Session) -> None:
        self.insert(session, Plain, [{"name": "kept"}])
        with session.begin_nested() as savepoint:
            self.insert(session, Plain, [{"name": f"n{at}"} for at in range(50)], chunk_size=20)
            self.insert(session, Plain, [{"name": "m"}], returning=True)
            savepoint.rollback()
        assert session.scalars(select(Plain.name)).all() == ["kept"]
        self.insert(session, Plain, [{"name": f"n{at}"} for at in range(50)])
        assert _count(session) == 51

    def test_what_is_committed_is_there(self, run: Run, made: set[Table]) -> None:
        """For others only then."""
        tables.prepare(run, made, Plain)

        def write(session: Session) -> None:
            self.insert(session, Plain, [{"name": f"n{at}"} for at in range(50)])
            session.commit()

        def clear(session: Session) -> None:
            session.execute(delete(Plain))
            session.commit()

        run(lambda session: self.insert(session, Plain, [{"name": "gone"}]))
        try:
            assert run(_count) == 0
            run(write)
            assert run(_count) == 50
        finally:
            run(clear)

    @in_session(Plain, Child)
    def test_pending_objects_are_written_first(self, session: Session) -> None:
        parent = Plain(id=5_000_000, name="parent")
        session.add(parent)
        self.insert(session, Child, [{"plain_id": 5_000_000}] * 3)
        assert session.scalars(select(Child.plain_id)).all() == [5_000_000] * 3

    @in_session(Plain)
    def test_progress(self, session: Session) -> None:
        seen: list[BulkProgress] = []
        rows = [{"name": f"n{at}"} for at in range(25)]
        self.insert(session, Plain, rows, chunk_size=10, progress=seen.append)
        assert [one.rows for one in seen] == [10, 20, 25]

    @in_session(Watched, Log)
    def test_triggers_fire(self, session: Session) -> None:
        names = [f"n{at}" for at in range(30)]
        self.insert(session, Watched, [{"name": name} for name in names])
        assert sorted(map(str, session.scalars(select(Log.name)))) == sorted(names)

    @in_session(Watched, Log)
    def test_mapper_events(self, session: Session) -> None:
        before: list[str] = []
        after: list[tuple[int, str]] = []

        def note_before(_mapper: Any, _connection: Any, one: Watched) -> None:
            before.append(str(one.name))
            one.note = f"note of {one.name}"

        def note_after(_mapper: Any, _connection: Any, one: Watched) -> None:
            after.append((one.id, str(one.name)))

        names = [f"n{at}" for at in range(25)]
        event.listen(Watched, "before_insert", note_before)
        event.listen(Watched, "after_insert", note_after)
        try:
            rows = [{"name": name} for name in names]
            self.insert(session, Watched, rows, events=True, chunk_size=10)
        finally:
            event.remove(Watched, "before_insert", note_before)
            event.remove(Watched, "after_insert", note_after)
        assert before == names
        assert [name for _, name in after] == names
        found = session.execute(select(Watched.id, Watched.name, Watched.note)).all()
        assert sorted(map(tuple, found)) == sorted(
            (id_, name, f"note of {name}") for id_, name in after
        )

    @in_session(Guarded, dialects=("postgresql",))
    def test_row_level_security_applies(self, session: Session) -> None:
        guest = f"sw_conf_guest_{os.getpid()}"
        connection = session.connection()
        for statement in (
            f"CREATE ROLE {guest} NOLOGIN",
            "ALTER TABLE sw_conf_guarded ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY own ON sw_conf_guarded USING (owner = current_user)",
            f"GRANT ALL ON sw_conf_guarded, sw_conf_guarded_id_seq TO {guest}",
            f"SET LOCAL ROLE {guest}",
        ):
            connection.exec_driver_sql(statement)
        self.insert(session, Guarded, [{"owner": guest}, {"owner": guest}])
        self.insert(session, Guarded, [{"owner": guest}], returning=True)
        with pytest.raises(DBAPIError, match="row-level security"):
            self.insert(session, Guarded, [{"owner": guest}, {"owner": "somebody"}])
        connection.exec_driver_sql("RESET ROLE")
        assert session.scalars(select(Guarded.owner)).all() == [guest] * 3


def _count(session: Session) -> int:
    return session.scalars(select(func.count()).select_from(Plain)).one()
