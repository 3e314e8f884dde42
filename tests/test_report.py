"""What a session holds, and what it has done."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from sqlalchemy import select

from sessionwise.report import ClassReport, SessionReport
from tests.backends import Database
from tests.library import Author, Book, Guest, Librarian, Person, authors, store


@pytest.fixture
def shop(library: Database) -> Database:
    store(library, authors(5, books=1))
    return library


def of(db: Database, session: Any, **options: Any) -> SessionReport:
    """Return a session's report, and see that it costs nothing."""
    with db.statements() as seen:
        report: SessionReport = session.report(**options)
    assert seen == []
    return report


class TestObjects:
    def test_of_an_empty_session(self, shop: Database) -> None:
        with shop.session() as session:
            assert of(shop, session) == SessionReport({}, 0, 0, 0, 0, None)
            assert not session.in_transaction()

    def test_by_state(self, shop: Database) -> None:
        with shop.session(autoflush=False) as session:
            held = session.scalars(select(Author).order_by(Author.id)).all()
            books = session.scalars(select(Book)).all()
            held[0].name = held[1].name = "changed"
            shop.inside(session, lambda: held[2].books)  # as deleting it would do
            for book in books:
                session.delete(book)
            session.expire(held[3])
            session.add_all([Author(id=9, name="new"), Author(id=8, name="new")])
            report = of(shop, session)
            assert report.classes == {
                Author: ClassReport(new=2, dirty=2, deleted=0, expired=1, clean=2, bytes=None),
                Book: ClassReport(new=0, dirty=0, deleted=5, expired=0, clean=0, bytes=None),
            }
            assert report.classes[Author].total == 7

    def test_dirty_and_deleted_is_deleted(self, shop: Database) -> None:
        with shop.session(autoflush=False) as session:
            book = session.get_many(Book, [1])[0]
            book.title = "changed"
            session.delete(book)
            assert of(shop, session).classes[Book].deleted == 1
            session.flush()
            assert Book not in of(shop, session).classes

    def test_after_a_commit_all_are_expired(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Author)).all()
            session.commit()
            assert of(shop, session).classes[Author].expired == len(held)

    def test_expired_in_part(self, shop: Database) -> None:
        """Only what is to be read again as a whole counts as expired."""
        with shop.session() as session:
            [author] = session.get_many(Author, [1])
            session.expire(author, ["name"])
            assert of(shop, session).classes[Author].clean == 1

    def test_by_their_own_class(self, library: Database) -> None:
        with library.session() as session:
            session.add_all([Librarian(id=1, name="Lea", desk=7), Guest(id=2, name="Gus")])
            session.add(Person(id=3, name="Pia"))
            report = of(library, session)
            assert [(class_, one.new) for class_, one in report.classes.items()] == [
                (Guest, 1),
                (Librarian, 1),
                (Person, 1),
            ]

    def test_what_was_let_go_of_is_not_there(self, shop: Database) -> None:
        with shop.session() as session:
            session.scalars(select(Author)).all()
            assert of(shop, session).classes == {}


class TestSizes:
    def test_measured_on_request(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Author)).all()
            assert of(shop, session).classes[Author].bytes is None
            size = of(shop, session, sizes=True).classes[Author].bytes
            assert size is not None
            assert size > 5 * 200
            for author in held:
                author.name = "x" * 10_000
            larger = of(shop, session, sizes=True).classes[Author].bytes
            assert larger is not None
            assert larger > size + 5 * 9_000
            session.rollback()

    def test_nothing_is_loaded_for_it(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Author)).all()
            session.commit()
            assert of(shop, session, sizes=True).classes[Author].expired == len(held)


class TestUnit:
    def test_statements(self, shop: Database) -> None:
        with shop.session() as session:
            session.scalars(select(Author)).all()
            session.scalars(select(Book)).all()
            assert of(shop, session).statements == 2
            session.commit()
            assert of(shop, session).statements == 0
            session.scalars(select(Author)).all()
            assert of(shop, session).statements == 1

    def test_flushes(self, shop: Database) -> None:
        with shop.session() as session:
            session.add(Author(id=8, name="new"))
            session.flush()
            session.flush()  # of nothing
            session.add(Author(id=9, name="new"))
            session.scalars(select(Author)).all()
            session.scalars(select(Author)).all()
            report = of(shop, session)
            assert (report.flushes, report.autoflushes) == (2, 1)
            session.rollback()
            session.scalars(select(Author)).all()
            assert (of(shop, session).flushes, of(shop, session).autoflushes) == (0, 0)

    def test_a_commit_that_flushes(self, shop: Database) -> None:
        with shop.session() as session:
            session.add(Author(id=8, name="new"))
            session.commit()
            report = of(shop, session)
            assert (report.flushes, report.autoflushes, report.seconds) == (1, 0, None)

    def test_savepoints(self, shop: Database) -> None:
        with shop.session() as session:
            depths = []
            session.add(Author(id=8, name="new"))
            with session.begin_nested():
                with session.begin_nested():
                    depths.append(of(shop, session).savepoints)
                depths.append(of(shop, session).savepoints)
            depths.append(of(shop, session).savepoints)
            assert depths == [2, 1, 0]

    def test_seconds(self, shop: Database) -> None:
        with shop.session() as session:
            assert of(shop, session).seconds is None
            session.scalars(select(Author)).all()
            first, second = of(shop, session).seconds, of(shop, session).seconds
            assert first is not None
            assert second is not None
            assert 0 <= first <= second < 60
            session.commit()
            assert of(shop, session).seconds is None


class TestAsText:
    def test_lines(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Author)).all()
            held[0].name = "changed"
            with session.begin_nested():
                first, last = str(of(shop, session)).splitlines()
            assert first == "Author: 5 (0 new, 0 dirty, 0 deleted, 0 expired, 5 clean)"
            assert "1 flushes (0 by autoflush), 1 open savepoints" in last
            assert last.endswith(" s in transaction")
            session.commit()
            [_, last] = str(of(shop, session)).splitlines()
            assert last.startswith("0 statements")
            assert last.endswith("no transaction")

    def test_with_sizes(self, shop: Database) -> None:
        with shop.session() as session:
            held = session.scalars(select(Author)).all()
            assert "bytes" not in str(of(shop, session))
            assert ", about " in str(of(shop, session, sizes=True))
            assert held

    def test_is_frozen(self, shop: Database) -> None:
        with shop.session() as session:
            report: Any = of(shop, session)
            with pytest.raises(FrozenInstanceError):
                report.statements = 5
