"""Technique 3: new values for rows that are there, found by their keys."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from sessionwise.bulk import announce
from sessionwise.bulk.update import update
from sessionwise.errors import BulkInputError, UnsupportedError
from tests.backends import Database
from tests.club import Staff
from tests.stock import Cellar, Item, Part, Place, empty, price, run, stored, temporary_tables


@pytest.fixture
def stock(db: Database) -> Database:
    empty(db)
    with db.session() as session:
        session.add_all([Item(id=1, code="a", label="old", pieces=1), Item(id=2, code="b")])
        session.add_all([Part(id=1, code="a"), Place(id=1, shelf="s"), Cellar(id=2, shelf="s")])
        session.commit()
    return db


def counts(result: Any) -> tuple[int, int, int]:
    return result.inserted, result.updated, result.skipped


def test_by_primary_key(stock: Database) -> None:
    rows = [{"id": 1, "pieces": 5}, {"id": 3, "pieces": 5}]
    with stock.session() as session:
        result = run(session, update, Item, rows)
        session.commit()
    assert counts(result) == (0, 1, 1)
    assert stored(stock, Item.code, Item.label, Item.pieces) == [("a", "old", 5), ("b", None, 7)]


def test_only_what_a_row_has_is_changed(stock: Database) -> None:
    rows: list[Any] = [{"id": 1, "label": None}, {"id": 2, "pieces": 5, "label": "new"}]
    with stock.session() as session:
        assert counts(run(session, update, Item, rows)) == (0, 2, 0)
        session.commit()
    assert stored(stock, Item.code, Item.label, Item.pieces) == [("a", None, 1), ("b", "new", 5)]


def test_by_another_key(stock: Database) -> None:
    rows = [{"code": "b", "pieces": 5}, {"code": None, "pieces": 5}]
    with stock.session() as session:
        assert counts(run(session, update, Item, rows, keys=("code",))) == (0, 1, 1)
        session.commit()
    assert stored(stock, Item.code, Item.pieces) == [("a", 1), ("b", 5)]


def test_by_a_key_of_several_columns(stock: Database) -> None:
    rows = [{"code": "a", "day": day, "price": day} for day in range(3)]
    with stock.session() as session:
        session.connection().execute(price.insert(), rows)
        found = run(session, update, price, [{**row, "price": 9} for row in rows[1:]])
        session.commit()
    assert counts(found) == (0, 2, 0)
    assert stored(stock, price) == [("a", 0, 0), ("a", 1, 9), ("a", 2, 9)]


def test_equal_values_count_as_updated(stock: Database) -> None:
    with stock.session() as session:
        for _ in range(2):
            assert counts(run(session, update, Item, [{"id": 1, "pieces": 5}])) == (0, 1, 0)


def test_loaded_objects_are_expired(stock: Database) -> None:
    with stock.session() as session:
        item = session.get(Item, 1)
        run(session, update, Item, [{"id": 1, "pieces": 5}])
        assert stock.inside(session, lambda: (item.pieces, item.twice)) == (5, 10)


def test_versions_and_defaults(stock: Database) -> None:
    with stock.session() as session:
        part = session.get(Part, 1)
        run(session, update, Part, [{"id": 1, "pieces": 5}])
        assert stock.inside(session, lambda: (part.version, part.state)) == (2, "changed")
        assert part.length == 4
        assert part.revision is not None
        part.pieces = 6
        session.commit()
    assert stored(stock, Part.version) == [(3,)]


def test_version_that_a_row_says_must_be_there(stock: Database) -> None:
    with stock.session() as session:
        rows = [{"id": 1, "pieces": 5, "version": 1}]
        assert counts(run(session, update, Part, rows)) == (0, 1, 0)
        assert counts(run(session, update, Part, rows)) == (0, 0, 1)
        session.commit()
    assert stored(stock, Part.version) == [(2,)]


def test_duplicates_are_named(stock: Database) -> None:
    rows: list[Any] = [{"id": 1, "pieces": 5}, {"id": 2, "pieces": 5}, {"id": 1, "label": "x"}]
    with stock.session() as session:
        with pytest.raises(BulkInputError, match=r"\(1\) in rows 0 and 2"):
            run(session, update, Item, rows)
        assert temporary_tables(stock, session) == []
        session.commit()
    assert stored(stock, Item.id, Item.pieces) == [(1, 1), (2, 7)]


def test_rows_without_a_key(stock: Database) -> None:
    with stock.session() as session:
        with pytest.raises(BulkInputError, match="no value for id"):
            run(session, update, Item, [{"pieces": 5}])


def test_an_error_undoes_this_call_only(stock: Database) -> None:
    rows = [{"id": 1, "code": "z"}, {"id": 2, "code": "z"}]
    with stock.session() as session:
        session.add(Item(id=3, code="kept"))
        with pytest.raises(IntegrityError):
            run(session, update, Item, rows)
        assert temporary_tables(stock, session) == []
        session.commit()
    assert [code for (code,) in stored(stock, Item.code)] == ["a", "b", "kept"]


def test_many_rows(stock: Database) -> None:
    rows = [{"id": at, "code": f"k{at}", "pieces": at} for at in range(10, 1010)]
    heard: list[Any] = []
    with stock.session() as session:
        session.connection().execute(Item.__table__.insert(), rows)
        target = session.target.sync_session if stock.driver.is_async else session
        announce.listen(target, lambda one: heard.append((one.kind, one.done, len(one.chunk))))
        new = [{"id": row["id"], "pieces": 1} for row in rows]
        result = run(session, update, Item, new, chunk_size=600)
        session.commit()
    assert counts(result) == (0, 1000, 0)
    assert sum(pieces for (pieces,) in stored(stock, Item.pieces)) == 1008
    before = [("update", False, 600), ("update", False, 400)]
    assert heard == [*before, ("update", True, 600), ("update", True, 400)]


def test_rows_of_another_class_are_not_found(stock: Database) -> None:
    rows = [{"id": 1, "note": "n"}, {"id": 2, "note": "n"}]
    with stock.session() as session:
        assert counts(run(session, update, Cellar, rows)) == (0, 1, 1)
        assert session.scalars(select(Place.note).order_by(Place.id)).all() == [None, "n"]


def test_class_with_several_tables(stock: Database) -> None:
    with stock.session() as session:
        with pytest.raises(UnsupportedError, match="club_member, club_staff"):
            run(session, update, Staff, [{"id": 1}])
