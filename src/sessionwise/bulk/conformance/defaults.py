"""What columns get that the rows say nothing of, and which column a name means."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import DBAPIError

from sessionwise.bulk.conformance.harness import Harness, in_session
from sessionwise.bulk.conformance.tables import (
    Always,
    Defaulted,
    Generated,
    InSchema,
    Keyed,
    Named,
    Plain,
    SqlDefault,
)

if TYPE_CHECKING:
    from sessionwise import Session

__all__ = ["DefaultConformance"]


class DefaultConformance(Harness):
    """Defaults of every kind, and names of every kind."""

    @in_session(Plain)
    def test_the_writer_is_used(self, session: Session) -> None:
        result = self.insert(session, Plain, [{"name": f"n{at}", "size": at} for at in range(5)])
        assert result.writer == self.writer.name
        assert result.ids is None

    @in_session(Defaulted)
    def test_a_column_left_out_has_its_default(self, session: Session) -> None:
        self.insert(session, Defaulted, [{"name": f"n{at}"} for at in range(20)])
        found = session.scalars(select(Defaulted).order_by(Defaulted.name)).all()
        assert {one.scalar for one in found} == {7}
        assert len({one.called for one in found}) == 20
        assert [one.seen for one in found] == [f"hello {one.name}" for one in found]
        assert {one.served for one in found} == {"it's served"}
        assert {one.plain for one in found} == {None}

    @in_session(Defaulted)
    def test_none_is_null(self, session: Session) -> None:
        nothing = dict.fromkeys(("scalar", "called", "seen", "served", "plain"))
        rows: list[dict[str, Any]] = [{"name": "a", **nothing}, {"name": "b", **nothing}]
        self.insert(session, Defaulted, rows)
        table = Defaulted.__table__
        for row in session.execute(select(table)).mappings():
            assert {key: row[key] for key in nothing} == nothing

    @in_session(Defaulted)
    def test_rows_with_different_keys(self, session: Session) -> None:
        rows: list[dict[str, Any]] = [
            {"name": "a"},
            {"name": "b", "served": "b's"},
            {"plain": "p", "name": "c"},
            {"name": "d", "plain": None, "scalar": 8},
            {"name": "e"},
            {"served": None, "name": "f"},
            {"name": "g", "plain": "p"},
        ]
        result = self.insert(session, Defaulted, rows, returning=True)
        assert result.ids is not None
        found = [session.get_one(Defaulted, id_) for id_ in result.ids]
        assert [one.name for one in found] == [row["name"] for row in rows]
        served = "it's served"
        assert [one.served for one in found] == [served, "b's", *[served] * 3, None, served]
        assert [one.plain for one in found] == [None, None, "p", None, None, None, "p"]
        assert [one.scalar for one in found] == [7, 7, 7, 8, 7, 7, 7]

    @in_session(Defaulted)
    def test_rows_of_a_table(self, session: Session) -> None:
        """Without a class, and still with what its columns say."""
        self.insert(session, Defaulted.__table__, [{"name": "a"}, {"name": "b"}])
        found = session.scalars(select(Defaulted).order_by(Defaulted.name)).all()
        assert [(one.scalar, one.seen) for one in found] == [(7, "hello a"), (7, "hello b")]

    @in_session(SqlDefault)
    def test_a_default_by_sql(self, session: Session) -> None:
        rows: list[dict[str, Any]] = [
            {"name": "a"},
            {"name": "b", "made": "x"},
            {"name": "c", "made": None},
        ]
        self.insert(session, SqlDefault, rows)
        found = session.scalars(select(SqlDefault.made).order_by(SqlDefault.name)).all()
        assert found == ["made", "x", None]

    @in_session(Plain)
    def test_a_value_that_is_sql(self, session: Session) -> None:
        rows: list[dict[str, Any]] = [
            {"name": "a", "size": 1},
            {"name": func.lower("B"), "size": func.abs(-2)},
        ]
        self.insert(session, Plain, rows)
        found = session.execute(select(Plain.name, Plain.size).order_by(Plain.name)).all()
        assert [tuple(row) for row in found] == [("a", 1), ("b", 2)]

    @in_session(Generated)
    def test_computed_columns_and_identity(self, session: Session) -> None:
        rows: list[dict[str, Any]] = [{"width": 1, "height": 1}, {"width": 2, "height": None}]
        result = self.insert(session, Generated, rows, returning=True)
        assert result.ids is not None
        found = [session.get_one(Generated, id_) for id_ in result.ids]
        assert [(one.width, one.doubled, one.height) for one in found] == [(1, 2, 1), (2, 4, None)]

    @in_session(Generated)
    def test_a_value_for_a_computed_column_is_left_out(self, session: Session) -> None:
        """So that what was exported can be imported."""
        self.insert(session, Generated, [{"width": 3, "doubled": 6}, {"width": 4, "doubled": 0}])
        found = session.scalars(select(Generated.doubled).order_by(Generated.width)).all()
        assert found == [6, 8]

    @in_session(Always, dialects=("postgresql",))
    def test_identity_always(self, session: Session) -> None:
        """What an INSERT may not give is not written by another road either."""
        self.insert(session, Always, [{"name": "a"}, {"name": "b"}])
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(insert(Always), [{"id": 900, "name": "c"}])
        with pytest.raises(DBAPIError):
            self.insert(session, Always, [{"id": 900, "name": "c"}, {"id": 901, "name": "d"}])
        assert session.scalar(select(func.count()).select_from(Always)) == 2

    @in_session(Keyed)
    def test_a_key_that_is_made_in_python(self, session: Session) -> None:
        mine = uuid.uuid4()
        rows: list[dict[str, Any]] = [{"name": "a"}, {"name": "b", "id": mine}, {"name": "c"}]
        result = self.insert(session, Keyed, rows, returning=True)
        assert result.ids is not None
        assert all(isinstance(id_, uuid.UUID) for id_ in result.ids)
        assert result.ids[1] == mine
        assert [session.get_one(Keyed, id_).name for id_ in result.ids] == ["a", "b", "c"]

    @in_session(Named)
    def test_names(self, session: Session) -> None:
        """Attributes that are called differently, and columns that need quoting."""
        values = {"title": "1", "mixed": "2", "spaced": "3", "percent": "4", "other": "5"}
        self.insert(session, Named, [values, dict.fromkeys(values, "x")])
        one = session.scalars(select(Named).where(Named.title == "1")).one()
        assert {key: getattr(one, key) for key in values} == values

    @in_session(Named)
    def test_names_of_columns(self, session: Session) -> None:
        """A row of the table itself has its columns' names; an attribute's name goes first."""
        values = {"order": "1", "MixedCase": "2", "per%cent": "4"}
        table = Named.__table__
        self.insert(session, table, [values, dict.fromkeys(values, "x")])
        one = session.execute(select(table).where(table.c["order"] == "1")).mappings().one()
        assert {key: one[key] for key in values} == values
        assert one["two words"] == "d"

    @in_session(InSchema, dialects=("postgresql",))
    def test_a_table_of_a_schema(self, session: Session) -> None:
        rows = [{"name": "a"}, {"name": "b"}]
        result = self.insert(session, InSchema, rows, returning=True)
        assert result.ids is not None
        assert [session.get_one(InSchema, id_).name for id_ in result.ids] == ["a", "b"]

    @in_session(Defaulted)
    def test_no_rows(self, session: Session) -> None:
        result = self.insert(session, Defaulted, [], returning=True)
        assert (result.read, result.ids) == (0, [])

    @in_session(SqlDefault)
    def test_rows_without_a_value(self, session: Session) -> None:
        self.insert(session, SqlDefault, [{}, {}, {}])
        found = session.execute(select(SqlDefault.name, SqlDefault.made)).all()
        assert [tuple(row) for row in found] == [(None, "made")] * 3
