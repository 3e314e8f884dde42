"""Primary keys: in the order of the rows, with others writing, and what comes after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select

from sessionwise.bulk.conformance import tables
from sessionwise.bulk.conformance.harness import Harness, in_session
from sessionwise.bulk.conformance.tables import Employee, Paired, Person, Plain, Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Table

    from sessionwise import Session
    from sessionwise.bulk.conformance.harness import Run, Work

__all__ = ["KeyConformance"]

WRITERS = 4
ROWS = 300


class KeyConformance(Harness):
    """What ``returning=True`` gives, and that the next key is a new one."""

    @in_session(Plain)
    def test_ids_are_in_the_order_of_the_rows(self, session: Session) -> None:
        rows = [{"name": f"n{at * 7919 % 1009:04}"} for at in range(1000)]
        result = self.insert(session, Plain, rows, returning=True, chunk_size=300)
        assert result.ids is not None
        assert _names(session, result.ids) == [row["name"] for row in rows]

    @in_session(Plain)
    def test_given_ids_and_made_ids(self, session: Session) -> None:
        base = _last_id(session) + 10_000
        rows: list[dict[str, Any]] = [
            {"name": f"n{at * 7919 % 101:03}", **({"id": base + at} if at % 3 == 0 else {})}
            for at in range(100)
        ]
        result = self.insert(session, Plain, rows, returning=True, chunk_size=1000)
        assert result.ids is not None
        assert result.ids[::3] == [row["id"] for row in rows[::3]]
        assert len(set(result.ids)) == 100
        assert _names(session, result.ids) == [row["name"] for row in rows]

    def test_ids_with_others_writing(
        self,
        run: Run,
        run_together: Callable[[Sequence[Work]], list[Any]],
        made: set[Table],
    ) -> None:
        """Each writer has the keys of its own rows."""
        tables.prepare(run, made, Plain)

        def writing(number: int) -> Work:
            rows: list[dict[str, Any]] = [
                {
                    "name": f"n{number} {at * 7919 % 1009:04}",
                    **({"id": -1 - number * ROWS - at} if at % 5 == 0 else {}),
                }
                for at in range(ROWS)
            ]

            def write(session: Session) -> tuple[list[dict[str, Any]], list[Any] | None]:
                result = self.insert(session, Plain, rows, returning=True, chunk_size=100)
                session.commit()
                return rows, result.ids

            return write

        def begin(session: Session) -> None:
            # SQLite goes on from the largest key: from a negative one to others that are given.
            session.add(Plain(name="a key that is positive"))
            session.commit()

        def check(session: Session) -> None:
            for rows, ids in found:
                assert _names(session, ids) == [row["name"] for row in rows]

        def clear(session: Session) -> None:
            session.execute(delete(Plain))
            session.commit()

        try:
            run(begin)
            found = run_together([writing(number) for number in range(WRITERS)])
            run(check)
        finally:
            run(clear)

    @in_session(Plain)
    def test_the_next_key_is_a_new_one(self, session: Session) -> None:
        """A load with keys moves on what makes the next ones; smaller keys do not move it back."""
        base = _last_id(session) + 1000
        self.insert(session, Plain, [{"id": base + at, "name": f"n{at}"} for at in range(100)])
        assert _last_id(session) > base + 99
        self.insert(session, Plain, [{"id": base - 500, "name": "before"}])
        assert _last_id(session) > base + 99
        rows = [{"name": f"m{at}"} for at in range(100)]
        result = self.insert(session, Plain, rows, returning=True)
        assert result.ids is not None
        assert min(result.ids) > base + 99
        assert _last_id(session) > max(result.ids)

    @in_session(Plain)
    def test_the_first_keys_are_given(self, session: Session) -> None:
        """Into a table that is empty."""
        self.insert(session, Plain, [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}])
        assert _last_id(session) > 2

    @in_session(Plain)
    def test_negative_keys(self, session: Session) -> None:
        rows = [{"id": -5, "name": "a"}, {"id": -7, "name": "b"}]
        result = self.insert(session, Plain, rows, returning=True)
        assert result.ids == [-5, -7]
        assert _last_id(session) not in result.ids

    @in_session(Paired)
    def test_keys_of_two_columns(self, session: Session) -> None:
        rows = [{"b": f"b{at % 7}", "a": -at, "value": str(at)} for at in range(50)]
        result = self.insert(session, Paired, rows, returning=True)
        assert result.ids == [(row["a"], row["b"]) for row in rows]
        for id_, row in zip(result.ids or (), rows, strict=True):
            assert session.get_one(Paired, id_).value == row["value"]

    @in_session(Watched, tables.Log)
    def test_ids_of_a_table_with_a_trigger(self, session: Session) -> None:
        """The trigger makes keys of its own in another table."""
        self.insert(session, tables.Log, [{"name": "before"}] * 3)
        rows = [{"name": f"n{at}"} for at in range(20)]
        result = self.insert(session, Watched, rows, returning=True)
        assert result.ids is not None
        names = [session.get_one(Watched, id_).name for id_ in result.ids]
        assert names == [row["name"] for row in rows]

    @in_session(Person, Employee)
    def test_joined_inheritance(self, session: Session) -> None:
        rows: list[dict[str, Any]] = [
            {"name": "a", "salary": 1},
            {"name": "b"},
            {"name": "c", "salary": None},
        ]
        result = self.insert(session, Employee, rows, returning=True)
        assert result.writer == "core"
        assert result.ids is not None
        found = [session.get_one(Employee, id_) for id_ in result.ids]
        assert [(one.name, one.kind) for one in found] == [(n, "employee") for n in "abc"]
        assert [one.salary for one in found] == [1, 100, None]
        self.insert(session, Employee, [{"name": "d"}, {"name": "e"}])
        assert session.scalar(select(func.count()).select_from(Employee)) == 5

    @in_session(Person, Employee)
    def test_the_class_that_others_inherit(self, session: Session) -> None:
        self.insert(session, Person, [{"name": "a"}, {"name": "b"}])
        found = session.scalars(select(Person).order_by(Person.name)).all()
        assert [(type(one), one.kind) for one in found] == [(Person, "person")] * 2


def _names(session: Session, ids: Sequence[Any]) -> list[str]:
    names = {one.id: one.name for one in session.execute(select(Plain.id, Plain.name))}
    return [names[id_] for id_ in ids]


def _last_id(session: Session) -> int:
    """Return the key of a row that the ORM writes, and that is gone again."""
    one = Plain(name="one by the ORM")
    session.add(one)
    session.flush()
    key = one.id
    session.delete(one)
    session.flush()
    return key
