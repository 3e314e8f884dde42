"""Technique 2, capture by the session: INSERT, UPDATE and DELETE past the flush."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    MetaData,
    Table,
    bindparam,
    case,
    column,
    delete,
    event,
    func,
    insert,
    literal,
    select,
    table,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import with_loader_criteria

from sessionwise import (
    AuditError,
    TransactionDoomedError,
    UnauditedWriteError,
    UnauditedWriteWarning,
)
from sessionwise.audit import Audit
from sessionwise.audit.recording import journal
from sessionwise.audit.tables import LOG
from tests.archive import Author, Base, Book, Country, Dog, Letter, Page, Tag
from tests.backends import Database, on
from tests.recorded import Archive, archive

AUTHORS, PAGES, TAGS = Author.__table__, Page.__table__, Tag.__table__


@pytest.fixture(scope="module")
def engine(database: Database) -> Iterator[Any]:
    with archive(database) as engine:
        yield engine


@pytest.fixture
def shelf(db: Database, engine: Any) -> Archive:
    """Give an archive with three pages."""
    found = Archive(db, engine)
    with db.observer.begin() as connection:
        connection.execute(
            insert(PAGES), [{"number": at, "side": "a", "words": f"w{at}"} for at in (1, 2, 3)]
        )
    return found


def page(number: int, words: str) -> dict[str, Any]:
    return {"number": number, "side": "a", "words": words}


def key(number: int) -> str:
    return f'[{number}, "a"]'


def changed(number: int, before: str, after: str) -> tuple[Any, ...]:
    return ("UPDATE", "pages", key(number), page(number, before), {"words": after})


class TestUpdate:
    def test_by_a_condition(self, shelf: Archive) -> None:
        def work(session: Any) -> int:
            return session.execute(
                update(Page).where(Page.number > 1).values(words=Page.words + "!")
            ).rowcount

        assert shelf.run(work) == 2
        assert shelf.news() == [changed(2, "w2", "w2!"), changed(3, "w3", "w3!")]

    def test_without_one(self, shelf: Archive) -> None:
        shelf.run(lambda session: session.execute(update(PAGES).values(words="w1")))
        assert shelf.news() == [changed(2, "w2", "w1"), changed(3, "w3", "w1")]

    def test_so_many_records_at_a_time(
        self, shelf: Archive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All of a million in one document are more than PostgreSQL's JSON can hold."""
        monkeypatch.setattr(journal, "_AT_A_TIME", 2)
        with shelf.session() as session:
            with shelf.statements() as sent:
                session.execute(update(PAGES).values(words=Page.words + "!"))
            session.commit()
        assert shelf.news() == [changed(at, f"w{at}", f"w{at}!") for at in (1, 2, 3)]
        assert len([one for one in sent if "INSERT INTO audit_log" in one]) == 2
        assert len({one.at for one in shelf.log()}) == 1

    def test_the_same_shape_with_other_values(self, shelf: Archive) -> None:
        """SQLAlchemy compiles a statement once, and sends it with other values."""

        def work(session: Any) -> None:
            for at in (1, 2, 3):
                statement = update(PAGES).where(PAGES.c.words.in_([f"w{at}", f"x{at}"]))
                session.execute(statement.values(words=f"n{at}"))

        shelf.run(work)
        assert shelf.news() == [changed(at, f"w{at}", f"n{at}") for at in (1, 2, 3)]

    def test_by_the_key(self, shelf: Archive) -> None:
        where = (PAGES.c.number == 2, PAGES.c.side == "a")
        with shelf.session() as session:
            with shelf.statements() as sent:
                session.execute(update(PAGES).where(*where).values(words="x"))
            session.commit()
        assert shelf.news() == [changed(2, "w2", "x")]
        assert len([one for one in sent if "FROM pages" in one]) == 2  # before, and after

    def test_many(self, shelf: Archive) -> None:
        statement = update(PAGES).where(PAGES.c.words == bindparam("was"))
        rows = [{"was": "w1", "words": "one"}, {"was": "w2", "words": "two"}]

        def work(session: Any) -> None:
            session.connection().execute(statement, rows)

        shelf.run(work)
        assert shelf.news() == [changed(1, "w1", "one"), changed(2, "w2", "two")]

    def test_keys_that_are_the_same_by_a_collation(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            session.execute(
                insert(Country), [{"code": "de", "name": "x"}, {"code": "fr", "name": "x"}]
            )
            statement = update(Country.__table__).where(Country.code == bindparam("c"))
            session.connection().execute(
                statement, [{"c": "DE", "name": "y"}, {"c": "FR", "name": "z"}]
            )
            session.execute(update(Country).where(Country.code == "DE").values(code="it"))

        shelf.run(work)
        changes = [(one[2], one[4]) for one in shelf.news()[2:]]
        if shelf.server == "mariadb":
            assert changes == [
                ("de", {"name": "y"}),
                ("fr", {"name": "z"}),
                ("it", {"code": "it"}),
            ]
        else:
            assert changes == []

    @on("psycopg")
    def test_rows_that_others_have_added_meanwhile(self, shelf: Archive) -> None:
        """They are in no snapshot of before, and so nothing of it is stored."""

        def add(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("SELECT pages"):
                with shelf.database.observer.begin() as connection:
                    connection.execute(insert(PAGES), {"number": 9, "side": "a", "words": ""})

        with shelf.session() as session:
            event.listen(shelf.engine, "after_cursor_execute", add)
            try:
                with pytest.raises(AuditError, match="1 more"):
                    session.execute(update(Page).values(words="x"))
            finally:
                event.remove(shelf.engine, "after_cursor_execute", add)
            with pytest.raises(TransactionDoomedError):
                session.commit()
            session.rollback()
        assert shelf.news() == []

    def test_by_primary_key_in_bulk(self, shelf: Archive) -> None:
        rows = [{"number": at, "side": "a", "words": f"n{at}"} for at in (1, 3)]
        shelf.run(lambda session: session.execute(update(Page), rows))
        assert shelf.news() == [changed(1, "w1", "n1"), changed(3, "w3", "n3")]

    @on("sqlite", "postgresql")
    def test_returning(self, shelf: Archive) -> None:
        def work(session: Any) -> Any:
            statement = update(Page).where(Page.number < 3).values(words="x")
            return session.execute(statement.returning(Page.number, Page.words)).all()

        assert sorted(map(tuple, shelf.run(work))) == [(1, "x"), (2, "x")]
        assert shelf.news() == [changed(1, "w1", "x"), changed(2, "w2", "x")]

    def test_the_key(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            session.execute(insert(Country), {"code": "de", "name": "Germany"})
            session.execute(update(Country).values(code="fr"))

        shelf.run(work)
        one = shelf.log()[-1]
        assert (one.object_id, one.previous_id) == ("fr", "de")

    def test_of_joined_inheritance(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            session.execute(insert(Dog), [{"id": 1, "name": "Rex"}, {"id": 2, "name": "Max"}])
            session.execute(update(Dog), [{"id": 1, "name": "R", "tricks": 4}])
            session.execute(update(Dog).where(Dog.tricks == 4).values(tricks=5))

        shelf.run(work)
        assert shelf.news() == [
            ("INSERT", "animals", "1", None, {"id": 1, "kind": "dog", "name": "Rex"}),
            ("INSERT", "animals", "2", None, {"id": 2, "kind": "dog", "name": "Max"}),
            ("INSERT", "dogs", "1", None, {"id": 1, "tricks": 0}),
            ("INSERT", "dogs", "2", None, {"id": 2, "tricks": 0}),
            ("UPDATE", "animals", "1", {"id": 1, "kind": "dog", "name": "Rex"}, {"name": "R"}),
            ("UPDATE", "dogs", "1", {"id": 1, "tricks": 0}, {"tricks": 4}),
            ("UPDATE", "dogs", "1", {"id": 1, "tricks": 4}, {"tricks": 5}),
        ]

    def test_from_another_table(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            session.execute(insert(Country), {"code": "w2", "name": "two"})
            session.execute(
                update(PAGES)
                .where(PAGES.c.words == Country.__table__.c.code)
                .values(words=Country.__table__.c.name)
            )

        shelf.run(work)
        assert shelf.news()[1:] == [changed(2, "w2", "two")]

    def test_parameters_that_are_called_as_columns_are(self, shelf: Archive) -> None:
        """What they are called says nothing about what is set."""

        four, three = (func.length(bindparam("note", text)) for text in ("four", "abc"))

        def work(session: Any) -> None:
            session.execute(insert(Author), {"id": 1, "name": "A"})
            session.execute(update(AUTHORS).where(AUTHORS.c.id == 1).values(balance=four))
            session.execute(insert(AUTHORS).values(id=3, name="C", balance=three))

        shelf.run(work)
        assert [(one[2], one[4]) for one in shelf.news()[1:]] == [
            ("1", {"balance": 4}),
            ("3", {"id": 3, "name": "C", "balance": 3, "note": None}),
        ]

    def test_with_criteria_for_all_statements(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            criteria = with_loader_criteria(Page, Page.number < 3)
            session.execute(update(Page).values(words="x").options(criteria))

        shelf.run(work)
        assert shelf.news() == [changed(1, "w1", "x"), changed(2, "w2", "x")]

    def test_loaded_objects_are_flushed_first(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            session.get(Page, (1, "a")).words = "mine"
            session.execute(update(Page).where(Page.words == "mine").values(words="theirs"))

        shelf.run(work)
        assert shelf.news() == [changed(1, "w1", "mine"), changed(1, "mine", "theirs")]


class TestDelete:
    def test_by_a_subquery(self, shelf: Archive) -> None:
        some = select(Page.number).where(
            Page.words.in_(["w1", "w3"]), Page.number < bindparam("n")
        )

        def work(session: Any) -> None:
            session.execute(delete(Page).where(Page.number.in_(some)), {"n": 3})

        shelf.run(work)
        assert shelf.news() == [("DELETE", "pages", key(1), page(1, "w1"), None)]

    def test_by_a_condition(self, shelf: Archive) -> None:
        def work(session: Any) -> int:
            return session.execute(delete(Page).where(Page.words != "w2")).rowcount

        assert shelf.run(work) == 2
        assert shelf.news() == [
            ("DELETE", "pages", key(at), page(at, f"w{at}"), None) for at in (1, 3)
        ]

    def test_many(self, shelf: Archive) -> None:
        statement = delete(PAGES).where(
            PAGES.c.number == bindparam("n"), PAGES.c.side == bindparam("s")
        )
        rows = [{"n": 1, "s": "a"}, {"n": 3, "s": "a"}, {"n": 9, "s": "a"}]
        shelf.run(lambda session: session.connection().execute(statement, rows) and None)
        assert [one[2] for one in shelf.news()] == [key(1), key(3)]

    def test_what_goes_along(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            session.execute(insert(Author), [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}])
            session.execute(insert(Letter), {"id": 7, "author_id": 1, "words": "x"})
            session.execute(
                insert(Letter), {"id": 8, "author_id": 2, "reader_id": 1, "words": "y"}
            )
            session.execute(delete(Author).where(Author.name == "A"))

        shelf.run(work)
        assert [(one[0], one[1], one[2], one[4]) for one in shelf.news()[4:]] == [
            ("DELETE", "authors", "1", None),
            ("DELETE", "letters", "7", None),
            ("UPDATE", "letters", "8", {"reader_id": None}),
        ]  # in the order in which they are found


def names(shelf: Archive) -> list[tuple[str, str]]:
    """Return the action and the name of each news; the whole row is what is stored."""
    news = shelf.news()
    stored = shelf.contents(AUTHORS)["authors"]
    assert all(stored[one[2]] == one[4] for one in news if one[0] == "INSERT")
    assert all(one[1] == "authors" for one in news)
    return [(one[0], (one[4] or one[3])["name"]) for one in news]


TWO = [{"name": "Alice"}, {"name": "Bob"}]
BOTH = [("INSERT", "Alice"), ("INSERT", "Bob")]


class TestInsert:
    def test_one(self, shelf: Archive) -> None:
        def work(session: Any) -> Any:
            result = session.connection().execute(insert(AUTHORS), {"name": "Alice"})
            return result.inserted_primary_key[0]

        made = shelf.run(work)
        row = {"id": made, "name": "Alice", "balance": 0, "note": None}
        assert shelf.news() == [("INSERT", "authors", str(made), None, row)]

    def test_many(self, shelf: Archive) -> None:
        def work(session: Any) -> int:
            return session.connection().execute(insert(AUTHORS), TWO).rowcount

        assert shelf.run(work) == 2
        assert sorted(names(shelf)) == BOTH

    def test_many_by_the_orm(self, shelf: Archive) -> None:
        shelf.run(lambda session: session.execute(insert(Author), TWO) and None)
        assert sorted(names(shelf)) == BOTH

    def test_many_that_have_keys(self, shelf: Archive) -> None:
        rows = [{"id": at, **one} for at, one in enumerate(TWO, 1)]
        with shelf.session() as session:
            with shelf.statements() as sent:
                session.execute(insert(Author), rows)
            session.commit()
        assert names(shelf) == BOTH
        assert not any("RETURNING" in one for one in sent if "INTO authors" in one)

    def test_values(self, shelf: Archive) -> None:
        shelf.run(lambda session: session.execute(insert(Author).values(TWO)) and None)
        assert sorted(names(shelf)) == BOTH

    def test_values_with_keys(self, shelf: Archive) -> None:
        rows = [{"id": at, **one} for at, one in enumerate(TWO, 1)]
        shelf.run(
            lambda session: session.connection().execute(insert(AUTHORS).values(rows)).rowcount
        )
        assert names(shelf) == BOTH

    def test_expressions(self, shelf: Archive) -> None:
        statement = insert(Author).values(name=func.upper("alice"), balance=func.length("abc"))
        shelf.run(lambda session: session.execute(statement) and None)
        assert names(shelf) == [("INSERT", "ALICE")]

    def test_returning(self, shelf: Archive) -> None:
        def work(session: Any) -> Any:
            found = session.scalars(insert(Author).returning(Author), TWO)
            return sorted(one.name for one in found.all())

        assert shelf.run(work) == ["Alice", "Bob"]
        assert sorted(names(shelf)) == BOTH

    def test_returning_of_one(self, shelf: Archive) -> None:
        def work(session: Any) -> Any:
            statement = (
                insert(AUTHORS).values(name="Alice").returning(AUTHORS.c.name, AUTHORS.c.id)
            )
            (row,) = session.execute(statement).all()
            return tuple(row)

        name, made = shelf.run(work)
        assert name == "Alice"
        assert shelf.news()[0][2] == str(made)

    def test_of_a_query(self, shelf: Archive) -> None:
        def work(session: Any) -> int:
            query = select(PAGES.c.words + "?", literal(5)).where(PAGES.c.number < 3)
            statement = insert(AUTHORS).from_select(["name", "balance"], query)
            return session.connection().execute(statement).rowcount

        assert shelf.run(work) == 2
        assert sorted(names(shelf)) == [("INSERT", "w1?"), ("INSERT", "w2?")]

    def test_that_fails(self, shelf: Archive) -> None:
        with shelf.session() as session:
            session.execute(insert(Author), TWO)
            with pytest.raises(IntegrityError), session.begin_nested():
                session.execute(insert(Author), TWO)
            session.execute(insert(Author), {"name": "Carol"})
            session.commit()
        assert sorted(names(shelf)) == [*BOTH, ("INSERT", "Carol")]


def upsert(shelf: Archive, table: Any) -> Any:
    """Return an INSERT of the database's own, as SQLAlchemy has it."""
    own = {"sqlite": sqlite, "postgresql": postgresql, "mariadb": mysql}
    return own[shelf.server].insert(table)


def updating(shelf: Archive, table: Any, keys: list[str], name: str) -> Any:
    statement = upsert(shelf, table)
    if shelf.server == "mariadb":
        return statement.on_duplicate_key_update({name: statement.inserted[name]})
    return statement.on_conflict_do_update(
        index_elements=keys, set_={name: statement.excluded[name]}
    )


class TestUpsert:
    def test_by_the_key(self, shelf: Archive) -> None:
        rows = [{"number": at, "side": "a", "words": "new"} for at in (2, 4)]

        def work(session: Any) -> None:
            session.execute(updating(shelf, PAGES, ["number", "side"], "words"), rows)

        shelf.run(work)
        assert shelf.news() == [
            changed(2, "w2", "new"),
            ("INSERT", "pages", key(4), None, page(4, "new")),
        ]

    def test_by_another_key(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            session.execute(insert(Author), {"name": "Alice"})
            rows = [{"name": "Alice", "balance": 5}, {"name": "Bob", "balance": 6}]
            session.execute(updating(shelf, AUTHORS, ["name"], "balance").values(rows))

        shelf.run(work)
        (_, first, second) = shelf.news()
        assert (first[0], first[3]["balance"], first[4]) == ("UPDATE", 0, {"balance": 5})
        assert (second[0], second[4]["name"], second[4]["balance"]) == ("INSERT", "Bob", 6)

    def test_that_leaves_alone_what_is_there(self, shelf: Archive) -> None:
        rows = [{"number": at, "side": "a", "words": "new"} for at in (2, 4)]
        statement = upsert(shelf, PAGES)
        if shelf.server == "mariadb":
            statement = statement.prefix_with("IGNORE")
        else:
            statement = statement.on_conflict_do_nothing()
        shelf.run(lambda session: session.execute(statement, rows) and None)
        assert shelf.news() == [("INSERT", "pages", key(4), None, page(4, "new"))]

    @on("sqlite")
    def test_that_replaces(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            session.execute(insert(Author), [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}])
            session.execute(insert(Letter), {"id": 7, "author_id": 2, "words": "x"})
            statement = insert(AUTHORS).prefix_with("OR REPLACE")
            session.execute(statement, {"id": 1, "name": "B"})

        shelf.run(work)
        assert sorted((one[0], one[1], one[2]) for one in shelf.news()[3:]) == [
            ("DELETE", "authors", "2"),
            ("DELETE", "letters", "7"),
            ("UPDATE", "authors", "1"),
        ]

    @on("sqlite", "postgresql")
    def test_returning(self, shelf: Archive) -> None:
        def work(session: Any) -> Any:
            statement = updating(shelf, PAGES, ["number", "side"], "words")
            rows = [{"number": at, "side": "a", "words": "new"} for at in (2, 4)]
            return sorted(session.scalars(statement.values(rows).returning(PAGES.c.number)).all())

        assert shelf.run(work) == [2, 4]
        assert [one[0] for one in shelf.news()] == ["UPDATE", "INSERT"]


def refused(shelf: Archive, function: Any, match: str) -> None:
    """See that a statement is refused before it is sent; all else of the unit stands."""
    with shelf.session() as session:
        run = session.run_sync if shelf.database.driver.is_async else (lambda f: f(session))
        session.execute(insert(Tag), {"name": "before"})
        before = shelf.contents(PAGES, AUTHORS)
        with pytest.raises(UnauditedWriteError, match=match):
            run(function)
        session.execute(insert(Tag), {"name": "after"})
        session.commit()
    assert shelf.contents(PAGES, AUTHORS) == before
    assert [one[1] for one in shelf.news()] == ["tags", "tags"]


class TestUnaudited:
    def test_text(self, shelf: Archive) -> None:
        for words in ("DELETE FROM pages", "UPDATE pages SET words = 'x' WHERE number = 1"):
            refused(shelf, lambda s, words=words: s.execute(text(words)), "writes pages")

    def test_what_goes_along_with_a_text(self, shelf: Archive) -> None:
        refused(shelf, lambda s: s.execute(text("DELETE FROM authors")), "authors, letters")

    def test_a_driver_statement(self, shelf: Archive) -> None:
        refused(
            shelf,
            lambda s: s.connection().exec_driver_sql("INSERT INTO pages VALUES (9, 'b', '')"),
            "INSERT INTO pages",
        )

    def test_a_cursor(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            with session.cursor():
                pass

        refused(shelf, work, "a statement of the driver")

    def test_a_function_that_may_write(self, shelf: Archive) -> None:
        refused(shelf, lambda s: s.execute(select(func.whatever(1))), "whatever")
        refused(shelf, lambda s: s.execute(text("SELECT whatever(1)")), "whatever")

    def test_the_key_by_an_expression(self, shelf: Archive) -> None:
        refused(
            shelf,
            lambda s: s.execute(update(PAGES).values(number=PAGES.c.number + 10)),
            "primary key by an expression",
        )

    def test_a_table_of_another_metadata(self, shelf: Archive) -> None:
        other = Table("pages", MetaData(), *(one._copy() for one in PAGES.columns))
        refused(
            shelf, lambda s: s.execute(delete(other), bind_arguments={"mapper": Page}), "pages"
        )
        light = table("pages", column("words"))
        refused(
            shelf,
            lambda s: s.execute(update(light).values(words="x"), bind_arguments={"mapper": Page}),
            "pages",
        )

    @on("postgresql")
    def test_in_a_with_clause(self, shelf: Archive) -> None:
        gone = delete(PAGES).returning(PAGES.c.number).cte("gone")
        refused(shelf, lambda s: s.execute(select(gone.c.number)), "pages")
        moved = insert(AUTHORS).from_select(["balance"], select(gone.c.number))
        refused(shelf, lambda s: s.execute(moved), "WITH clause")

    @on("postgresql", "mariadb")
    def test_truncate(self, shelf: Archive) -> None:
        refused(shelf, lambda s: s.execute(text("TRUNCATE pages")), "TRUNCATE")

    @on("mariadb")
    def test_several_tables(self, shelf: Archive) -> None:
        statement = (
            update(PAGES)
            .where(PAGES.c.number == TAGS.c.id)
            .values({PAGES.c.words: "x", TAGS.c.name: "y"})
        )
        refused(shelf, lambda s: s.execute(statement), "several tables")

    def test_returning_without_the_key(self, shelf: Archive) -> None:
        statement = insert(AUTHORS).values([{"name": "A"}, {"name": "B"}])
        refused(
            shelf,
            lambda s: s.execute(statement.returning(AUTHORS.c.name)),
            "does not return the primary key",
        )

    def test_autocommit(self, shelf: Archive) -> None:
        with shelf.session() as session:
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            with pytest.raises(UnauditedWriteError, match="AUTOCOMMIT"):
                session.execute(update(Page).values(words="x"))
        assert shelf.contents(PAGES)["pages"][key(1)] == page(1, "w1")

    def test_a_warning_and_no_more(self, db: Database, engine: Any) -> None:
        shelf = Archive(db, engine, on_unaudited="warn")
        with shelf.session() as session:
            session.execute(insert(Page), {"number": 1, "side": "a", "words": ""})
            with pytest.warns(UnauditedWriteWarning, match="UPDATE pages SET"):
                session.execute(text("UPDATE pages SET words = 'x'"))
            with pytest.warns(UnauditedWriteWarning, match="by an expression"):
                session.execute(update(Page).values(number=Page.number + 1))
            session.commit()
        assert [one[0] for one in shelf.news()] == ["INSERT"]
        assert shelf.contents(PAGES)["pages"] == {key(2): page(2, "x")}

    def test_what_is_not_audited(self, db: Database, engine: Any) -> None:
        shelf = Archive(db, engine, tables=[Author])
        with shelf.session() as session:
            session.execute(text("UPDATE pages SET words = 'x'"))
            session.execute(insert(Tag), {"name": "x"})
            session.add(Country(code="de", name="Germany"))
            session.execute(select(func.count(Page.words)))
            session.execute(text("SELECT count(*) FROM pages"))
            session.commit()
        assert shelf.news() == []
        assert shelf.transactions() == []


def test_of_the_audit_itself(shelf: Archive) -> None:
    """What retention deletes is no change of what is audited."""

    def work(session: Any) -> None:
        session.execute(insert(Tag), {"name": "x"})
        session.execute(delete(LOG).where(LOG.c.table == "tags"))

    shelf.run(work)
    assert shelf.news() == []


def test_many_values_that_are_computed(shelf: Archive) -> None:
    def work(session: Any) -> None:
        session.execute(
            update(Page).values(words=case((Page.number == 1, "one"), else_=Page.words))
        )

    shelf.run(work)
    assert shelf.news() == [changed(1, "w1", "one")]


def test_an_audit_of_another_metadata(db: Database, engine: Any) -> None:
    """Statements on tables that are not of the audit's metadata pass, whatever they are."""
    shelf = Archive(db, engine)
    shelf.audit = Audit(MetaData(), capture="session")

    def work(session: Any) -> None:
        session.add(Author(name="A", books=[Book(title="One")]))
        session.flush()
        session.execute(text("DELETE FROM books"))

    shelf.run(work)
    assert shelf.news() == []
    assert Base.metadata.tables
