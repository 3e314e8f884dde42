"""Technique 2, capture by the session: what bulk verbs write, and all of it in any order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from sessionwise import Session, UnauditedWriteError, UnauditedWriteWarning
from sessionwise.audit import Audit
from sessionwise.audit.tables import METADATA
from tests.archive import Account, Author, Base, Dog, Page, Sample, Tag, book_tags
from tests.backends import Database, on
from tests.recorded import Archive, archive, replay

AUTHORS, PAGES = Author.__table__, Page.__table__
MANY = 1_200
"""Rows that every writer thinks worth its while."""


@pytest.fixture(scope="module")
def engine(database: Database) -> Iterator[Any]:
    with archive(database) as engine:
        yield engine


@pytest.fixture
def shelf(db: Database, engine: Any) -> Archive:
    return Archive(db, engine)


def pages(numbers: Any, words: str = "") -> list[dict[str, Any]]:
    return [{"number": at, "side": "a", "words": words} for at in numbers]


def check(shelf: Archive, *tables: Any) -> None:
    """See that what was recorded makes what is stored, from nothing."""
    made = {name: rows for name, rows in replay(shelf.log(), {}).items() if rows}
    assert made == {name: rows for name, rows in shelf.contents(*tables).items() if rows}


class TestInsert:
    def test_that_bring_their_keys(self, shelf: Archive) -> None:
        result = shelf.run(lambda s: s.bulk_insert(Page, pages(range(MANY))))
        assert result.inserted == MANY
        assert {one[0] for one in shelf.news()} == {"INSERT"}
        check(shelf, PAGES)

    def test_of_which_the_database_makes_the_keys(self, shelf: Archive) -> None:
        rows = [{"name": f"user {at}", "balance": at} for at in range(MANY)]
        result = shelf.run(lambda s: s.bulk_insert(Author, rows))
        assert (result.inserted, result.ids) == (MANY, None)
        assert len(shelf.news()) == MANY
        check(shelf, AUTHORS)

    def test_returning(self, shelf: Archive) -> None:
        result = shelf.run(
            lambda s: s.bulk_insert(Tag, [{"name": "a"}, {"name": "b"}], returning=True)
        )
        assert [(one[2], one[4]["name"]) for one in shelf.news()] == [
            (str(result.ids[0]), "a"),
            (str(result.ids[1]), "b"),
        ]

    def test_objects_of_joined_inheritance(self, shelf: Archive) -> None:
        shelf.run(lambda s: s.bulk_insert(Dog, [{"name": "Rex", "tricks": 1}, {"name": "Max"}]))
        assert sorted(one[1] for one in shelf.news()) == ["animals", "animals", "dogs", "dogs"]

    def test_links(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            session.add(Author(id=1, name="A"))
            session.flush()
            from tests.archive import Book

            session.bulk_insert(Book, [{"id": 5, "author_id": 1, "title": "One"}])
            session.bulk_insert(Tag, [{"id": 7, "name": "x"}])
            session.bulk_insert(book_tags, [{"book_id": 5, "tag_id": 7}])

        shelf.run(work)
        link = {"book_id": 5, "tag_id": 7}
        assert shelf.news()[-1] == ("LINK", "book_tags", "[5, 7]", None, link)

    def test_rows_that_are_there_already(self, shelf: Archive) -> None:
        shelf.run(lambda s: s.bulk_insert(Page, pages(range(3))))
        shelf.run(lambda s: s.bulk_insert(Page, pages(range(5), "new"), on_conflict="nothing"))
        assert [one[2] for one in shelf.news()] == [f'[{at}, "a"]' for at in range(5)]
        check(shelf, PAGES)

    def test_rows_that_are_rejected(self, shelf: Archive) -> None:
        shelf.run(lambda s: s.bulk_insert(Page, pages([2])))
        shelf.news()
        result = shelf.run(lambda s: s.bulk_insert(Page, pages(range(5)), on_error="reject"))
        assert len(result.rejected) == 1
        assert sorted(one[2] for one in shelf.news()) == [f'[{at}, "a"]' for at in (0, 1, 3, 4)]
        check(shelf, PAGES)

    def test_that_fail(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            session.bulk_insert(Page, pages([2]))
            with pytest.raises(IntegrityError):
                session.bulk_insert(Page, pages(range(MANY)))
            session.execute(insert(Page), pages([MANY]))

        shelf.run(work)
        assert [one[2] for one in shelf.news()] == ['[2, "a"]', f'[{MANY}, "a"]']

    def test_redacted(self, shelf: Archive) -> None:
        rows = [{"id": at, "login": "x", "password": "y", "email": "z"} for at in (1, 2, 3)]
        shelf.run(lambda s: s.bulk_insert(Account, rows))
        news = shelf.news()
        assert all("password" not in one[4] and set(one[4]["email"]) == {"sha256"} for one in news)
        assert len({one[4]["email"]["sha256"] for one in news}) == 3


class TestLegacy:
    @pytest.mark.parametrize("count", [2, 60])
    def test_mappings(self, shelf: Archive, count: int) -> None:
        rows = [{"name": f"user {at}"} for at in range(count)]
        shelf.run(lambda s: s.bulk_insert_mappings(Author, rows))
        assert len(shelf.news()) == count
        check(shelf, AUTHORS)

    @pytest.mark.parametrize("count", [2, 60])
    def test_objects(self, shelf: Archive, count: int) -> None:
        shelf.run(lambda s: s.bulk_save_objects([Tag(name=str(at)) for at in range(count)]))
        assert len(shelf.news()) == count
        check(shelf, Tag.__table__)

    def test_updates(self, shelf: Archive) -> None:
        shelf.run(lambda s: s.bulk_insert(Page, pages(range(3))))
        rows = pages(range(2), "new")
        shelf.run(lambda s: s.bulk_update_mappings(Page, rows))
        assert [one[0] for one in shelf.news()] == ["INSERT"] * 3 + ["UPDATE"] * 2
        check(shelf, PAGES)


class TestUpsert:
    def test_by_the_key(self, shelf: Archive) -> None:
        shelf.run(lambda s: s.bulk_insert(Page, pages(range(0, MANY, 2))))
        result = shelf.run(lambda s: s.bulk_upsert(Page, pages(range(MANY), "new")))
        assert (result.inserted, result.updated) == (MANY // 2, MANY // 2)
        assert len(shelf.news()) == MANY // 2 * 3
        check(shelf, PAGES)

    def test_by_another_key(self, shelf: Archive) -> None:
        shelf.run(lambda s: s.bulk_insert(Author, [{"name": "Alice"}]))
        rows = [{"name": "Alice", "balance": 5}, {"name": "Bob", "balance": 6}]
        shelf.run(lambda s: s.bulk_upsert(Author, rows, keys=["name"]))
        assert [one[0] for one in shelf.news()] == ["INSERT", "UPDATE", "INSERT"]
        check(shelf, AUTHORS)

    def test_rows_without_any_key(self, shelf: Archive) -> None:
        """Nobody can tell afterwards which they are."""
        rows = [{"id": None, "name": "x"}, {"id": 5, "name": "y"}]
        with shelf.session() as session:
            with pytest.raises(UnauditedWriteError):
                session.bulk_upsert(Tag, rows)
            session.commit()
        assert shelf.news() == []
        assert shelf.contents(Tag.__table__) == {"tags": {}}


class TestUpdate:
    def test_by_the_key(self, shelf: Archive) -> None:
        shelf.run(lambda s: s.bulk_insert(Page, pages(range(10))))
        result = shelf.run(lambda s: s.bulk_update(Page, pages(range(5, 15), "new")))
        assert result.updated == 5
        assert len(shelf.news()) == 15
        check(shelf, PAGES)

    def test_by_another_column(self, shelf: Archive) -> None:
        shelf.run(lambda s: s.bulk_insert(Author, [{"name": "Alice"}, {"name": "Bob"}]))
        rows = [{"name": "Bob", "balance": 6}, {"name": "Carol", "balance": 7}]
        shelf.run(lambda s: s.bulk_update(Author, rows, keys=["name"]))
        assert [one[4] for one in shelf.news()[2:]] == [{"balance": 6}]
        check(shelf, AUTHORS)

    def test_of_the_key(self, shelf: Archive) -> None:
        shelf.run(lambda s: s.bulk_insert(Author, [{"id": 1, "name": "Alice"}]))
        with shelf.session() as session:
            with pytest.raises(UnauditedWriteError, match="primary key"):
                session.bulk_update(Author, [{"name": "Alice", "id": 9}], keys=["name"])
            session.commit()
        assert len(shelf.news()) == 1


class TestCopy:
    @on("psycopg", "asyncpg")
    def test_of_bytes_that_nobody_reads(self, shelf: Archive) -> None:
        for target in (Page, "pages"):
            with shelf.session() as session:
                with pytest.raises(UnauditedWriteError, match="pages"):
                    session.copy_in(target, b"1,a,x\n")
                session.commit()
        assert shelf.contents(PAGES) == {"pages": {}}

    @on("psycopg")
    def test_with_a_warning(self, db: Database, engine: Any) -> None:
        shelf = Archive(db, engine, on_unaudited="warn")
        with shelf.session() as session:
            with pytest.warns(UnauditedWriteWarning, match="bulk copy writes pages"):
                session.copy_in(Page, b"1,a,x\n")
            session.add(Page(number=2, side="a"))
            session.commit()
        assert [one[2] for one in shelf.news()] == ['[2, "a"]']

    @on("sqlite", "mariadb")
    def test_as_rows(self, shelf: Archive) -> None:
        shelf.run(lambda s: s.copy_in(Page, b"1,a,x\n2,b,y\n") and None)
        shelf.run(lambda s: s.copy_in("pages", b"3,a,x\n") and None)
        assert len(shelf.news()) == 3
        check(shelf, PAGES)


def test_types(shelf: Archive) -> None:
    """What bulk verbs store, and what flushes do, is recorded in the same form."""
    from tests.archive import PLENTY

    values = PLENTY
    if shelf.database.driver.name == "aiomysql":
        values = values | {"raw": None}  # this driver does not take bytes
    shelf.run(lambda s: s.add(Sample(id=1, **values)))
    shelf.run(lambda s: s.bulk_insert(Sample, [{"id": 2, **values}]))
    shelf.run(lambda s: s.execute(insert(Sample), {"id": 3, **values}) and None)
    first, second, third = (one[4] for one in shelf.news())
    assert first | {"id": 0} == second | {"id": 0} == third | {"id": 0}


NAMES = st.sampled_from([f"n{at}" for at in range(6)])
NUMBERS = st.integers(1, 6)
STEPS = st.one_of(
    st.tuples(st.just("add"), NUMBERS, NAMES),
    st.tuples(st.just("change"), NUMBERS, NAMES),
    st.tuples(st.just("move"), NUMBERS, NUMBERS),
    st.tuples(st.just("delete"), NUMBERS),
    st.tuples(st.just("flush")),
    st.tuples(st.just("core insert"), NUMBERS, NAMES),
    st.tuples(st.just("core update"), NAMES, NAMES),
    st.tuples(st.just("core delete"), NAMES),
    st.tuples(st.just("bulk insert"), st.lists(NUMBERS, unique=True), NAMES),
    st.tuples(st.just("bulk upsert"), st.lists(NUMBERS, unique=True, min_size=1), NAMES),
    st.tuples(st.just("bulk update"), st.lists(NUMBERS, unique=True, min_size=1), NAMES),
    st.tuples(st.just("begin")),
    st.tuples(st.just("release")),
    st.tuples(st.just("undo")),
    st.tuples(st.just("commit")),
)


@pytest.fixture(scope="module")
def memory() -> Iterator[Any]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


@given(steps=st.lists(STEPS, max_size=14))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_order(memory: Any, steps: list[Any]) -> None:
    """What is recorded makes, of nothing, exactly what is stored in the end."""
    with memory.begin() as connection:
        for table in (PAGES, *METADATA.sorted_tables):
            connection.execute(table.delete())
    with Session(memory, audit=Audit(Base.metadata, capture="session")) as session:
        savepoints: list[Any] = []
        for step in steps:
            _take(session, savepoints, step)
        session.commit()
    with memory.connect() as connection:
        log = list(connection.execute(select(METADATA.tables["audit_log"]).order_by("id")))
        stored = {
            f'[{one.number}, "a"]': dict(one._mapping) for one in connection.execute(select(PAGES))
        }
    assert replay(log, {}).get("pages", {}) == stored


def _take(session: Any, savepoints: list[Any], step: tuple[Any, ...]) -> None:
    """Take one step; what the database refuses is undone in its savepoint, or with the unit."""
    kind, *given = step
    if kind == "begin":
        savepoints.append(session.begin_nested())
    elif kind in {"release", "undo"} and savepoints:
        innermost = savepoints.pop()
        (innermost.commit if kind == "release" else innermost.rollback)()
    elif kind == "commit":
        session.commit()
        savepoints.clear()
    else:
        try:
            with session.begin_nested():
                _write(session, kind, given)
        except IntegrityError:
            pass


def _write(session: Any, kind: str, given: list[Any]) -> None:
    first, words = (*given, None, None)[:2]
    page = session.get(Page, (first, "a")) if isinstance(first, int) else None
    if kind == "add" and page is None:
        session.add(Page(number=first, side="a", words=words))
    elif kind == "change" and page is not None:
        page.words = words
    elif kind == "move" and page is not None:
        page.number = words
    elif kind == "delete" and page is not None:
        session.delete(page)
    elif kind == "flush":
        session.flush()
    elif kind == "core insert":
        session.execute(insert(PAGES), {"number": first, "side": "a", "words": words})
    elif kind == "core update":
        session.execute(update(Page).where(Page.words == first).values(words=words))
    elif kind == "core delete":
        session.execute(delete(Page).where(Page.words == first))
    elif kind == "bulk insert":
        session.bulk_insert(Page, pages(first, words))
    elif kind == "bulk upsert":
        session.bulk_upsert(Page, pages(first, words))
    elif kind == "bulk update":
        session.bulk_update(Page, pages(first, words))
