"""Technique 5: objects that leave the session with what is needed of them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from sqlalchemy import delete, event, inspect, select, update
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.orm import defer, lazyload, load_only, selectinload, with_loader_criteria
from sqlalchemy.orm.exc import DetachedInstanceError, UnmappedInstanceError

from sessionwise import MissingRowsError, NotLoadedError
from tests.backends import Database
from tests.library import (
    Author,
    Book,
    Guest,
    Librarian,
    Loan,
    Person,
    Place,
    Shelf,
    Tag,
    authors,
    elsewhere,
    store,
)


@pytest.fixture
def shop(library: Database) -> Database:
    """Give two authors of two books each; both tags are on books 1 and 3."""
    made = authors(2, books=2)
    tags = [Tag(id=1, name="old"), Tag(id=2, name="new")]
    for author in made:
        author.books[0].tags = tags
    store(library, made)
    return library


def stored(db: Database) -> list[Any]:
    """Return all rows of the library, as another connection sees them."""
    tables = (Author.__table__, Book.__table__, Tag.__table__, Book.tags.property.secondary)
    with db.observer.connect() as connection:
        return [
            sorted(map(tuple, connection.execute(select(table))), key=repr) for table in tables
        ]


def writes(statements: list[str]) -> list[str]:
    return [one for one in statements if one.startswith(("INSERT", "UPDATE", "DELETE"))]


class TestWhatIsDetached:
    def test_one_object(self, shop: Database) -> None:
        with shop.session() as session:
            author = session.get_many(Author, [1])[0]
            assert session.detach(author) is author
            assert inspect(author).detached
        assert author.name == "author 1"

    @pytest.mark.parametrize("kind", [list, tuple, set])
    def test_many(self, shop: Database, kind: type[Any]) -> None:
        with shop.session() as session:
            held = kind(session.scalars(select(Author)).all())
            detached = session.detach(held)
            assert isinstance(detached, list)
            assert set(detached) == set(held)
            assert all(inspect(one).detached for one in held)

    def test_none(self, shop: Database) -> None:
        with shop.session() as session, shop.statements() as seen:
            assert session.detach([]) == []
            assert session.detach([], "no.such") == []
        assert seen == []

    def test_twice_in_a_list(self, shop: Database) -> None:
        with shop.session() as session:
            [author] = session.get_many(Author, [1])
            assert session.detach([author, author], "books") == [author, author]

    def test_whatever_can_be_reached(self, shop: Database) -> None:
        with shop.session() as session:
            option = selectinload(Author.books).selectinload(Book.tags)
            one, other = session.scalars(select(Author).options(option).order_by(Author.id)).all()
            tag = one.books[0].tags[0]
            session.detach(one)
            assert inspect(tag).detached
            assert all(inspect(book).detached for book in one.books)
            assert other in session

    def test_others_stay(self, shop: Database) -> None:
        with shop.session() as session:
            one, other = session.get_many(Author, [1, 2])
            session.detach(one)
            assert other in session
            other.name = "changed"
            session.commit()
        assert "changed" in repr(stored(shop))

    def test_pending_objects_are_stored(self, shop: Database) -> None:
        with shop.session() as session:
            author = Author(id=9, name="new", books=[Book(id=9, title="first")])
            session.add(author)
            session.detach(author)
            assert inspect(author).detached
            session.commit()
        assert (author.name, author.born, author.books[0].title) == ("new", None, "first")
        assert author.books[0].author is author
        assert "first" in repr(stored(shop))

    def test_unflushed_changes_are_stored(self, shop: Database) -> None:
        with shop.session(autoflush=False) as session:
            [author] = session.get_many(Author, [1])
            author.name = "changed"
            session.detach(author)
            session.commit()
        assert author.name == "changed"
        assert "changed" in repr(stored(shop))

    def test_expunge_is_unchanged(self, shop: Database) -> None:
        with shop.session() as session:
            option = selectinload(Author.books)
            [author] = session.scalars(select(Author).options(option).where(Author.id == 1)).all()
            book = author.books[0]
            session.expunge(author)
            assert book in session
            assert book.title == "book 1 of 1"
            session.expunge(book)
            with pytest.raises(DetachedInstanceError) as caught:
                _ = book.tags
            assert not isinstance(caught.value, NotLoadedError)


class TestStatements:
    @pytest.mark.parametrize("path", ["books", Author.books])
    def test_a_thousand(self, library: Database, path: Any) -> None:
        store(library, authors(1000, books=1))
        with library.session() as session:
            held = session.scalars(select(Author)).all()
            with library.statements() as seen:
                session.detach(held, path)
            assert len(seen) == 2 * 2
        assert sum(len(author.books) for author in held) == 1000

    def test_a_path_of_two(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Author).order_by(Author.id)).all()
            with shop.statements() as seen:
                session.detach(held, "books.tags", "books")
            assert len(seen) == 2 * 2
        names = [[[tag.name for tag in book.tags] for book in one.books] for one in held]
        assert names == [[["old", "new"], []]] * 2

    def test_many_to_one(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Book)).all()
            with shop.statements() as seen:
                session.detach(held, Book.author)
            assert len(seen) == 2
        assert {book.author.name for book in held} == {"author 1", "author 2"}

    def test_a_deferred_column(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Book).order_by(Book.id)).all()
            with shop.statements() as seen:
                session.detach(held, Book.summary, "cover")
            assert len(seen) == 2
        assert (held[0].summary, held[0].cover) == ("summary 1 of 1", "cover")

    def test_a_deferred_column_further_on(self, shop: Database) -> None:
        with shop.session() as session:
            [author] = session.get_many(Author, [1])
            session.detach(author, "books.cover")
        assert [book.cover for book in author.books] == ["cover", "cover"]

    def test_loaded_paths_send_nothing(self, shop: Database) -> None:
        with shop.session() as session:
            option = selectinload(Author.books).selectinload(Book.tags)
            held = session.scalars(select(Author).options(option)).all()
            with shop.statements() as seen:
                session.detach(held, "books", "books.tags")
            assert seen == []

    def test_no_paths_send_nothing(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Book)).all()
            with shop.statements() as seen:
                session.detach(held)
            assert seen == []

    def test_expired_objects_are_loaded_first(self, shop: Database) -> None:
        with shop.session() as session:
            option = selectinload(Author.books)
            held = session.scalars(select(Author).options(option).order_by(Author.id)).all()
            books = [book for author in held for book in author.books]
            session.commit()
            with shop.statements() as seen:
                session.detach(held)
            assert len(seen) == 2
        assert [author.name for author in held] == ["author 1", "author 2"]
        assert [book.title for author in held for book in author.books] == [
            book.title for book in books
        ]

    def test_expired_objects_further_on(self, shop: Database) -> None:
        with shop.session() as session:
            option = selectinload(Author.books)
            held = session.scalars(select(Author).options(option)).all()
            books = [book for author in held for book in author.books]
            for book in books:
                session.expire(book, ["title"])
            with shop.statements() as seen:
                session.detach(held)
            assert len(seen) == 1
        assert all(book.title.startswith("book") for book in books)

    def test_expired_ones_with_deferred_columns(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Book)).all()
            session.commit()
            with shop.statements() as seen:
                session.detach(held)
            assert len(seen) == 1
        assert held[0].title.startswith("book")
        with pytest.raises(NotLoadedError, match="'summary'"):
            _ = held[0].summary


class TestReading:
    def test_after_the_session_has_closed(self, shop: Database) -> None:
        with shop.session() as session:
            [author] = session.get_many(Author, [1])
            session.detach(author, "books.tags", "books.author")
            session.commit()
        assert author.books[0].author is author
        assert [tag.name for tag in author.books[0].tags] == ["old", "new"]

    def test_a_relationship_that_was_not_loaded(self, shop: Database) -> None:
        with shop.session() as session:
            [author] = session.get_many(Author, [1])
            session.detach(author)
        for _again in range(2):
            with pytest.raises(NotLoadedError, match=r"Author.books .*detach\(\.\.\., 'books'\)"):
                _ = author.books
        with pytest.raises(DetachedInstanceError):
            author.books.append(Book())

    def test_the_path_leads_there(self, shop: Database) -> None:
        with shop.session() as session:
            [author] = session.get_many(Author, [1])
            session.detach(author, "books")
        with pytest.raises(NotLoadedError, match=r"Book.tags .*'books.tags'"):
            _ = author.books[0].tags
        with pytest.raises(NotLoadedError, match=r"Book.summary .*'books.summary'"):
            _ = author.books[0].summary

    def test_a_column_that_the_query_left_out(self, shop: Database) -> None:
        with shop.session() as session:
            option = load_only(Author.name)
            [author] = session.scalars(select(Author).options(option).where(Author.id == 1)).all()
            session.detach(author)
        assert author.name == "author 1"
        with pytest.raises(NotLoadedError, match=r"Author.born .*'born'"):
            _ = author.born

    def test_a_column_that_the_query_left_out_and_a_path_names(self, shop: Database) -> None:
        with shop.session() as session:
            option = defer(Author.name)
            [author] = session.scalars(select(Author).options(option).where(Author.id == 1)).all()
            session.detach(author, "name")
        assert author.name == "author 1"

    def test_what_has_no_value_is_none(self, shop: Database) -> None:
        with shop.session() as session:
            book = Book(id=9, title="new")
            session.add(book)
            session.detach(book)
            session.commit()
        assert book.author_id is None

    def test_nothing_to_refer_to(self, shop: Database) -> None:
        store(shop, [Book(id=9, title="of nobody")])
        with shop.session() as session:
            [book] = session.get_many(Book, [9])
            session.detach(book, "author", "tags")
        assert (book.author, book.tags) == (None, [])


class TestEditing:
    """To change a detached object, or anything it leads to, writes nothing."""

    def edit_root(self, author: Author) -> None:
        author.name = "changed"

    def edit_nested(self, author: Author) -> None:
        author.books[0].title = author.books[0].tags[0].name = "changed"

    def append(self, author: Author) -> None:
        author.books.append(Book(id=9, title="changed"))

    def remove(self, author: Author) -> None:
        author.books.remove(author.books[0])

    def clear(self, author: Author) -> None:
        author.books[0].tags.clear()

    def edit_back_reference(self, author: Author) -> None:
        book = author.books[0]
        book.author = None
        book.tags[0].books = []

    def move(self, author: Author) -> None:
        author.books[0].author = Author(id=9, name="changed")

    def edit_what_is_not_loaded(self, author: Author) -> None:
        author.books[0].cover = "changed"

    @pytest.mark.parametrize(
        "edit",
        [
            edit_root,
            edit_nested,
            append,
            remove,
            clear,
            edit_back_reference,
            move,
            edit_what_is_not_loaded,
        ],
    )
    @pytest.mark.parametrize("expires", [True, False])
    def test_writes_nothing(self, shop: Database, edit: Any, expires: bool) -> None:
        before = stored(shop)
        with shop.session(expire_on_commit=expires) as session:
            [author] = session.get_many(Author, [1])
            session.detach(author, "books.tags.books", "books.author")
            with shop.statements() as seen:
                edit(self, author)
                session.commit()
                session.scalars(select(Author)).all()
                session.commit()
            assert writes(seen) == []
        assert stored(shop) == before

    def test_while_the_session_has_what_refers_to_it(self, shop: Database) -> None:
        before = stored(shop)
        with shop.session() as session:
            option = selectinload(Author.books)
            [author] = session.scalars(select(Author).options(option).where(Author.id == 1)).all()
            [book, _] = author.books
            session.detach(book)
            assert author in session
            with shop.statements() as seen:
                book.title = "changed"
                book.author_id = None
                book.author = None
                session.commit()
            assert writes(seen) == []
        assert stored(shop) == before


class TestPickle:
    def test_round_trip(self, shop: Database) -> None:
        with shop.session() as session:
            [author] = session.get_many(Author, [1])
            session.detach(author, "books.author")
            session.commit()
        copy = pickle.loads(pickle.dumps(author))
        assert copy is not author
        assert copy.name == "author 1"
        assert [book.title for book in copy.books] == ["book 1 of 1", "book 2 of 1"]
        assert copy.books[0].author is copy
        with pytest.raises(NotLoadedError, match=r"'books.tags'"):
            _ = copy.books[0].tags
        with pytest.raises(NotLoadedError, match=r"'books.summary'"):
            _ = copy.books[0].summary

    def test_with_options_of_the_query(self, shop: Database) -> None:
        with shop.session() as session:
            options = (load_only(Author.born), selectinload(Author.books).lazyload(Book.tags))
            [author] = session.scalars(
                select(Author).options(*options).where(Author.id == 1)
            ).all()
            session.detach([author])
        copy = pickle.loads(pickle.dumps([author]))[0]
        with pytest.raises(NotLoadedError, match=r"'name'"):
            _ = copy.name
        with pytest.raises(NotLoadedError, match=r"'books.tags'"):
            _ = copy.books[0].tags
        with shop.session() as session:
            session.add(copy)
            assert shop.inside(session, lambda: copy.name) == "author 1"
            assert len(shop.inside(session, lambda: copy.books[0].tags)) == 2


class TestInASessionAgain:
    @pytest.mark.parametrize("pickled", [False, True])
    @pytest.mark.parametrize("options", [[], [load_only(Author.born)]])
    def test_add(self, shop: Database, pickled: bool, options: list[Any]) -> None:
        with shop.session() as session:
            [author] = session.get_many(Author, [1], options=options)
            session.detach(author)
        if pickled:
            author = pickle.loads(pickle.dumps(author))
        with shop.session() as session:
            session.add(author)

            def read() -> Any:
                books = author.books
                return author.name, [(book.title, book.summary, len(book.tags)) for book in books]

            expected = (
                "author 1",
                [("book 1 of 1", "summary 1 of 1", 2), ("book 2 of 1", "summary 2 of 1", 0)],
            )
            assert shop.inside(session, read) == expected
            session.commit()
            assert shop.inside(session, read) == expected

    def test_add_with_deferred_columns(self, shop: Database) -> None:
        with shop.session() as session:
            [book] = session.get_many(Book, [1])
            session.detach(book)
        with shop.session() as session:
            session.add(book)
            with shop.statements() as seen:
                summary = shop.inside(session, lambda: (book.summary, book.notes))
            assert summary == ("summary 1 of 1", "notes")
            assert len(seen) == 1  # they are one group

    def test_changes_made_outside_are_stored(self, shop: Database) -> None:
        with shop.session() as session:
            [book] = session.get_many(Book, [1])
            session.detach(book, "author")
        book.title = book.summary = book.author.name = "changed"
        with shop.session() as session:
            session.add(book)
            session.commit()
        assert repr(stored(shop)).count("changed") == 3

    def test_merge(self, shop: Database) -> None:
        with shop.session() as session:
            [book] = session.get_many(Book, [1])
            session.detach(book, "author")
        book.title = "changed"
        with shop.session() as session:
            merged = session.merge(book)
            assert merged.title == "changed"
            read = shop.inside(session, lambda: (merged.summary, len(merged.tags)))
            assert read == ("summary 1 of 1", 2)
            assert len(shop.inside(session, lambda: merged.author.books)) == 2
            session.commit()
        assert "changed" in repr(stored(shop))
        with pytest.raises(NotLoadedError):
            _ = book.tags

    def test_merge_of_what_the_query_left_out(self, shop: Database) -> None:
        with shop.session() as session:
            [author] = session.get_many(Author, [1], options=[load_only(Author.born)])
            session.detach(author)
        with shop.session() as session:
            merged = session.merge(author)
            assert shop.inside(session, lambda: merged.name) == "author 1"

    def test_detached_again(self, shop: Database) -> None:
        with shop.session() as session:
            [book] = session.get_many(Book, [1])
            session.detach(book)
        with shop.session() as session:
            session.add(book)
            session.detach(book, "tags")
        assert len(book.tags) == 2
        with pytest.raises(NotLoadedError, match="'author'"):
            _ = book.author
        with shop.session() as session:
            session.add(book)
            assert shop.inside(session, lambda: book.author.name) == "author 1"


class TestRefused:
    @pytest.mark.parametrize(
        "path", ["nope", "books.nope", "books.nope.tags", "name.x", "", "books."]
    )
    def test_a_path_that_leads_nowhere(self, shop: Database, path: str) -> None:
        store(shop, [Author(id=9, name="without books")])
        with shop.session() as session:
            held = session.get_many(Author, [9])
            with shop.statements() as seen:
                with pytest.raises(ArgumentError, match=repr(path)):
                    session.detach(held, path)
            assert seen == []
            assert held[0] in session

    def test_an_attribute_of_another_class(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.get_many(Author, [1])
            with pytest.raises(ArgumentError, match="Author has no column or relationship 'tags'"):
                session.detach(held, Book.tags)

    @pytest.mark.parametrize("wrong", [object(), "Author", Author, None])
    def test_unmapped(self, shop: Database, wrong: Any) -> None:
        with shop.session() as session, pytest.raises(UnmappedInstanceError):
            session.detach(wrong)
        with shop.session() as session, pytest.raises(UnmappedInstanceError):
            session.detach([wrong])

    def test_not_in_the_session(self, shop: Database) -> None:
        with shop.session() as other, shop.session() as session:
            [of_other] = other.get_many(Author, [1])
            for wrong in (of_other, Author(id=9, name="new")):
                with pytest.raises(InvalidRequestError, match="not in this session"):
                    session.detach(wrong)
            assert of_other in other

    @pytest.mark.parametrize("path", [None, "books"])
    def test_a_row_that_was_deleted(self, library: Database, path: Any) -> None:
        store(library, authors(2))
        with library.session() as session:
            if library.driver.server == "mariadb":
                session.connection(execution_options={"isolation_level": "READ COMMITTED"})
            held = session.scalars(select(Author).order_by(Author.id)).all()
            if path is None:
                session.commit()
            with elsewhere(library) as other:
                other.execute(delete(Author).where(Author.id == 2))
            with pytest.raises(MissingRowsError, match=r"Author has no row .* 2"):
                session.detach(held, *([path] if path else []))
            assert held[0] in session

    def test_criteria_do_not_hide_a_row(self, shop: Database) -> None:
        def hide(state: Any) -> None:
            if state.is_select and not state.is_column_load and not state.is_relationship_load:
                criteria = with_loader_criteria(Author, Author.id != 2, include_aliases=True)
                state.statement = state.statement.options(criteria)

        with shop.session() as session:
            held = session.get_many(Author, [1, 2])
            session.commit()
            sync = (
                getattr(session.target, "sync_session", None) if shop.driver.is_async else session
            )
            event.listen(sync or session.target, "do_orm_execute", hide)
            session.detach(held, "books")
        assert [author.name for author in held] == ["author 1", "author 2"]
        assert [len(author.books) for author in held] == [2, 2]


class TestMappings:
    def test_a_graph_with_cycles(self, library: Database) -> None:
        store(
            library,
            [
                Shelf(
                    id=1,
                    name="hall",
                    shelves=[Shelf(id=2, name="left", shelves=[Shelf(id=3, name="top")])],
                )
            ],
        )
        with library.session() as session:
            [hall] = session.get_many(Shelf, [1])
            session.detach(hall, "shelves.shelves.inside.inside")
            session.commit()
        left = hall.shelves[0]
        top = left.shelves[0]
        assert top.inside is left
        assert left.inside is hall
        with pytest.raises(NotLoadedError, match=r"'shelves.shelves.shelves'"):
            _ = top.shelves
        with pytest.raises(NotLoadedError, match=r"'inside'"):
            _ = hall.inside
        assert pickle.loads(pickle.dumps(hall)).shelves[0].shelves[0].inside.inside.name == "hall"

    def test_many_to_many(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Tag).order_by(Tag.id)).all()
            with shop.statements() as seen:
                session.detach(held, "books.tags")
            assert len(seen) == 2 * 2
        assert [[book.id for book in tag.books] for tag in held] == [[1, 3], [1, 3]]
        assert held[0].books[0].tags == held

    def test_inheritance(self, library: Database) -> None:
        people = [Librarian(id=1, name="Lea", desk=7), Guest(id=2, name="Gus", card=3)]
        store(library, [*people, Loan(id=1, person=people[0])])
        with library.session() as session:
            held = session.scalars(select(Person).order_by(Person.id)).all()
            session.detach(held, "loans")
        assert (held[0].desk, held[1].card) == (7, 3)
        assert [len(one.loans) for one in held] == [1, 0]

    def test_a_path_of_a_subclass(self, library: Database) -> None:
        store(library, [Librarian(id=1, name="Lea", desk=7), Guest(id=2, name="Gus", card=3)])
        with library.session() as session:
            held = session.scalars(select(Person).order_by(Person.id)).all()
            session.detach(held, "desk", Guest.card)
        assert (held[0].desk, held[1].card) == (7, 3)

    def test_a_key_of_two_parts(self, library: Database) -> None:
        store(library, [Place(row=row, letter="A", loans=[Loan(id=row)]) for row in (1, 2)])
        with library.session() as session:
            held = session.scalars(select(Place).order_by(Place.row)).all()
            session.commit()
            with library.statements() as seen:
                session.detach(held, "loans.place")
            assert len(seen) <= 1 + 2 + 2
        assert [one.loans[0].place.row for one in held] == [1, 2]

    def test_a_lazy_load_that_has_options(self, shop: Database) -> None:
        """What the query has said about it holds in a session again."""
        with shop.session() as session:
            option = lazyload(Author.books.and_(Book.id == 2))
            [author] = session.scalars(select(Author).options(option).where(Author.id == 1)).all()
            session.detach(author)
        with pytest.raises(NotLoadedError, match="'books'"):
            _ = author.books
        with shop.session() as session:
            session.add(author)
            assert [book.id for book in shop.inside(session, lambda: author.books)] == [2]

    def test_a_deleted_object(self, shop: Database) -> None:
        with shop.session() as session:
            option = selectinload(Tag.books)
            [tag] = session.scalars(select(Tag).options(option).where(Tag.id == 1)).all()
            session.delete(tag)
            session.detach(tag)
            assert tag not in session
            session.commit()
        assert tag.name == "old"
        assert "old" not in repr(stored(shop))

    def test_a_unit_that_is_rolled_back(self, shop: Database) -> None:
        """The object is as it was detached; what it says may never have been stored."""
        before = stored(shop)
        with shop.session() as session:
            [author] = session.get_many(Author, [1])
            author.name = "changed"
            new = Author(id=9, name="new")
            session.add(new)
            session.detach([author, new])
            session.rollback()
        assert (author.name, new.name) == ("changed", "new")
        assert stored(shop) == before


def test_a_row_that_somebody_else_has_changed(shop: Database) -> None:
    """What was loaded is what the detached object has."""
    with shop.session() as session:
        [author] = session.get_many(Author, [1])
        session.detach(author)
        with elsewhere(shop) as other:
            other.execute(update(Author).values(name="changed"))
        session.commit()
    assert author.name == "author 1"
