"""Technique 4: many objects merged at once, and three ways."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from sqlalchemy import JSON, delete, event, inspect, select, update
from sqlalchemy.orm import make_transient_to_detached, selectinload
from sqlalchemy.orm.exc import StaleDataError, UnmappedInstanceError

from sessionwise import MergeConflictError, MissingRowsError, OptionError
from tests.backends import Database, on
from tests.library import (
    Author,
    Book,
    Edition,
    Guest,
    Librarian,
    Person,
    Place,
    Tag,
    authors,
    elsewhere,
    store,
)


def stored(db: Database, column: Any) -> list[Any]:
    with db.observer.connect() as connection:
        return list(connection.scalars(select(column).order_by(column)))


def detached(db: Database, entity: Any, ident: Any, *options: Any) -> Any:
    with db.session() as session:
        return session.get(entity, ident, options=options)


class TestStatements:
    def test_five_thousand_of_which_half_are_missing(self, library: Database) -> None:
        store(library, authors(2500))
        with library.session() as session:
            with library.statements() as seen:
                merged = session.merge_many(
                    [Author(id=at, name=f"merged {at}") for at in range(1, 5001)]
                )
            assert len(seen) == 10
            assert [author.id for author in merged] == list(range(1, 5001))
            session.commit()
        assert len([name for name in stored(library, Author.name) if "merged" in name]) == 5000

    def test_parents_with_children(self, library: Database) -> None:
        """2,000 parents with 4,000 children: 4 SELECTs of parents, and 4 of their children."""
        store(library, authors(2000, books=2))
        with library.session() as session, library.statements() as seen:
            merged = session.merge_many(authors(2000, books=2))
            assert [len(author.books) for author in merged] == [2] * 2000
        assert len(seen) == 8

    def test_many_to_many(self, library: Database) -> None:
        tags = [Tag(id=at, name=f"tag {at}") for at in range(1, 4)]
        store(library, [Book(id=at, title="old", tags=tags) for at in range(1, 21)])
        fewer = [Tag(id=at, name=f"tag {at}") for at in (1, 2)]
        with library.session() as session:
            with library.statements() as seen:
                merged = session.merge_many(
                    [Book(id=at, title="new", tags=fewer) for at in range(1, 21)]
                )
            assert len(seen) == 4  # the tags refer back to their books: they are merged, too
            assert [[tag.id for tag in book.tags] for book in merged] == [[1, 2]] * 20

    def test_joined_inheritance(self, library: Database) -> None:
        store(library, [Librarian(id=at, name="old", desk=at) for at in range(1, 11)])
        with library.session() as session:
            with library.statements() as seen:
                merged = session.merge_many(
                    [Librarian(id=at, name="new", desk=-at) for at in range(1, 21)]
                )
            assert len(seen) == 1
            assert [one.desk for one in merged] == [-at for at in range(1, 21)]
            session.commit()
        assert stored(library, Person.name) == ["new"] * 20

    def test_merge_all_takes_the_same_road(self, library: Database) -> None:
        store(library, authors(10))
        with library.session() as session, library.statements() as seen:
            session.merge_all([Author(id=at, name="merged") for at in range(1, 21)])
        assert len(seen) == 1

    def test_what_the_session_holds_costs_nothing(self, library: Database) -> None:
        store(library, authors(10))
        with library.session() as session:
            held = session.scalars(select(Author).order_by(Author.id)).all()
            with library.statements() as seen:
                merged = session.merge_many([Author(id=at, name="new") for at in range(1, 11)])
            assert seen == []
            assert merged == held


class TestOverwrite:
    def test_one_key_twice_is_one_object(self, library: Database) -> None:
        with library.session() as session:
            first, second = session.merge_many([Author(id=1, name="a"), Author(id=1, name="b")])
            assert first is second
            session.commit()
        assert stored(library, Author.name) == ["b"]

    def test_without_a_key(self, library: Database) -> None:
        with library.session() as session:
            session.merge_many([Author(name="a"), Author(name="b")])
            session.commit()
        assert stored(library, Author.name) == ["a", "b"]

    def test_a_key_of_two_parts(self, library: Database) -> None:
        store(library, [Place(row=1, letter="A"), Book(id=1, title="book")])
        with library.session() as session:
            session.merge_many([Place(row=1, letter="A", book_id=1), Place(row=1, letter="B")])
            session.commit()
        assert stored(library, Place.letter) == ["A", "B"]
        assert stored(library, Place.book_id) in ([None, 1], [1, None])

    @on("mariadb")  # the only one that by default finds "a" equal to "A"
    def test_a_key_that_only_the_database_finds_equal(self, library: Database) -> None:
        store(library, [Book(id=1, title="book"), Place(row=1, letter="A")])
        with library.session() as session:
            merged = session.merge_many(
                [Place(row=1, letter="a", book_id=1), Place(row=1, letter="B")]
            )
            session.commit()
        assert merged[0].__class__ is Place
        assert len(stored(library, Place.letter)) == 2

    def test_a_child_that_moves(self, library: Database) -> None:
        store(library, authors(2, books=1))
        author = detached(library, Author, 2, selectinload(Author.books))
        book = detached(library, Book, 1)
        author.books.append(book)
        with library.session() as session:
            session.merge_many([author])
            session.commit()
        assert stored(library, Book.author_id) == [2, 2]

    def test_identity_token(self, library: Database) -> None:
        store(library, authors(1))
        with library.session() as session:
            [author] = session.get_many(Author, [1], identity_token="west")
            session.expunge(author)
            author.name = "west"
            with library.statements() as seen:
                [merged] = session.merge_many([author])
            assert inspect(merged).identity_token == "west"
            assert len(seen) == 1

    def test_missing(self, library: Database) -> None:
        store(library, authors(1))
        with library.session() as session:
            with pytest.raises(MissingRowsError) as caught:
                session.merge_many([Author(id=at, name="x") for at in (1, 2, 3)], missing="raise")
            assert caught.value.keys == [(2,), (3,)]
            assert not list(session.new)
            assert not list(session.dirty)

    @pytest.mark.parametrize("wrong", [{"conflicts": "ours"}, {"missing": "skip"}])
    def test_another_word(self, library: Database, wrong: Any) -> None:
        with library.session() as session, pytest.raises(OptionError):
            session.merge_many([], **wrong)

    def test_what_is_not_mapped(self, library: Database) -> None:
        with library.session() as session, pytest.raises(UnmappedInstanceError):
            session.merge_many([object()])

    def test_a_version_that_is_behind(self, library: Database) -> None:
        store(library, [Edition(id=1, text="first")])
        edition = detached(library, Edition, 1)
        with library.session() as session:
            session.get(Edition, 1).text = "second"
            session.commit()
        with library.session() as session, pytest.raises(StaleDataError, match="Version id"):
            session.merge_many([edition])


def theirs(db: Database, entity: Any, ident: int, **values: Any) -> None:
    with elsewhere(db) as other:
        other.execute(update(entity).where(entity.id == ident).values(**values))


class TestThreeWays:
    def test_what_i_did_not_touch_is_not_written(self, library: Database) -> None:
        store(library, [Author(id=1, name="old", born=1900)])
        author = detached(library, Author, 1)
        author.name = "mine"
        theirs(library, Author, 1, born=1950)
        with library.session() as session:
            merged = session.merge(author, conflicts="raise")
            assert (merged.name, merged.born) == ("mine", 1950)
            with library.statements() as seen:
                session.commit()
            [sent] = [one for one in seen if one.startswith("UPDATE")]
            assert "born" not in sent
        assert author.__dict__["born"] == 1900, "the object itself is left as it was"

    @pytest.mark.parametrize(("policy", "name"), [("mine", "mine"), ("theirs", "theirs")])
    def test_what_both_changed(self, library: Database, policy: Any, name: str) -> None:
        store(library, authors(1))
        author = detached(library, Author, 1)
        author.name = "mine"
        theirs(library, Author, 1, name="theirs")
        with library.session() as session:
            session.merge(author, conflicts=policy)
            session.commit()
        assert stored(library, Author.name) == [name]

    def test_raise_names_the_three_values(self, library: Database) -> None:
        store(library, authors(2))
        changed = [detached(library, Author, at) for at in (1, 2)]
        for author in changed:
            author.name = "mine"
            theirs(library, Author, author.id, name="theirs")
        with library.session() as session:
            with pytest.raises(MergeConflictError, match="base 'author 1', mine 'mine'") as caught:
                session.merge_many(changed, conflicts="raise")
            assert isinstance(caught.value, StaleDataError)
            first, second = caught.value.conflicts
            assert (first.instance, first.attribute) == (changed[0], "name")
            assert (second.base, second.mine, second.theirs) == ("author 2", "mine", "theirs")
            assert not list(session.dirty)

    def test_both_changed_it_to_the_same(self, library: Database) -> None:
        store(library, authors(1))
        author = detached(library, Author, 1)
        author.name = "same"
        theirs(library, Author, 1, name="same")
        with library.session() as session:
            session.merge(author, conflicts="raise")
            with library.statements() as seen:
                session.commit()
            assert seen == []

    def test_two_objects_for_one_row(self, library: Database) -> None:
        store(library, [Author(id=1, name="old", born=1900)])
        first, second = detached(library, Author, 1), detached(library, Author, 1)
        first.name, second.born = "mine", 1950
        with library.session() as session:
            one, other = session.merge_many([first, second], conflicts="raise")
            assert one is other
            assert (one.name, one.born) == ("mine", 1950)
            session.rollback()
            second.name = "another"
            with pytest.raises(MergeConflictError, match="mine 'another', theirs 'mine'"):
                session.merge_many([first, second], conflicts="raise")

    def test_nothing_is_compared_without_loading(self, library: Database) -> None:
        with library.session() as session, pytest.raises(OptionError, match="load=False"):
            session.merge(Author(id=1), load=False, conflicts="raise")

    def test_a_form_writes_what_it_sets(self, library: Database) -> None:
        store(library, [Author(id=1, name="old", born=1900)])
        with library.session() as session:
            session.merge(Author(id=1, name="form"), conflicts="mine")
            session.commit()
        with library.session() as session:
            author = session.get(Author, 1)
            assert (author.name, author.born) == ("form", 1900)

    def test_a_form_that_differs_is_a_conflict(self, library: Database) -> None:
        store(library, [Author(id=1, name="old", born=1900)])
        with library.session() as session:
            session.merge(Author(id=1, name="old"), conflicts="raise")
            with pytest.raises(MergeConflictError, match="base unknown, mine 'form'"):
                session.merge(Author(id=1, name="form"), conflicts="raise")

    def test_an_object_the_session_holds_is_read_anew(self, library: Database) -> None:
        store(library, authors(1))
        author = detached(library, Author, 1)
        author.name = "mine"
        with library.session() as session:
            library.read_committed(session)
            session.get(Author, 1)
            theirs(library, Author, 1, name="theirs")
            with pytest.raises(MergeConflictError):
                session.merge(author, conflicts="raise")

    def test_pickled(self, library: Database) -> None:
        store(library, authors(1))
        author = detached(library, Author, 1)
        author.name = "mine"
        author = pickle.loads(pickle.dumps(author))
        theirs(library, Author, 1, name="theirs")
        with library.session() as session, pytest.raises(MergeConflictError, match="base 'author"):
            session.merge(author, conflicts="raise")

    def test_expired_when_it_was_set(self, library: Database) -> None:
        store(library, authors(1))
        author = Author(id=1)
        make_transient_to_detached(author)
        author.name = "mine"
        with library.session() as session, pytest.raises(MergeConflictError, match="base unknown"):
            session.merge(author, conflicts="raise")

    def test_expunged_after_a_flush_that_was_rolled_back(self, library: Database) -> None:
        store(library, authors(1))
        with library.session() as session:
            author = session.get(Author, 1)
            author.name = "mine"
            session.flush()
            session.expunge(author)
            session.rollback()
        with library.session() as session:
            with pytest.raises(MergeConflictError, match="base unknown"):
                session.merge(author, conflicts="raise")
            session.merge(author, conflicts="mine")
            session.commit()
        assert stored(library, Author.name) == ["mine"]

    def test_closed_after_a_flush(self, library: Database) -> None:
        store(library, authors(1))
        with library.session() as session:
            author = session.get(Author, 1)
            author.name = "mine"
            session.flush()
        with library.session() as session, pytest.raises(MergeConflictError, match="base unknown"):
            session.merge(author, conflicts="raise")

    def test_committed_is_a_base(self, library: Database) -> None:
        store(library, authors(1))
        with library.session(expire_on_commit=False) as session:
            author = session.get(Author, 1)
            author.name = "mine"
            session.commit()
        theirs(library, Author, 1, name="theirs")
        with library.session() as session:
            assert session.merge(author, conflicts="raise").name == "theirs"

    def test_plain_json_has_no_base(self, library: Database) -> None:
        assert isinstance(Edition.__table__.c.extra.type, JSON)
        store(library, [Edition(id=1, text="text", extra={"pages": 1})])
        edition = detached(library, Edition, 1)
        edition.extra["pages"] = 2  # in place: nobody notices
        with library.session() as session:
            with pytest.raises(MergeConflictError, match="extra"):
                session.merge(edition, conflicts="raise")
            session.merge(edition, conflicts="mine")
            session.commit()
        assert detached(library, Edition, 1).extra == {"pages": 2}

    def test_versions_need_not_agree(self, library: Database) -> None:
        store(library, [Edition(id=1, text="text", extra=None)])
        edition = detached(library, Edition, 1)
        edition.text = "mine"
        with library.session() as session:
            session.get(Edition, 1).extra = {"theirs": True}
            session.commit()
        with library.session() as session:
            session.merge(edition, conflicts="raise")
            session.commit()
        merged = detached(library, Edition, 1)
        assert (merged.text, merged.extra, merged.version) == ("mine", {"theirs": True}, 3)

    def test_an_expression_is_computed_from_the_row(self, library: Database) -> None:
        store(library, [Author(id=1, name="old", born=1900)])
        author = detached(library, Author, 1)
        author.born = Author.born + 1
        theirs(library, Author, 1, born=1950)
        with library.session() as session:
            session.merge(author, conflicts="raise")
            session.commit()
        assert stored(library, Author.born) == [1951]

    def test_a_row_that_is_gone_is_inserted(self, library: Database) -> None:
        store(library, authors(1))
        author = detached(library, Author, 1)
        author.name = "mine"
        with elsewhere(library) as other:
            other.execute(delete(Author))
        with library.session() as session:
            session.merge(author, conflicts="raise")
            session.commit()
        assert stored(library, Author.name) == ["mine"]

    def test_inheritance(self, library: Database) -> None:
        store(library, [Librarian(id=1, name="Lea", desk=1), Guest(id=2, name="Gus", card=1)])
        lea, gus = detached(library, Librarian, 1), detached(library, Guest, 2)
        lea.desk, gus.card = 2, 2
        theirs(library, Person, 1, name="Lena")
        with library.session() as session:
            merged = session.merge_many([lea, gus], conflicts="raise")
            assert [(one.name) for one in merged] == ["Lena", "Gus"]
            session.commit()
        assert stored(library, Librarian.desk) == [2]


class TestRelationships:
    def test_collections_take_what_i_added_and_keep_what_they_added(
        self, library: Database
    ) -> None:
        tags = [Tag(id=at, name=f"tag {at}") for at in range(1, 5)]
        store(library, [Book(id=1, title="book", tags=tags[:2]), *tags[2:]])
        book = detached(library, Book, 1, selectinload(Book.tags))
        book.tags.remove(book.tags[0])
        book.tags.append(detached(library, Tag, 3))
        with library.session() as session:
            held = session.get(Book, 1, options=[selectinload(Book.tags)])
            held.tags.append(session.get(Tag, 4))
            session.commit()
        with library.session() as session:
            merged = session.merge(book, conflicts="raise")
            assert sorted(tag.id for tag in merged.tags) == [2, 3, 4]
            session.commit()
        book = detached(library, Book, 1, selectinload(Book.tags))
        assert [tag.id for tag in book.tags] == [2, 3, 4]

    def test_what_a_collection_holds_is_merged(self, library: Database) -> None:
        store(library, authors(1, books=2))
        author = detached(library, Author, 1, selectinload(Author.books))
        author.books[0].title = "mine"
        theirs(library, Book, 2, title="theirs")
        with library.session() as session:
            session.merge(author, conflicts="raise")
            session.commit()
        assert stored(library, Book.title) == ["mine", "theirs"]

    def test_a_new_member(self, library: Database) -> None:
        store(library, authors(1, books=1))
        author = detached(library, Author, 1, selectinload(Author.books))
        author.books.append(Book(id=9, title="new"))
        with library.session() as session:
            session.merge(author, conflicts="raise")
            session.commit()
        assert stored(library, Book.author_id) == [1, 1]

    @pytest.mark.parametrize(("policy", "author"), [("mine", 2), ("theirs", 3), ("raise", None)])
    def test_whom_both_refer_elsewhere(
        self, library: Database, policy: Any, author: int | None
    ) -> None:
        store(library, [*authors(3), Book(id=1, title="book", author_id=1)])
        book = detached(library, Book, 1, selectinload(Book.author))
        book.author = detached(library, Author, 2)
        theirs(library, Book, 1, author_id=3)
        with library.session() as session:
            if author is None:
                with pytest.raises(MergeConflictError, match=r"Book\.author "):
                    session.merge(book, conflicts=policy)
                return
            session.merge(book, conflicts=policy)
            session.commit()
        assert stored(library, Book.author_id) == [author]

    def test_whom_only_they_refer_elsewhere(self, library: Database) -> None:
        store(library, [*authors(3), Book(id=1, title="book", author_id=1)])
        book = detached(library, Book, 1, selectinload(Book.author))
        theirs(library, Book, 1, author_id=3)
        with library.session() as session:
            session.merge(book, conflicts="raise")
            session.commit()
        assert stored(library, Book.author_id) == [3]


def test_rows_are_locked_until_they_are_written(library: Database) -> None:
    """Between the comparison and the UPDATE nobody else gets in."""
    store(library, authors(1))
    author = detached(library, Author, 1)
    author.name = "mine"
    with library.session() as session:
        with library.statements() as seen:
            session.merge(author, conflicts="raise")
        if library.driver.server == "sqlite":
            assert seen[0].startswith("SAVEPOINT") or seen[0].startswith("BEGIN")
        else:
            assert len(seen) == 1
            assert "FOR UPDATE" in seen[0]


def test_get_is_itself_again_after_a_merge(library: Database) -> None:
    with library.session() as session:
        session.merge_many([Author(id=1, name="new")])
        session.flush()
        session.expunge_all()
        assert session.get(Author, 1).name == "new"


def test_listeners_see_only_what_is_written(library: Database) -> None:
    store(library, [Author(id=1, name="old", born=1900)])
    author = detached(library, Author, 1)
    author.name = "mine"
    heard: list[str] = []

    def hear(_target: Any, value: Any, *_: Any) -> None:
        heard.append(value)

    event.listen(Author.name, "set", hear)
    event.listen(Author.born, "set", hear)
    try:
        with library.session() as session:
            session.merge(author, conflicts="raise")
    finally:
        event.remove(Author.name, "set", hear)
        event.remove(Author.born, "set", hear)
    assert heard == ["mine"]
