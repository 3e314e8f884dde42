"""Technique 6: the newest rows, and a warning where they cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest
from sqlalchemy import delete, event, inspect, select, update
from sqlalchemy.exc import ArgumentError, InvalidRequestError, NoResultFound
from sqlalchemy.orm import (
    defer,
    immediateload,
    joinedload,
    lazyload,
    load_only,
    raiseload,
    selectinload,
    subqueryload,
    undefer,
    with_loader_criteria,
)
from sqlalchemy.orm.exc import UnmappedInstanceError

from sessionwise import MissingRowsError, OptionError, StaleSnapshotWarning
from sessionwise.database import AsyncDatabase
from sessionwise.database import Database as OurDatabase
from tests.backends import Database, on
from tests.library import (
    Author,
    Book,
    Guest,
    Librarian,
    Person,
    Place,
    Tag,
    authors,
    elsewhere,
    store,
)


@contextmanager
def newest(db: Database, **options: Any) -> Iterator[Any]:
    """Give a session whose reads see the newest rows, on MariaDB's plain engines, too."""
    with db.session(**options) as session:
        db.read_committed(session)
        yield session


def change(db: Database, statement: Any) -> None:
    """Change something as somebody else, and commit."""
    with elsewhere(db) as other:
        other.execute(statement)


def sync(db: Database, session: Any) -> Any:
    """Return the session that does the work, for events."""
    if not db.driver.is_async:
        return session
    return getattr(session.target, "sync_session", session.target)


class TestStatements:
    def test_two_thousand(self, library: Database) -> None:
        store(library, authors(2000))
        with newest(library) as session:
            held = session.scalars(select(Author).order_by(Author.id)).all()
            change(library, update(Author).values(name="changed"))
            with library.statements() as seen:
                assert session.refresh_many(held) == held
                assert {author.name for author in held} == {"changed"}
            assert len(seen) == 4

    def test_none(self, library: Database) -> None:
        with library.session() as session, library.statements() as seen:
            assert session.refresh_many([]) == []
        assert seen == []

    def test_objects_of_several_queries(self, library: Database) -> None:
        """What one SELECT can load it does, though each came by a query of its own."""
        store(library, authors(20))
        with newest(library) as session:
            option = selectinload(Author.books)
            held = [
                session.scalars(select(Author).where(Author.id == at).options(option)).one()
                for at in range(1, 21)
            ]
            with library.statements() as seen:
                session.refresh_many(held)
            assert len(seen) == 2

    def test_objects_that_were_loaded_lazily(self, library: Database) -> None:
        """Lazy loads hand the options of their query down, one by one."""
        store(library, authors(20, books=1))
        with newest(library) as session:
            held = session.scalars(select(Book).options(selectinload(Book.tags))).all()

            def touch() -> list[Any]:
                return [book.author for book in held]

            found = library.inside(session, touch)
            with library.statements() as seen:
                session.refresh_many(found)
            assert len(seen) == 1


class TestValues:
    def test_order(self, library: Database) -> None:
        store(library, authors(3))
        with newest(library) as session:
            one, two, three = session.get_many(Author, [1, 2, 3])
            assert session.refresh_many(iter([three, one, two])) == [three, one, two]

    def test_twice(self, library: Database) -> None:
        store(library, authors(2))
        with newest(library) as session:
            one, two = session.get_many(Author, [1, 2])
            with library.statements() as seen:
                assert session.refresh_many([two, one, two]) == [two, one, two]
            assert len(seen) == 1

    def test_unflushed_changes_are_given_up(self, library: Database) -> None:
        store(library, authors(2))
        with newest(library) as session:
            held = session.get_many(Author, [1, 2])
            held[0].name, held[1].born = "mine", 1900
            with library.statements() as seen:
                session.refresh_many(held)
            assert len(seen) == 1
            assert [(one.name, one.born) for one in held] == [
                ("author 1", None),
                ("author 2", None),
            ]
            assert not session.dirty

    @pytest.mark.parametrize("autoflush", [True, False])
    def test_changes_of_other_attributes_survive(self, library: Database, autoflush: bool) -> None:
        store(library, authors(2))
        with newest(library, autoflush=autoflush) as session:
            held = session.get_many(Author, [1, 2])
            for one in held:
                one.name, one.born = "mine", 1900
            session.refresh_many(held, ["name"])
            assert [(one.name, one.born) for one in held] == [
                ("author 1", 1900),
                ("author 2", 1900),
            ]
            session.commit()
        with library.session() as session:
            stored = session.execute(select(Author.name, Author.born).order_by(Author.id)).all()
        assert stored == [("author 1", 1900), ("author 2", 1900)]

    def test_pending_objects_are_flushed_first(self, library: Database) -> None:
        store(library, authors(1))
        with newest(library) as session:
            [author] = session.get_many(Author, [1])
            session.add(Book(id=1, title="new", author_id=1))
            session.refresh_many([author], ["books"])
            assert [book.title for book in author.books] == ["new"]


class TestAttributes:
    @pytest.fixture
    def shop(self, library: Database) -> Database:
        store(library, authors(3, books=2))
        return library

    def test_a_column(self, shop: Database) -> None:
        with newest(shop) as session:
            held = session.get_many(Author, [1, 2, 3])
            change(shop, update(Author).values(name="changed", born=1900))
            with shop.statements() as seen:
                session.refresh_many(held, ["name"])
                assert [(one.name, one.born) for one in held] == [("changed", None)] * 3
            assert len(seen) == 1
            assert "born" not in seen[0]

    def test_a_collection(self, shop: Database) -> None:
        with newest(shop) as session:
            option = selectinload(Author.books)
            held = session.scalars(select(Author).options(option).order_by(Author.id)).all()
            change(shop, update(Book).values(author_id=1))
            change(shop, update(Author).values(name="changed"))
            with shop.statements() as seen:
                session.refresh_many(held, ["books"])
                assert [len(one.books) for one in held] == [6, 0, 0]
            assert len(seen) == 2
            assert held[0].name == "author 1"

    def test_a_collection_never_loaded(self, shop: Database) -> None:
        with newest(shop) as session:
            held = session.get_many(Author, [1, 2, 3])
            with shop.statements() as seen:
                session.refresh_many(held, ["books"])
                assert [len(one.books) for one in held] == [2, 2, 2]
            assert len(seen) == 2

    def test_a_collection_that_was_joined(self, shop: Database) -> None:
        with newest(shop) as session:
            option = joinedload(Author.books)
            held = (
                session.scalars(select(Author).options(option).order_by(Author.id)).unique().all()
            )
            change(shop, update(Book).values(author_id=1))
            session.refresh_many(held, ["books"])
            with shop.statements() as seen:
                assert [len(one.books) for one in held] == [6, 0, 0]
            assert seen == []

    def test_many_to_one(self, shop: Database) -> None:
        with newest(shop) as session:
            held = session.scalars(select(Book).options(selectinload(Book.author))).all()
            change(shop, update(Book).values(author_id=3))
            session.refresh_many(held, ["author", "author_id"])
            with shop.statements() as seen:
                assert {book.author.id for book in held} == {3}
            assert seen == []

    def test_many_to_one_alone(self, shop: Database) -> None:
        with newest(shop) as session:
            held = session.scalars(select(Book)).all()
            change(shop, update(Book).values(author_id=3))
            with shop.statements() as seen:
                session.refresh_many(held, ["author"])
                assert {book.author.id for book in held} == {3}
            assert len(seen) == 2

    def test_many_to_one_whose_foreign_key_was_changed_here(self, shop: Database) -> None:
        with newest(shop) as session:
            held = session.scalars(select(Book).order_by(Book.id)).all()
            held[0].author_id = 3
            session.refresh_many(held, ["author"])
            assert [book.author.id for book in held] == [3, 1, 2, 2, 3, 3]

    def test_a_deferred_column(self, shop: Database) -> None:
        with newest(shop) as session:
            held = session.scalars(select(Book).order_by(Book.id)).all()
            with shop.statements() as seen:
                session.refresh_many(held, ["summary"])
                assert held[0].summary == "summary 1 of 1"
            assert len(seen) == 1
            assert "cover" not in inspect(held[0]).dict

    def test_a_column_that_the_query_left_out(self, shop: Database) -> None:
        with newest(shop) as session:
            held = session.scalars(select(Book).options(load_only(Book.id))).all()
            held += session.scalars(select(Author).options(defer(Author.name))).all()
            with shop.statements() as seen:
                session.refresh_many(held[:6], ["title"])
                session.refresh_many(held[6:], ["name"])
                assert held[0].title.startswith("book")
                assert held[6].name.startswith("author")
            assert len(seen) == 2

    @pytest.mark.parametrize("names", [["summary"], ["title", "summary"], ["tags", "summary"]])
    def test_of_objects_that_came_with_others(self, shop: Database, names: list[str]) -> None:
        """Their options begin at the object that the query asked for."""
        with newest(shop) as session:
            option = selectinload(Author.books).selectinload(Book.tags)
            held = session.scalars(select(Author).options(option).order_by(Author.id)).all()
            books = [book for author in held for book in author.books]
            change(shop, update(Book).values(summary="changed", title="changed"))
            session.refresh_many(books, names)
            with shop.statements() as seen:
                assert {book.summary for book in books} == {"changed"}
                if "title" in names:
                    assert {book.title for book in books} == {"changed"}
                assert [book.tags for book in books] == [[]] * 6
            assert seen == []

    def test_a_relationship_of_objects_that_came_with_others(self, shop: Database) -> None:
        with newest(shop) as session:
            held = session.scalars(select(Author).options(selectinload(Author.books))).all()
            books = [book for author in held for book in author.books]
            change(shop, Tag.__table__.insert().values(id=1, name="new"))
            change(shop, Book.tags.property.secondary.insert().values(book_id=1, tag_id=1))
            with shop.statements() as seen:
                session.refresh_many(books, ["tags"])
                assert sum(len(book.tags) for book in books) == 1
            assert len(seen) == 2

    def test_options_below_a_named_relationship(self, shop: Database) -> None:
        with newest(shop) as session:
            option = selectinload(Author.books).options(undefer(Book.cover))
            held = session.scalars(select(Author).options(option).order_by(Author.id)).all()
            change(
                shop, Book.__table__.insert().values(id=99, title="x", author_id=1, cover="new")
            )
            session.refresh_many(held, ["books"])
            with shop.statements() as seen:
                assert held[0].books[-1].cover == "new"
            assert seen == []

    def test_criteria_of_the_query(self, shop: Database) -> None:
        with newest(shop) as session:
            options = [
                with_loader_criteria(Book, Book.id % 2 == 0),
                with_loader_criteria(Author, Author.id < 4),
            ]
            held = session.scalars(select(Author).options(*options).order_by(Author.id)).all()
            session.refresh_many(held, ["books"])
            assert [[book.id for book in author.books] for author in held] == [[2], [4], [6]]

    @pytest.mark.parametrize("eagerly", [lazyload, raiseload, subqueryload, immediateload])
    def test_another_way_to_load_it(self, shop: Database, eagerly: Any) -> None:
        with newest(shop) as session:
            option = eagerly(Author.books)
            held = session.scalars(select(Author).options(option).order_by(Author.id)).all()
            change(shop, update(Book).values(author_id=1))
            session.refresh_many(held, ["books"])
            with shop.statements() as seen:
                assert [len(one.books) for one in held] == [6, 0, 0]
            assert seen == []

    @pytest.mark.parametrize("eagerly", [selectinload, raiseload])
    def test_a_way_to_load_everything(self, shop: Database, eagerly: Any) -> None:
        with newest(shop) as session:
            held = session.scalars(select(Author).options(eagerly("*")).order_by(Author.id)).all()
            change(shop, update(Book).values(author_id=1))
            session.refresh_many(held, ["books"])
            with shop.statements() as seen:
                assert [len(one.books) for one in held] == [6, 0, 0]
            assert seen == []

    def test_no_such_attribute(self, shop: Database) -> None:
        with newest(shop) as session:
            held = session.get_many(Author, [1])
            with pytest.raises(InvalidRequestError, match="nam"):
                session.refresh_many(held, ["nam"])
            assert "name" in inspect(held[0]).dict


class TestEagerly:
    @pytest.fixture
    def shop(self, library: Database) -> Database:
        store(library, authors(3, books=2))
        return library

    def test_what_the_query_loaded_eagerly(self, shop: Database) -> None:
        with newest(shop) as session:
            option = selectinload(Author.books)
            held = session.scalars(select(Author).options(option).order_by(Author.id)).all()
            change(shop, update(Book).values(author_id=1))
            change(shop, update(Author).values(name="changed"))
            with shop.statements() as seen:
                session.refresh_many(held)
                assert [len(one.books) for one in held] == [6, 0, 0]
                assert {one.name for one in held} == {"changed"}
            assert len(seen) == 2

    def test_what_the_query_joined(self, shop: Database) -> None:
        with newest(shop) as session:
            option = joinedload(Author.books)
            held = (
                session.scalars(select(Author).options(option).order_by(Author.id)).unique().all()
            )
            change(shop, update(Book).values(author_id=1))
            with shop.statements() as seen:
                session.refresh_many(held)
                assert [len(one.books) for one in held] == [6, 0, 0]
            assert len(seen) == 1

    def test_of_objects_that_came_with_others(self, shop: Database) -> None:
        with newest(shop) as session:
            option = selectinload(Author.books).selectinload(Book.tags)
            held = session.scalars(select(Author).options(option).order_by(Author.id)).all()
            books = [book for author in held for book in author.books]
            change(shop, Tag.__table__.insert().values(id=1, name="new"))
            change(shop, Book.tags.property.secondary.insert().values(book_id=1, tag_id=1))
            change(shop, update(Book).values(title="changed"))
            with shop.statements() as seen:
                session.refresh_many(books)
                assert [len(book.tags) for book in books] == [1, 0, 0, 0, 0, 0]
                assert {book.title for book in books} == {"changed"}
            assert len(seen) == 2

    def test_options_are_kept_for_the_next_time(self, shop: Database) -> None:
        with newest(shop) as session:
            option = selectinload(Author.books)
            held = session.scalars(select(Author).options(option).order_by(Author.id)).all()
            for at in (1, 2):
                change(shop, update(Book).values(author_id=at))
                session.refresh_many(held)
                with shop.statements() as seen:
                    assert len(held[at - 1].books) == 6
                assert seen == []

    def test_lazy_ones_stay_lazy(self, shop: Database) -> None:
        with newest(shop) as session:
            held = session.get_many(Author, [1, 2, 3])
            shop.inside(session, lambda: [one.books for one in held])
            with shop.statements() as seen:
                session.refresh_many(held)
            assert len(seen) == 1
            assert "books" not in inspect(held[0]).dict


class TestMappings:
    def test_inheritance(self, library: Database) -> None:
        store(library, [Librarian(id=1, name="Lea", desk=7), Guest(id=2, name="Gus", card=3)])
        with newest(library) as session:
            held = session.scalars(select(Person).order_by(Person.id)).all()
            change(library, update(Person.__table__).values(name="changed", card=4))
            change(library, update(Librarian.__table__).values(desk=8))
            with library.statements() as seen:
                session.refresh_many(held)
                assert [one.name for one in held] == ["changed", "changed"]
                assert (held[0].desk, held[1].card) == (8, 4)
            assert len(seen) == 2

    def test_a_column_of_the_subclass(self, library: Database) -> None:
        store(library, [Librarian(id=1, name="Lea", desk=7), Guest(id=2, name="Gus", card=3)])
        with newest(library) as session:
            lea, gus = session.scalars(select(Person).order_by(Person.id)).all()
            session.refresh_many([lea], ["desk"])
            session.refresh_many([gus], ["card"])
            assert (lea.desk, gus.card) == (7, 3)

    def test_a_key_of_two_parts(self, library: Database) -> None:
        store(library, authors(1, books=1))
        store(library, [Place(row=row, letter=letter) for row in (1, 2) for letter in "AB"])
        with newest(library) as session:
            held = session.scalars(select(Place)).all()
            change(library, update(Place).values(book_id=1))
            with library.statements() as seen:
                session.refresh_many(held)
                assert {place.book_id for place in held} == {1}
                session.refresh_many(held, ["loans"])
            assert len(seen) == 3

    def test_several_classes(self, library: Database) -> None:
        store(library, authors(2, books=2))
        with newest(library) as session:
            held = session.scalars(select(Author)).all() + session.scalars(select(Book)).all()
            with library.statements() as seen:
                assert session.refresh_many(held) == held
            assert len(seen) == 2

    def test_identity_token(self, library: Database) -> None:
        store(library, authors(1))
        with newest(library) as session:
            held = [
                *session.get_many(Author, [1]),
                *session.get_many(Author, [1], identity_token="t"),
            ]
            change(library, update(Author).values(name="changed"))
            assert session.refresh_many(held) == held
            assert [one.name for one in held] == ["changed", "changed"]


class TestMissing:
    @pytest.fixture
    def three(self, library: Database) -> Database:
        store(library, authors(3))
        return library

    def test_raise(self, three: Database) -> None:
        with newest(three) as session:
            held = session.get_many(Author, [1, 2, 3])
            change(three, delete(Author).where(Author.id == 2))
            change(three, update(Author).values(name="changed"))
            with pytest.raises(MissingRowsError, match=r"Author has no row .* 2") as caught:
                session.refresh_many(held)
            assert caught.value.keys == [(2,)]
            assert isinstance(caught.value, NoResultFound)
            with three.statements() as seen:
                assert [held[0].name, held[2].name] == ["changed", "changed"]
            assert seen == []

    def test_expunge(self, three: Database) -> None:
        with newest(three) as session:
            held = session.get_many(Author, [3, 2, 1])
            change(three, delete(Author).where(Author.id != 1))
            with three.statements() as seen:
                assert session.refresh_many(held, missing="expunge") == [held[2]]
            assert len(seen) == 2
            assert [one in session for one in held] == [False, False, True]

    def test_another_word(self, three: Database) -> None:
        with newest(three) as session, three.statements() as seen:
            with pytest.raises(OptionError, match="'raise' or 'expunge'"):
                session.refresh_many([], missing="skip")
        assert seen == []

    @pytest.mark.parametrize("names", [None, ["name"]])
    def test_criteria_do_not_hide_a_row(self, three: Database, names: Any) -> None:
        def hide(state: Any) -> None:
            if state.is_select and not state.is_column_load and not state.is_relationship_load:
                criteria = with_loader_criteria(Author, Author.id != 2, include_aliases=True)
                state.statement = state.statement.options(criteria)

        with newest(three) as session:
            held = session.get_many(Author, [1, 2, 3])
            event.listen(sync(three, session), "do_orm_execute", hide)
            change(three, update(Author).values(name="changed"))
            assert session.refresh_many(held, names) == held
            with three.statements() as seen:
                assert {one.name for one in held} == {"changed"}
            assert seen == []


class TestRefused:
    """What is not persistent in the session is refused before anything is sent or given up."""

    def test_transient_and_pending(self, library: Database) -> None:
        store(library, authors(1))
        with newest(library) as session:
            [held] = session.get_many(Author, [1])
            held.name = "mine"
            pending = Author(id=9, name="new")
            session.add(pending)
            with library.statements() as seen:
                for wrong in (Author(id=8, name="new"), pending):
                    with pytest.raises(InvalidRequestError, match="not persistent"):
                        session.refresh_many([held, wrong])
            assert seen == []
            assert held.name == "mine"

    def test_of_another_session(self, library: Database) -> None:
        store(library, authors(1))
        with newest(library) as other, newest(library) as session:
            held = other.get_many(Author, [1])
            with pytest.raises(InvalidRequestError, match="not persistent"):
                session.refresh_many(held)

    def test_unmapped(self, library: Database) -> None:
        with library.session() as session:
            for wrong in (object(), "Author", Author):
                with pytest.raises(UnmappedInstanceError):
                    session.refresh_many([wrong])

    def test_unmapped_one_in_a_transaction(self, library: Database) -> None:
        with newest(library) as session:
            session.scalars(select(Author)).all()
            with pytest.raises(UnmappedInstanceError):
                session.refresh(object())


class TestForUpdate:
    @pytest.mark.parametrize("how", [True, {"read": True}])
    def test_locks_the_rows(self, library: Database, how: Any) -> None:
        store(library, authors(3))
        with library.session() as session:
            held = session.scalars(select(Author)).all()
            change(library, update(Author).values(name="changed"))
            with library.statements() as seen:
                session.refresh_many(held, with_for_update=how)
            assert {one.name for one in held} == {"changed"}
            words = {
                "sqlite": ("", ""),
                "postgresql": ("FOR UPDATE", "FOR SHARE"),
                "mariadb": ("FOR UPDATE", "LOCK IN SHARE MODE"),
            }
            assert len(seen) == 1
            assert words[library.driver.server][how is not True] in seen[0]

    def test_an_empty_dictionary_says_nothing(self, library: Database) -> None:
        with library.session() as session, pytest.raises(ArgumentError, match="with_for_update"):
            session.refresh_many([], with_for_update={})


def refresh(db: Database, session: Any, *args: Any, many: bool = False, **how: Any) -> None:
    """Refresh, called from this file: of asyncio by a coroutine that stands here."""
    name = "refresh_many" if many else "refresh"
    if not db.driver.is_async:
        getattr(session, name)(*args, **how)
        return

    async def unit() -> None:
        await getattr(session.target, name)(*args, **how)

    db.run(unit())


@pytest.fixture
def fixed(library: Database) -> Iterator[Database]:
    """Give a database whose transactions read what they read first, with three authors."""
    store(library, authors(3))
    if library.driver.server != "postgresql":
        yield library  # in MariaDB's default
        return
    engine, library.engine = library.engine, library.new_engine(isolation_level="REPEATABLE READ")
    yield library
    library.dispose()
    library.engine = engine


@on("postgresql", "mariadb")
class TestSnapshot:
    """REPEATABLE READ: PostgreSQL's, when asked for, and MariaDB's default."""

    @pytest.mark.parametrize("many", [False, True])
    def test_warns_once_in_a_unit(self, fixed: Database, many: bool) -> None:
        with fixed.session() as session:
            held = session.scalars(select(Author)).all()
            change(fixed, update(Author).values(name="changed"))
            what: Any = held if many else held[0]
            with pytest.warns(StaleSnapshotWarning, match="REPEATABLE READ") as caught:
                refresh(fixed, session, what, many=many)
                refresh(fixed, session, what, many=many)
                refresh(fixed, session, held[1])
            assert [warning.filename for warning in caught] == [__file__]
            assert held[0].name == "author 1"
            session.commit()
            session.scalars(select(Author)).all()
            with pytest.warns(StaleSnapshotWarning) as caught:
                refresh(fixed, session, what, many=many)
            assert len(caught) == 1

    def test_not_at_the_first_statement(self, fixed: Database) -> None:
        with fixed.session(expire_on_commit=False) as session:
            held = session.scalars(select(Author)).all()
            change(fixed, update(Author).values(name="changed"))
            session.commit()
            session.refresh_many(held)
            assert {one.name for one in held} == {"changed"}
            change(fixed, update(Author).values(name="again"))
            session.commit()
            session.refresh(held[0])
            assert held[0].name == "again"

    def test_not_for_update(self, fixed: Database) -> None:
        with fixed.session() as session:
            held = session.scalars(select(Author)).all()
            session.refresh(held[0], with_for_update=True)
            session.refresh_many(held, with_for_update=True)

    def test_not_in_read_committed(self, fixed: Database) -> None:
        with fixed.session() as session:
            session.connection(execution_options={"isolation_level": "READ COMMITTED"})
            held = session.scalars(select(Author)).all()
            change(fixed, update(Author).values(name="changed"))
            session.refresh(held[0])
            session.refresh_many(held)
            assert {one.name for one in held} == {"changed"}

    def test_none_given(self, fixed: Database) -> None:
        with fixed.session() as session:
            session.scalars(select(Author)).all()
            session.refresh_many([])


@on("sqlite")
class TestSnapshotOfSQLite:
    """A transaction there is deferred: until it writes it reads what it read first."""

    def test_a_transaction_that_only_reads(self, fixed: Database) -> None:
        with fixed.observer.connect() as other:  # readers and a writer at the same time
            other.exec_driver_sql("PRAGMA journal_mode = WAL")
        with fixed.session() as session:
            with session.begin_nested():
                held = session.scalars(select(Author)).all()
                change(fixed, update(Author).values(name="changed"))
                with pytest.warns(StaleSnapshotWarning, match="SQLite WAL") as caught:
                    refresh(fixed, session, held[0])
                assert [warning.filename for warning in caught] == [__file__]
                assert held[0].name == "author 1"
                refresh(fixed, session, held[0])

    def test_one_that_writes(self, fixed: Database) -> None:
        with fixed.session() as session:
            held = session.scalars(select(Author)).all()
            held[0].born = 1900
            session.flush()
            session.refresh_many(held)
            session.refresh(held[0])

    def test_reads_without_a_transaction(self, fixed: Database) -> None:
        with fixed.session() as session:
            held = session.scalars(select(Author)).all()
            change(fixed, update(Author).values(name="changed"))
            session.refresh(held[0])
            session.refresh_many(held[1:])
            assert {one.name for one in held} == {"changed"}


class TestDatabase:
    """With the defaults of ``Database`` a refresh sees what others have committed."""

    @pytest.fixture
    def ours(self, library: Database) -> Iterator[Any]:
        store(library, authors(3))
        url = library.url.set(drivername=library.driver.dialect)
        class_: Any = AsyncDatabase if library.driver.is_async else OurDatabase
        database = library.blocking(class_(url))
        yield database
        database.dispose(0)

    @pytest.mark.parametrize("where", ["session", "transaction"])
    def test_newest_rows(self, library: Database, ours: Any, where: str) -> None:
        alone = where == "transaction" and library.driver.server == "sqlite"  # BEGIN IMMEDIATE
        with getattr(ours, where)() as session:
            held = session.scalars(select(Author).order_by(Author.id)).all()
            if not alone:
                change(library, update(Author).values(name="changed"))
            session.refresh(held[0])
            session.refresh_many(held[1:])
            names = {one.name for one in held}
        assert names == ({"author 1", "author 2", "author 3"} if alone else {"changed"})

    def test_a_unit_that_only_reads(self, library: Database, ours: Any) -> None:
        with ours.transaction(read_only=True) as session:
            held = session.scalars(select(Author)).all()
            change(library, update(Author).values(name="changed"))
            with catch_warnings(record=True) as caught:
                simplefilter("always")
                session.refresh(held[0])
                session.refresh_many(held)
            if library.driver.server == "sqlite":
                [warning] = caught
                assert warning.category is StaleSnapshotWarning
                assert held[0].name == "author 1"
            else:
                assert caught == []
                assert {one.name for one in held} == {"changed"}
