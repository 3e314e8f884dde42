"""Batched loading: what is touched on one object is loaded for those around it."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from sqlalchemy import delete, event, inspect, select, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import (
    defer,
    joinedload,
    lazyload,
    load_only,
    make_transient_to_detached,
    raiseload,
    selectinload,
    undefer,
    with_loader_criteria,
)
from sqlalchemy.orm.exc import ObjectDeletedError

from tests.backends import Database, on
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


class Touch:
    """A session that loads many at a time, and counts what that takes."""

    def __init__(self, db: Database, session: Any) -> None:
        self._db = db
        self.session = session

    def all(self, statement: Any) -> list[Any]:
        found: list[Any] = self.session.scalars(statement).unique().all()
        return found

    def each(self, objects: list[Any], *names: str) -> tuple[list[Any], list[str]]:
        """Touch attributes of objects, one after the other."""
        with self._db.statements() as seen:
            values = self._db.inside(
                self.session, lambda: [getattr(one, name) for one in objects for name in names]
            )
        return values, seen


@pytest.fixture
def touch(library: Database) -> Any:
    with library.session(batch_loads=True) as session:
        yield Touch(library, session)


class TestExpired:
    def test_a_thousand(self, library: Database, touch: Touch) -> None:
        """The first is loaded by itself, the others 500 at a time."""
        store(library, authors(1000))
        objects = touch.all(select(Author).order_by(Author.id))
        touch.session.commit()
        names, seen = touch.each(objects, "name")
        assert names == [f"author {at}" for at in range(1, 1001)]
        assert len(seen) == 1 + 2

    def test_one_is_one_small_select(self, library: Database, touch: Touch) -> None:
        store(library, authors(50))
        objects = touch.all(select(Author).order_by(Author.id))
        touch.session.commit()
        _, seen = touch.each(objects[10:11], "name", "born")
        assert len(seen) == 1
        assert " IN " not in seen[0]
        assert inspect(objects[11]).expired

    def test_an_added_one_after_commit(self, library: Database, touch: Touch) -> None:
        added = [Author(id=at, name="new") for at in range(1, 21)]
        touch.session.add_all(added)
        touch.session.commit()
        ids, seen = touch.each(added, "id")
        assert ids == list(range(1, 21))
        assert len(seen) == 2

    def test_by_rollback(self, library: Database, touch: Touch) -> None:
        store(library, authors(20))
        objects = touch.all(select(Author).order_by(Author.id))
        objects[0].name = "changed"
        touch.session.rollback()
        names, seen = touch.each(objects, "name")
        assert names[0] == "author 1"
        assert len(seen) == 2

    def test_some_attributes_only(self, library: Database, touch: Touch) -> None:
        store(library, authors(20))
        objects = touch.all(select(Author).order_by(Author.id))
        for one in objects:
            touch.session.expire(one, ["name"])
        _, seen = touch.each(objects, "name")
        assert len(seen) == 1
        assert "born" not in seen[0].split("FROM")[0]

    def test_changes_are_kept(self, library: Database, touch: Touch) -> None:
        store(library, authors(3))
        objects = touch.all(select(Author).order_by(Author.id))
        touch.session.commit()
        objects[2].name = "mine"
        touch.each(objects[:2], "name")
        assert objects[2].__dict__["name"] == "mine"
        touch.session.commit()
        with library.observer.connect() as other:
            assert other.scalar(select(Author.name).where(Author.id == 3)) == "mine"

    def test_a_row_that_is_gone(self, library: Database, touch: Touch) -> None:
        store(library, authors(5))
        objects = touch.all(select(Author).order_by(Author.id))
        touch.session.commit()
        with elsewhere(library) as other:
            other.execute(delete(Author).where(Author.id == 3))
        touch.each(objects[:2], "name")
        with pytest.raises(ObjectDeletedError):
            touch.each(objects[2:3], "name")
        names, seen = touch.each(objects[3:], "name")
        assert names == ["author 4", "author 5"]
        assert seen == []

    def test_pending_changes_are_flushed_first(self, library: Database, touch: Touch) -> None:
        store(library, authors(5))
        objects = touch.all(select(Author).order_by(Author.id))
        touch.session.commit()
        touch.each(objects[:1], "name")
        touch.session.add(Author(id=99, name="pending"))
        _, seen = touch.each(objects[1:], "name")
        assert [one.split()[0] for one in seen] == ["INSERT", "SELECT"]

    def test_of_a_unit_each(self, library: Database, touch: Touch) -> None:
        """Every unit begins with one object."""
        store(library, authors(5))
        objects = touch.all(select(Author).order_by(Author.id))
        for _ in range(2):
            touch.session.commit()
            _, seen = touch.each(objects[:1], "name")
            assert " IN " not in seen[0]

    def test_criteria_do_not_hide_what_is_held(self, library: Database, touch: Touch) -> None:
        store(library, authors(5))
        objects = touch.all(select(Author).order_by(Author.id))

        def hide(state: Any) -> None:
            if state.is_select and not state.is_column_load:
                criteria = with_loader_criteria(Author, Author.id != 2, include_aliases=True)
                state.statement = state.statement.options(criteria)

        session = touch.session.target.sync_session if library.driver.is_async else touch.session
        event.listen(session, "do_orm_execute", hide)
        touch.session.commit()
        names, _ = touch.each(objects, "name")
        assert names == [f"author {at}" for at in range(1, 6)]


class TestDeferred:
    def test_columns(self, library: Database, touch: Touch) -> None:
        store(library, authors(10, books=2))
        books = touch.all(select(Book).order_by(Book.id))
        covers, seen = touch.each(books, "cover")
        assert covers == ["cover"] * 20
        assert len(seen) == 1
        assert "summary" not in seen[0]

    def test_groups(self, library: Database, touch: Touch) -> None:
        store(library, authors(10, books=2))
        books = touch.all(select(Book).order_by(Book.id))
        values, seen = touch.each(books, "summary", "notes")
        assert values[:2] == ["summary 1 of 1", "notes"]
        assert len(seen) == 1

    @pytest.mark.parametrize("option", [defer(Author.name), load_only(Author.born)])
    def test_by_options(self, library: Database, touch: Touch, option: Any) -> None:
        store(library, authors(10))
        objects = touch.all(select(Author).order_by(Author.id).options(option))
        names, seen = touch.each(objects, "name")
        assert names == [f"author {at}" for at in range(1, 11)]
        assert len(seen) == 1

    def test_what_other_options_loaded_is_left_alone(
        self, library: Database, touch: Touch
    ) -> None:
        store(library, authors(2, books=2))
        whole = touch.all(select(Book).where(Book.id <= 2).options(undefer(Book.cover)))
        touch.all(select(Book).where(Book.id > 2))
        with elsewhere(library) as other:
            other.execute(update(Book).values(cover="newer"))
        covers, seen = touch.each(whole, "cover")
        assert (covers, seen) == (["cover"] * 2, [])


class TestRelationships:
    def test_one_to_many_of_a_thousand(self, library: Database, touch: Touch) -> None:
        store(library, authors(1000, books=2))
        objects = touch.all(select(Author).order_by(Author.id))
        lists, seen = touch.each(objects, "books")
        assert [[book.id for book in books] for books in lists] == [
            [2 * at + 1, 2 * at + 2] for at in range(1000)
        ]
        assert len(seen) == 2

    def test_many_to_one(self, library: Database, touch: Touch) -> None:
        store(library, authors(600, books=1))
        books = touch.all(select(Book).order_by(Book.id))
        found, seen = touch.each(books, "author")
        assert [author.id for author in found] == list(range(1, 601))
        assert len(seen) == 2

    def test_many_to_one_that_is_held_or_nobody(self, library: Database, touch: Touch) -> None:
        store(library, [*authors(3, books=2), Book(id=99, title="nobody's")])
        held = touch.all(select(Author).where(Author.id == 1))
        books = touch.all(select(Book).order_by(Book.id))
        found, seen = touch.each(books, "author")
        assert [author and author.id for author in found] == [1, 1, 2, 2, 3, 3, None]
        assert found[0] is held[0]
        assert len(seen) == 1

    def test_many_to_many(self, library: Database, touch: Touch) -> None:
        tags = [Tag(id=at, name=f"tag {at}") for at in range(1, 4)]
        store(library, [Book(id=at, title="x", tags=tags[: at % 4]) for at in range(1, 21)])
        books = touch.all(select(Book).order_by(Book.id))
        found, seen = touch.each(books, "tags")
        assert [[tag.id for tag in some] for some in found] == [
            list(range(1, at % 4 + 1)) for at in range(1, 21)
        ]
        assert len(seen) == 1

    def test_of_itself(self, library: Database, touch: Touch) -> None:
        top = Shelf(id=1, name="top")
        middle = [Shelf(id=at, name="middle", inside=top) for at in (2, 3)]
        store(library, [Shelf(id=at, name="low", inside=middle[at % 2]) for at in range(4, 10)])
        shelves = touch.all(select(Shelf).order_by(Shelf.id))
        inside, seen = touch.each(shelves, "inside")
        assert [one and one.id for one in inside] == [None, 1, 1, *[2, 3] * 3]
        assert seen == []
        lists, seen = touch.each(shelves, "shelves")
        assert [len(one) for one in lists] == [2, 3, 3, *[0] * 6]
        assert len(seen) == 1

    def test_a_key_of_two_parts(self, library: Database, touch: Touch) -> None:
        places = [Place(row=row, letter=letter) for row in (1, 2) for letter in "AB"]
        store(library, [Loan(id=at, place=places[at % 4]) for at in range(1, 9)])
        found, seen = touch.each(touch.all(select(Loan).order_by(Loan.id)), "place")
        assert [(one.row, one.letter) for one in found[:4]] == [
            (1, "B"), (2, "A"), (2, "B"), (1, "A")
        ]  # fmt: skip
        assert len(seen) == 1
        lists, seen = touch.each(found, "loans")
        assert [len(one) for one in lists] == [2] * 8
        assert len(seen) == 1

    @on("mariadb")  # the only one that by default finds "a" equal to "A"
    def test_values_that_only_the_database_finds_equal(
        self, library: Database, touch: Touch
    ) -> None:
        store(library, [Place(row=1, letter=letter) for letter in ("A", "B")])
        store(library, [Loan(id=at, row=1, letter=letter) for at, letter in enumerate("abAB", 1)])
        places = touch.all(select(Place).order_by(Place.letter))
        lists, _ = touch.each(places, "loans")
        assert [[loan.id for loan in loans] for loans in lists] == [[1, 3], [2, 4]]
        touch.session.expunge_all()
        loans = touch.all(select(Loan).order_by(Loan.id))
        found, _ = touch.each(loans, "place")
        assert [place.letter for place in found] == ["A", "B", "A", "B"]

    def test_joined_and_single_inheritance(self, library: Database, touch: Touch) -> None:
        people = [Librarian(id=1, name="a", desk=1), Guest(id=2, name="b"), Person(id=3, name="c")]
        people += [Librarian(id=4, name="d", desk=4), Guest(id=5, name="e")]
        store(library, [*people, *(Loan(id=at, person_id=at) for at in range(1, 6))])
        found = touch.all(select(Person).order_by(Person.id))
        desks, seen = touch.each([found[0], found[3]], "desk")
        assert desks == [1, 4]
        assert len(seen) == 1
        lists, seen = touch.each(found, "loans")
        assert [[loan.id for loan in loans] for loans in lists] == [[at] for at in range(1, 6)]
        assert len(seen) == 3, "one for each class"
        touch.session.expunge_all()
        loans = touch.all(select(Loan).order_by(Loan.id))
        persons, seen = touch.each(loans, "person")
        assert [type(one) for one in persons] == [Librarian, Guest, Person, Librarian, Guest]
        assert len(seen) == 1

    def test_of_another_query_is_left_alone(self, library: Database, touch: Touch) -> None:
        store(library, authors(10, books=1))
        first = touch.all(select(Author).where(Author.id <= 5).order_by(Author.id))
        second = touch.all(select(Author).where(Author.id > 5).order_by(Author.id))
        touch.each(first[:1], "books")
        assert "books" in first[4].__dict__
        assert "books" not in second[0].__dict__

    def test_pending_members_are_kept(self, library: Database) -> None:
        store(library, authors(3, books=1))
        with library.session(batch_loads=True, autoflush=False) as session:
            touch = Touch(library, session)
            objects = touch.all(select(Author).order_by(Author.id))
            added = Book(id=99, title="added")
            library.inside(session, lambda: setattr(added, "author", objects[1]))
            session.add(added)
            lists, _ = touch.each(objects, "books")
        assert [[book.id for book in books] for books in lists] == [[1], [2, 99], [3]]

    def test_after_commit_objects_and_a_relationship_each(
        self, library: Database, touch: Touch
    ) -> None:
        store(library, authors(1000, books=1))
        objects = touch.all(select(Author).order_by(Author.id))
        touch.session.commit()
        _, seen = touch.each(objects, "name", "books")
        assert len(seen) == (1 + 2) + 2

    def test_identity_token(self, library: Database, touch: Touch) -> None:
        store(library, authors(4, books=1))
        west = touch.session.get_many(Author, [1, 2], identity_token="west")
        east = touch.session.get_many(Author, [3, 4], identity_token="east")
        lists, seen = touch.each([*west, *east], "books")
        assert [[book.id for book in books] for books in lists] == [[1], [2], [3], [4]]
        assert len(seen) == 2

    def test_nothing_is_kept_alive(self, library: Database, touch: Touch) -> None:
        store(library, authors(10, books=1))
        objects = touch.all(select(Author).order_by(Author.id))
        touch.each(objects, "books")
        del objects
        gc.collect()
        assert len(list(touch.session.identity_map.all_states())) == 0


class TestOptions:
    def test_of_the_query_hold_for_what_it_loads_later(
        self, library: Database, touch: Touch
    ) -> None:
        tags = [Tag(id=1, name="tag")]
        books = [Book(id=at, title="x", tags=tags) for at in range(1, 4)]
        store(library, [Author(id=at, name="x", books=[books[at - 1]]) for at in range(1, 4)])
        option = lazyload(Author.books).selectinload(Book.tags)
        objects = touch.all(select(Author).order_by(Author.id).options(option))
        lists, seen = touch.each(objects, "books")
        assert len(seen) == 2, "the books, and with them their tags"
        assert "tags" in lists[0][0].__dict__

    def test_joined_below_a_lazy_one(self, library: Database, touch: Touch) -> None:
        tags = [Tag(id=at, name="tag") for at in (1, 2)]
        books = [Book(id=at, title="x", tags=tags) for at in range(1, 4)]
        store(library, [Author(id=at, name="x", books=[books[at - 1]]) for at in range(1, 4)])
        option = lazyload(Author.books).joinedload(Book.tags)
        objects = touch.all(select(Author).order_by(Author.id).options(option))
        lists, seen = touch.each(objects, "books")
        assert [len(books[0].tags) for books in lists] == [2, 2, 2]
        assert len(seen) == 1

    def test_nested(self, library: Database, touch: Touch) -> None:
        """The objects in question came along with others, by the options of their query."""
        tags = [Tag(id=1, name="tag")]
        books = [Book(id=at, title="x", tags=tags) for at in range(1, 4)]
        store(library, [Author(id=at, name="x", books=[books[at - 1]]) for at in range(1, 4)])
        objects = touch.all(
            select(Author).order_by(Author.id).options(
                selectinload(Author.books).defer(Book.title)
            )
        )  # fmt: skip
        books = [author.books[0] for author in objects]
        titles, seen = touch.each(books, "title")
        assert (titles, len(seen)) == (["x"] * 3, 1)
        found, seen = touch.each(books, "tags")
        assert [len(some) for some in found] == [1, 1, 1]
        assert len(seen) == 1

    def test_criteria(self, library: Database, touch: Touch) -> None:
        store(library, authors(5, books=2))
        criteria = with_loader_criteria(Book, Book.id % 2 == 0)
        objects = touch.all(select(Author).order_by(Author.id).options(criteria))
        lists, seen = touch.each(objects, "books")
        assert [[book.id for book in books] for books in lists] == [[2], [4], [6], [8], [10]]
        assert len(seen) == 1

    def test_raise(self, library: Database, touch: Touch) -> None:
        store(library, authors(2, books=1))
        objects = touch.all(select(Author).options(raiseload(Author.books)))
        with pytest.raises(InvalidRequestError, match="lazy='raise'"):
            touch.each(objects, "books")

    def test_eager_ones_stay_eager(self, library: Database, touch: Touch) -> None:
        store(library, authors(5, books=2))
        objects = touch.all(select(Author).order_by(Author.id).options(joinedload(Author.books)))
        touch.session.commit()
        _, seen = touch.each(objects, "name", "books")
        assert len(seen) == 2


class TestLimits:
    def test_never_during_a_flush(self, library: Database, touch: Touch) -> None:
        store(library, authors(5))
        objects = touch.all(select(Author).order_by(Author.id))
        touch.session.commit()
        touch.each(objects[:1], "name")
        heard: list[bool] = []

        def read(_mapper: Any, _connection: Any, _target: Any) -> None:
            heard.append(objects[1].name == "author 2")

        event.listen(Author, "before_insert", read)
        try:
            touch.session.add(Author(id=99, name="new"))
            with library.statements() as seen:
                touch.session.flush()
        finally:
            event.remove(Author, "before_insert", read)
        assert heard == [True]
        assert not any(" IN " in one for one in seen)
        assert inspect(objects[2]).expired

    def test_objects_got_one_by_one(self, library: Database, touch: Touch) -> None:
        """Each is the only one of its query: nothing to batch, and no long search for it."""
        store(library, authors(30, books=1))
        seen: list[str] = []
        for at in range(1, 31):
            author = touch.session.get(Author, at)
            _, some = touch.each([author], "books")
            seen += some
        assert len(seen) == 30

    def test_off_unless_asked_for(self, library: Database) -> None:
        store(library, authors(5))
        with library.session() as session:
            touch = Touch(library, session)
            objects = touch.all(select(Author))
            session.commit()
            _, seen = touch.each(objects, "name")
        assert len(seen) == 5


def test_one_of_a_hundred_thousand(library: Database, touch: Touch) -> None:
    """To touch one of 100,000 expired objects is one small SELECT, and no long search."""
    store(library, [Author(id=7, name="the one")])
    objects = [Author(id=at) for at in range(1, 100_001)]
    for one in objects:
        make_transient_to_detached(one)
    touch.session.add_all(objects)
    touch.session.expire_all()
    names, seen = touch.each(objects[6:7], "name")
    assert names == ["the one"]
    assert len(seen) == 1
    assert " IN " not in seen[0]
