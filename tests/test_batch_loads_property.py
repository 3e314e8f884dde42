"""Batched loading gives the answers of plain lazy loading, whatever happens in between.

A history is run twice on the same rows, by a session that batches and by one that does not, and
both must have seen the same: values, keys, errors, and what is stored at the end.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, inspect, select, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import (
    defer,
    joinedload,
    lazyload,
    load_only,
    raiseload,
    selectinload,
    subqueryload,
    undefer_group,
    with_loader_criteria,
)

from tests.backends import Database, on
from tests.library import (
    Author,
    Book,
    Edition,
    Guest,
    Librarian,
    Loan,
    Person,
    Place,
    Shelf,
    Tag,
    book_tag,
    elsewhere,
    empty,
    store,
)

ENTITIES: list[Any] = [Author, Book, Tag, Shelf, Place, Person, Librarian, Loan]

OPTIONS: dict[Any, list[Any]] = {
    Author: [
        selectinload(Author.books),
        joinedload(Author.books).selectinload(Book.tags),
        lazyload(Author.books).joinedload(Book.tags),
        raiseload(Author.books),
        defer(Author.name),
        with_loader_criteria(Book, Book.id % 2 == 0),
        subqueryload(Author.books).defer(Book.title),
    ],
    Book: [
        joinedload(Book.author),
        selectinload(Book.tags).selectinload(Tag.books),
        undefer_group("text"),
        load_only(Book.title),
        lazyload(Book.author).selectinload(Author.books),
        with_loader_criteria(Author, Author.id > 1),
    ],
    Tag: [selectinload(Tag.books).joinedload(Book.author)],
    Shelf: [selectinload(Shelf.shelves), joinedload(Shelf.inside)],
    Place: [joinedload(Place.book), selectinload(Place.loans)],
    Person: [selectinload(Person.loans), lazyload(Person.loans).joinedload(Loan.place)],
    Librarian: [joinedload(Librarian.loans)],
    Loan: [joinedload(Loan.person), selectinload(Loan.place)],
}

number = st.integers(0, 40)
event = st.one_of(
    st.tuples(st.just("query"), st.integers(0, len(ENTITIES) - 1), number, st.booleans()),
    st.tuples(st.just("touch"), number, number),
    st.tuples(st.just("touch"), number, number),
    st.tuples(st.just("touch all"), number, number),
    st.tuples(st.just("expire"), number, number),
    st.tuples(st.just("expire all")),
    st.tuples(st.just("refresh"), number),
    st.tuples(st.just("commit")),
    st.tuples(st.just("rollback")),
    st.tuples(st.just("flush")),
    st.tuples(st.just("rename"), number),
    st.tuples(st.just("move"), number, number),
    st.tuples(st.just("untag"), number),
    st.tuples(st.just("delete"), number),
    st.tuples(st.just("others rename"), number),
    st.tuples(st.just("others delete"), number),
    st.tuples(st.just("forget"), number),
)
histories = st.lists(event, min_size=4, max_size=25)


def rows() -> list[Any]:
    tags = [Tag(id=at, name=f"tag {at}") for at in range(1, 5)]
    writers = [Author(id=at, name=f"author {at}", born=1900 + at) for at in range(1, 5)]
    books = [
        Book(
            id=at,
            title=f"book {at}",
            author=writers[at % 4] if at % 5 else None,
            tags=tags[: at % 5],
            summary=f"summary {at}",
            cover=None if at % 2 else "cover",
        )
        for at in range(1, 11)
    ]
    shelves = [Shelf(id=1, name="top")]
    for at in range(2, 8):
        shelves.append(Shelf(id=at, name="low", inside=shelves[at // 2 - 1]))
    places = [
        Place(row=row, letter=letter, book=books[row])
        for row in range(1, 4)
        for letter in ("A", "B")
    ]
    people: list[Any] = [Librarian(id=at, name=f"librarian {at}", desk=at) for at in (1, 2, 3)]
    people += [Guest(id=at, name=f"guest {at}", card=at) for at in (4, 5)]
    people += [Person(id=6, name="person 6")]
    loans = [
        Loan(id=at, person=people[at % 6], place=places[at % 6] if at % 4 else None)
        for at in range(1, 13)
    ]
    return [*books, *tags, *shelves, *people, *loans]


class Run:
    """One run of a history."""

    def __init__(self, db: Database, *, batch_loads: bool) -> None:
        empty(db)
        store(db, rows())
        self.db = db
        self.session = db.session(batch_loads=batch_loads)
        self.held: list[Any] = []
        self.seen: list[Any] = []

    def play(self, history: list[tuple[Any, ...]]) -> list[Any]:
        with self.session:
            for name, *arguments in history:
                method = getattr(self, name.replace(" ", "_"))
                try:
                    self.seen.append(method(*arguments))
                except Exception as error:  # noqa: BLE001 -- the other run must see the same
                    self.seen.append((type(error), str(error)[:60]))
                    if not isinstance(error, InvalidRequestError):
                        self.rollback()
            self.rollback()
        with self.db.observer.connect() as connection:
            stored = select(Book.id, Book.title, Book.author_id).order_by(Book.id)
            self.seen.append(list(connection.execute(stored)))
            self.seen.append(list(connection.execute(select(book_tag).order_by(*book_tag.c))))
        return self.seen

    # What happens

    def query(self, entity: int, option: int, some: bool) -> Any:
        entity_ = ENTITIES[entity]
        options = OPTIONS[entity_]
        statement = select(entity_).order_by(*inspect(entity_).primary_key)
        if option <= len(options) * 3:
            statement = statement.options(options[option % len(options)])
        if some:
            statement = statement.where(inspect(entity_).primary_key[0] % 3 != 1)
        found = self.session.scalars(statement).unique().all()
        known = set(map(id, self.held))
        self.held += [one for one in found if id(one) not in known]
        return [label(one) for one in found]

    def touch(self, which: int, attribute: int) -> Any:
        return self._read(self._one(which), attribute)

    def touch_all(self, which: int, attribute: int) -> Any:
        like = type(self._one(which))
        return [self._read(one, attribute) for one in self.held if type(one) is like]

    def expire(self, which: int, attribute: int) -> None:
        one = self._one(which)
        names = list(inspect(type(one)).attrs.keys())
        self.session.expire(one, None if attribute % 2 else [names[attribute % len(names)]])

    def expire_all(self) -> None:
        self.session.expire_all()

    def refresh(self, which: int) -> None:
        self.session.refresh(self._one(which))

    def commit(self) -> None:
        self.session.commit()

    def rollback(self) -> None:
        self.session.rollback()

    def flush(self) -> None:
        self.session.flush()

    def rename(self, which: int) -> None:
        self._inside(lambda: setattr(self._of(Book, which), "title", f"renamed {which}"))

    def move(self, which: int, to: int) -> None:
        book = self._of(Book, which)
        author = self._of(Author, to) if to % 3 else None
        self._inside(lambda: setattr(book, "author", author))

    def untag(self, which: int) -> None:
        book = self._of(Book, which)
        self._inside(lambda: setattr(book, "tags", []))

    def delete(self, which: int) -> None:
        self.session.delete(self._of(Loan, which))

    def others_rename(self, which: int) -> None:
        self.commit()
        with elsewhere(self.db) as other:
            other.execute(update(Author).values(name=f"by others {which}"))
            other.execute(update(Book).where(Book.id % 3 == which % 3).values(author_id=None))

    def others_delete(self, which: int) -> None:
        self.commit()
        with elsewhere(self.db) as other:
            other.execute(delete(Loan).where(Loan.id % 5 == which % 5))
            other.execute(delete(book_tag).where(book_tag.c.tag_id == which % 4 + 1))

    def forget(self, which: int) -> None:
        self.held = [one for at, one in enumerate(self.held) if at % 3 != which % 3]

    # How it is read

    def _one(self, which: int) -> Any:
        if not self.held:
            raise InvalidRequestError("nothing is held")
        return self.held[which % len(self.held)]

    def _of(self, class_: type, which: int) -> Any:
        some = [one for one in self.held if type(one) is class_]
        if not some:
            raise InvalidRequestError(f"no {class_.__name__} is held")
        return some[which % len(some)]

    def _read(self, one: Any, attribute: int) -> Any:
        names = sorted(inspect(type(one)).attrs.keys())
        name = names[attribute % len(names)]
        try:
            value = self._inside(lambda: getattr(one, name))
        except Exception as error:  # noqa: BLE001 -- the other run must see the same
            return (name, type(error))
        return (name, label(value))

    def _inside(self, function: Any) -> Any:
        return self.db.inside(self.session, function)


def label(value: Any) -> Any:
    """Describe a value so that the two runs can be compared."""
    if isinstance(value, list):
        return [label(one) for one in value]
    state = inspect(value, raiseerr=False)
    if state is None or value is None or isinstance(value, str | int):
        return value
    return (type(value).__name__, state.key[1] if state.key else None)


@on("sqlite3", "aiosqlite", "psycopg", "pymysql")
@given(history=histories)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_answers_are_those_of_plain_lazy_loading(db: Database, history: Any) -> None:
    plain = Run(db, batch_loads=False).play(history)
    assert Run(db, batch_loads=True).play(history) == plain


def test_every_class_has_options() -> None:
    assert set(ENTITIES) == set(OPTIONS)
    assert Edition not in OPTIONS, "it has no relationships"
