"""Many objects one by one, in constant memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import pytest
from sqlalchemy import delete, func, insert, inspect, select, text, update
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncResult
from sqlalchemy.orm import aliased, joinedload, selectinload, undefer, with_loader_criteria

from sessionwise import OptionError
from tests.backends import Database, on
from tests.library import Author, Book, Guest, Librarian, Person, Place, authors, elsewhere, store


def each(db: Database, session: Any, statement: Any, **options: Any) -> Iterator[Any]:
    """Stream as a loop does: of asyncio, ``async for`` step by step."""
    stream = session.stream(statement, **options)
    if not db.driver.is_async:
        yield from stream
        return
    steps = aiter(stream)
    while (one := db.run(anext(steps, None))) is not None:
        yield one


class TestObjects:
    def test_in_the_order_of_the_statement(self, library: Database) -> None:
        store(library, authors(30))
        with library.session() as session:
            statement = select(Author).order_by(Author.id % 3, Author.id.desc())
            expected = session.scalars(statement).all()
            assert list(each(library, session, statement, chunk_size=7)) == expected

    def test_statements(self, library: Database) -> None:
        store(library, authors(1200))
        with library.session() as session, library.statements() as seen:
            statement = select(Author).order_by(Author.id)
            ids = [one.id for one in each(library, session, statement, chunk_size=500)]
            assert ids == list(range(1, 1201))
        assert len(seen) == 1 + 3

    def test_chunks_larger_than_a_select(self, library: Database) -> None:
        store(library, authors(1200))
        with library.session() as session, library.statements() as seen:
            found = list(each(library, session, select(Author), chunk_size=1200))
            assert len(found) == 1200
        assert len(seen) == 1 + 3

    def test_nothing(self, library: Database) -> None:
        with library.session() as session, library.statements() as seen:
            assert list(each(library, session, select(Author))) == []
        assert len(seen) == 1

    def test_limit_and_offset(self, library: Database) -> None:
        store(library, authors(30))
        with library.session() as session:
            statement = select(Author).order_by(Author.id).offset(5).limit(10)
            found = [one.id for one in each(library, session, statement, chunk_size=4)]
            assert found == list(range(6, 16))

    def test_criteria(self, library: Database) -> None:
        store(library, authors(4, books=2))
        with library.session() as session:
            few = select(Author).where(Author.books.any(Book.id > 4)).order_by(Author.id)
            assert [one.id for one in each(library, session, few)] == [3, 4]

    def test_joins_give_each_object_once(self, library: Database) -> None:
        store(library, authors(4, books=3))
        with library.session() as session:
            statement = select(Author).join(Author.books).order_by(Book.id.desc())
            found = [one.id for one in each(library, session, statement, chunk_size=2)]
            assert found == [4, 3, 2, 1]

    def test_distinct(self, library: Database) -> None:
        store(library, authors(4, books=3))
        with library.session() as session:
            statement = select(Author).join(Author.books).distinct().order_by(Author.name).limit(3)
            expected = session.scalars(statement).all()
            assert list(each(library, session, statement, chunk_size=2)) == expected

    def test_grouped(self, library: Database) -> None:
        store(library, authors(4, books=3))
        with library.session() as session:
            statement = (
                select(Author)
                .join(Author.books)
                .group_by(Author.id)
                .having(func.max(Book.id) > 3)
                .order_by(func.max(Book.id).desc())
            )
            assert [one.id for one in each(library, session, statement)] == [4, 3, 2]

    def test_what_the_session_has(self, library: Database) -> None:
        store(library, authors(4))
        with library.session() as session:
            held = session.get_many(Author, [2])[0]
            with elsewhere(library) as other:
                other.execute(update(Author).values(name="changed"))
            if library.driver.server == "mariadb":
                session.commit()  # for the others to see it
                session.refresh(held)
                held.name = "author 2"
                session.commit()
            found = list(each(library, session, select(Author).order_by(Author.id)))
            assert found[1] is held
            assert found[0].name == "changed"

    def test_pending_objects_are_flushed_first(self, library: Database) -> None:
        with library.session() as session:
            session.add(Author(id=1, name="new"))
            assert [one.name for one in each(library, session, select(Author))] == ["new"]


class TestOptions:
    @pytest.fixture
    def shop(self, library: Database) -> Database:
        store(library, authors(6, books=2))
        return library

    @pytest.mark.parametrize(("eagerly", "count"), [(selectinload, 2), (joinedload, 1)])
    def test_loader_options(self, shop: Database, eagerly: Callable[..., Any], count: int) -> None:
        with shop.session() as session, shop.statements() as seen:
            statement = select(Author).options(eagerly(Author.books)).order_by(Author.id)
            for one in each(shop, session, statement, chunk_size=3):
                assert len(one.books) == 2
        assert len(seen) == 1 + 2 * count

    def test_undefer(self, shop: Database) -> None:
        with shop.session() as session, shop.statements() as seen:
            for one in each(shop, session, select(Book).options(undefer(Book.cover))):
                assert one.cover == "cover"
        assert len(seen) == 2

    def test_criteria(self, shop: Database) -> None:
        with shop.session() as session:
            statement = (
                select(Author)
                .order_by(Author.id)
                .options(
                    selectinload(Author.books),
                    with_loader_criteria(Author, Author.id > 4),
                    with_loader_criteria(Book, Book.id % 2 == 0),
                )
            )
            found = list(each(shop, session, statement))
            assert [one.id for one in found] == [5, 6]
            assert [[book.id for book in one.books] for one in found] == [[10], [12]]

    def test_execution_options(self, shop: Database) -> None:
        with shop.session() as session:
            [held] = session.get_many(Author, [1])
            held.name = "mine"
            statement = select(Author).where(Author.id == 1)
            anew = statement.execution_options(populate_existing=True, autoflush=False)
            assert list(each(shop, session, anew)) == [held]
            assert held.name == "author 1"


class TestInTheLoop:
    @pytest.fixture
    def shop(self, library: Database) -> Database:
        store(library, authors(6, books=1))
        return library

    @pytest.mark.parametrize("end", ["commit", "flush", "rollback"])
    def test_a_unit_may_end(self, shop: Database, end: str) -> None:
        with shop.session(expire_on_commit=False) as session:
            ids = []
            statement = select(Author).order_by(Author.id)
            for one in each(shop, session, statement, chunk_size=2):
                ids.append(inspect(one).identity[0])
                getattr(session, end)()
            assert ids == [1, 2, 3, 4, 5, 6]

    def test_what_a_commit_expires_is_loaded_when_touched(self, shop: Database) -> None:
        with shop.session() as session:
            names = []
            statement = select(Author).order_by(Author.id)
            for one in each(shop, session, statement, chunk_size=2):
                names.append(shop.inside(session, lambda one=one: one.name))
                session.commit()
            assert names == [f"author {at}" for at in range(1, 7)]

    def test_other_queries(self, shop: Database) -> None:
        with shop.session() as session:
            statement = select(Author).order_by(Author.id)
            for one in each(shop, session, statement, chunk_size=2):
                books = session.scalars(select(Book).where(Book.author_id == one.id)).all()
                assert len(books) == 1
                assert session.scalar(select(func.count()).select_from(Author)) == 6

    def test_changes_are_stored(self, shop: Database) -> None:
        with shop.session() as session:
            statement = select(Author).order_by(Author.id)
            for one in each(shop, session, statement, chunk_size=2):
                one.born = 1900 + one.id
                del one
                gc.collect()
            session.commit()
        with shop.session() as session:
            born = session.scalars(select(Author.born).order_by(Author.id)).all()
        assert born == [1901, 1902, 1903, 1904, 1905, 1906]

    def test_rows_that_are_deleted_meanwhile(self, shop: Database) -> None:
        with shop.session(expire_on_commit=False) as session:
            ids = []
            statement = select(Book).order_by(Book.id)
            for one in each(shop, session, statement, chunk_size=2):
                ids.append(one.id)
                if one.id == 2:
                    session.execute(delete(Book).where(Book.id.in_([3, 6])))
            assert ids == [1, 2, 4, 5]

    def test_rows_that_come_meanwhile(self, shop: Database) -> None:
        with shop.session() as session:
            ids = []
            statement = select(Author).order_by(Author.id)
            for one in each(shop, session, statement, chunk_size=2):
                ids.append(one.id)
                if one.id == 2:
                    session.execute(insert(Author).values(id=7, name="new"))
            assert ids == [1, 2, 3, 4, 5, 6]

    def test_left_early(self, shop: Database) -> None:
        with shop.session() as session, shop.statements() as seen:
            steps = each(shop, session, select(Author), chunk_size=2)
            next(steps)
        assert len(seen) == 2


class TestMappings:
    def test_a_key_of_two_parts(self, library: Database) -> None:
        store(library, [Place(row=row, letter=letter) for row in (1, 2) for letter in "ABC"])
        with library.session() as session, library.statements() as seen:
            statement = select(Place).order_by(Place.letter.desc(), Place.row)
            found = [
                (one.row, one.letter) for one in each(library, session, statement, chunk_size=4)
            ]
        assert found == [(row, letter) for letter in "CBA" for row in (1, 2)]
        assert len(seen) == 1 + 2

    def test_inheritance(self, library: Database) -> None:
        people = [Librarian(id=1, name="Lea", desk=7), Guest(id=2, name="Gus", card=3)]
        store(library, [*people, Person(id=3, name="Pia")])
        with library.session() as session:
            for class_, ids in ((Person, [1, 2, 3]), (Librarian, [1]), (Guest, [2])):
                statement = select(class_).order_by(class_.id)
                found = list(each(library, session, statement, chunk_size=2))
                assert [one.id for one in found] == ids
                assert all(isinstance(one, class_) for one in found)
            assert session.get_many(Librarian, [1])[0].desk == 7


class TestRefused:
    @pytest.mark.parametrize(
        "statement",
        [
            select(Author.id),
            select(Author, Book),
            select(Author, Author.id),
            select(aliased(Author)),
            select(func.count()),
            select(Author.__table__),
            text("SELECT 1"),
            select(Author).from_statement(text("SELECT * FROM library_author")),
            Author,
        ],
        ids=str,
    )
    def test_another_statement(self, library: Database, statement: Any) -> None:
        with library.session() as session, library.statements() as seen:
            with pytest.raises(ArgumentError, match="yield_per"):
                list(each(library, session, statement))
        assert seen == []

    @pytest.mark.parametrize("size", [0, -1, 2.5, "10", True, None])
    def test_no_size(self, library: Database, size: Any) -> None:
        """At the call of a sync session; ``async for`` is what a call of asyncio is made for."""
        with library.session() as session:
            with pytest.raises(OptionError, match="chunk_size="):
                if library.driver.is_async:
                    next(each(library, session, select(Author), chunk_size=size))
                else:
                    session.stream(select(Author), chunk_size=size)


class TestMemory:
    def test_earlier_chunks_are_let_go_of(self, library: Database) -> None:
        store(library, authors(30, books=1))
        with library.session() as session:
            seen: list[Any] = []
            statement = select(Author).options(selectinload(Author.books)).order_by(Author.id)
            for one in each(library, session, statement, chunk_size=5):
                if len(seen) % 5 == 0:  # the first of a chunk
                    gc.collect()
                    assert [at for at, object_ in enumerate(seen) if object_() is not None] == []
                seen.append(ref(one))
            assert len(seen) == 30
            del one
            gc.collect()
            assert len(session.identity_map) == 0


@on("aiosqlite", "psycopg-async", "asyncpg", "aiomysql")
class TestAsync:
    """Awaited, ``AsyncSession.stream`` is SQLAlchemy's."""

    def test_rows(self, library: Database) -> None:
        store(library, authors(3))
        with library.session() as session:

            async def rows() -> list[int]:
                result = await session.target.stream(select(Author.id).order_by(Author.id))
                assert isinstance(result, AsyncResult)
                return [id_ async for (id_,) in result]

            assert library.run(rows()) == [1, 2, 3]
