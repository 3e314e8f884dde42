"""Technique 8: many objects by their primary keys."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, event, inspect, select, update
from sqlalchemy.exc import InvalidRequestError, NoResultFound
from sqlalchemy.orm import selectinload, with_loader_criteria

from sessionwise import MissingRowsError, OptionError
from tests.backends import Database, on
from tests.library import Author, Book, Guest, Librarian, Person, Place, authors, elsewhere, store


class TestStatements:
    def test_two_thousand_of_which_the_map_has_half(self, library: Database) -> None:
        store(library, authors(2000))
        with library.session() as session:
            first_half = select(Author).where(Author.id <= 1000).order_by(Author.id)
            held = session.scalars(first_half).all()
            with library.statements() as seen:
                found = session.get_many(Author, range(2000, 0, -1))
            assert len(seen) == 2
            assert [author.id for author in found] == list(range(2000, 0, -1))
            assert found[-1] is held[0]
            with library.statements() as seen:
                assert session.get_many(Author, range(1, 2001)) == list(reversed(found))
            assert seen == []

    def test_expired_ones_are_loaded_together(self, library: Database) -> None:
        store(library, authors(20))
        with library.session() as session:
            held = session.get_many(Author, range(1, 21))
            session.expire_all()
            with library.statements() as seen:
                assert session.get_many(Author, range(1, 21)) == held
                assert [author.name for author in held] == [f"author {at}" for at in range(1, 21)]
            assert len(seen) == 1

    def test_none_asked(self, library: Database) -> None:
        with library.session() as session, library.statements() as seen:
            assert session.get_many(Author, []) == []
        assert seen == []


class TestMissing:
    @pytest.fixture
    def two(self, library: Database) -> Database:
        store(library, authors(2))
        return library

    def test_none(self, two: Database) -> None:
        with two.session() as session:
            first, nobody, second = session.get_many(Author, [1, 99, 2])
            assert (first.id, nobody, second.id) == (1, None, 2)

    def test_skip(self, two: Database) -> None:
        with two.session() as session:
            assert [one.id for one in session.get_many(Author, [1, 99, 2], missing="skip")] == [
                1,
                2,
            ]

    def test_raise(self, two: Database) -> None:
        with two.session() as session:
            with pytest.raises(MissingRowsError, match=r"Author has no rows .* 98, 99") as caught:
                session.get_many(Author, [1, 98, 99], missing="raise")
            assert caught.value.keys == [(98,), (99,)]
            assert isinstance(caught.value, NoResultFound)

    def test_another_word(self, two: Database) -> None:
        with two.session() as session, pytest.raises(OptionError, match="'none' or 'skip'"):
            session.get_many(Author, [1], missing="ignore")

    def test_a_row_that_was_deleted(self, two: Database) -> None:
        with two.session() as session:
            held = session.get_many(Author, [1, 2])
            session.commit()
            with elsewhere(two) as other:
                other.execute(delete(Author).where(Author.id == 2))
            found = session.get_many(Author, [1, 2])
            assert found == [held[0], None]
            assert held[1] not in session


class TestKeys:
    def test_twice(self, library: Database) -> None:
        store(library, authors(1))
        with library.session() as session, library.statements() as seen:
            one, again = session.get_many(Author, [1, 1])
            assert one is again
        assert len(seen) == 1

    @pytest.mark.parametrize("ident", ["1", (1,), [1], {"id": 1}, {"number": 1}])
    def test_as_get_takes_them(self, library: Database, ident: Any) -> None:
        store(library, authors(1))
        with library.session() as session:
            [author] = session.get_many(Author, [ident])
            assert author.id == 1

    def test_of_two_parts(self, library: Database) -> None:
        store(library, [Place(row=row, letter=letter) for row in (1, 2) for letter in "AB"])
        with library.session() as session, library.statements() as seen:
            found = session.get_many(Place, [(2, "B"), {"row": 1, "letter": "A"}, ("1", "B")])
            assert [(place.row, place.letter) for place in found] == [(2, "B"), (1, "A"), (1, "B")]
        assert len(seen) == 1

    @pytest.mark.parametrize("ident", [(1, 2), (), {"nr": 1}])
    def test_of_another_shape(self, library: Database, ident: Any) -> None:
        with library.session() as session, pytest.raises(InvalidRequestError, match="no primary"):
            session.get_many(Author, [ident])

    @on("mariadb")  # the only one that by default finds "a" equal to "A"
    def test_that_only_the_database_finds_equal(self, library: Database) -> None:
        store(library, [Place(row=1, letter=letter) for letter in ("A", "B")])
        with library.session() as session:
            found = session.get_many(Place, [(1, "a"), (1, "B"), (1, "c")])
            assert [place and place.letter for place in found] == ["A", "B", None]

    def test_what_no_column_holds(self, library: Database) -> None:
        store(library, authors(1))
        with library.session() as session:
            assert session.get_many(Author, [10**6]) == [None]

    def test_identity_token(self, library: Database) -> None:
        store(library, authors(1))
        with library.session() as session:
            token = str(uuid4())
            [author] = session.get_many(Author, [1], identity_token=token)
            assert inspect(author).identity_token == token
            assert session.get_many(Author, [1]) != [author]


class TestInheritance:
    @pytest.fixture
    def people(self, library: Database) -> Database:
        store(library, [Librarian(id=1, name="Lea", desk=7), Guest(id=2, name="Gus", card=3)])
        return library

    def test_of_the_base(self, people: Database) -> None:
        with people.session() as session:
            assert [type(one) for one in session.get_many(Person, [1, 2])] == [Librarian, Guest]

    def test_of_another_class(self, people: Database) -> None:
        with people.session() as session:
            assert session.get_many(Guest, [1]) == [None]
            held = session.get_many(Person, [1, 2])
            assert session.get_many(Guest, [1, 2]) == [None, held[1]]


class TestParameters:
    def test_options(self, library: Database) -> None:
        store(library, authors(3, books=2))
        with library.session() as session, library.statements() as seen:
            found = session.get_many(Author, [1, 2, 3], options=[selectinload(Author.books)])
            assert [len(author.books) for author in found] == [2, 2, 2]
        assert len(seen) == 2

    def test_pending_changes_are_flushed_first(self, library: Database) -> None:
        with library.session() as session:
            session.add(Author(id=5, name="new"))
            [author] = session.get_many(Author, [5])
            assert author.name == "new"

    @pytest.mark.parametrize("how", [{"populate_existing": True}, {"with_for_update": True}])
    def test_read_anew(self, library: Database, how: dict[str, Any]) -> None:
        store(library, authors(1))
        with library.session() as session:
            library.read_committed(session)
            [author] = session.get_many(Author, [1])
            with elsewhere(library) as other:
                other.execute(update(Author).values(name="changed"))
            assert session.get_many(Author, [1])[0].name == "author 1"
            assert session.get_many(Author, [1], **how) == [author]
            assert author.name == "changed"

    def test_criteria_do_not_hide_what_is_held(self, library: Database) -> None:
        """As for ``get()``: a soft-delete recipe must not make a held object look deleted."""
        store(library, authors(2))

        def hide(state: Any) -> None:
            if state.is_select and not state.is_column_load and not state.is_relationship_load:
                criteria = with_loader_criteria(Author, Author.id != 2, include_aliases=True)
                state.statement = state.statement.options(criteria)

        with library.session() as session:
            held = session.get_many(Author, [1, 2])
            sync = (
                getattr(session.target, "sync_session", session.target)
                if (library.driver.is_async)
                else session
            )
            event.listen(sync, "do_orm_execute", hide)
            session.expire_all()
            assert session.get_many(Author, [1, 2]) == held
            assert held[1] in session

    def test_not_a_class(self, library: Database) -> None:
        with library.session() as session, pytest.raises(Exception, match="not a mapped class"):
            session.get_many("Author", [1])


def test_books_are_not_loaded(library: Database) -> None:
    store(library, authors(1, books=1))
    with library.session() as session:
        [book] = session.get_many(Book, [1])
        assert "summary" not in inspect(book).dict
