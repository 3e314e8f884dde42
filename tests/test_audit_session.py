"""Technique 2, capture by the session: what flushes write."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    FetchedValue,
    ForeignKey,
    Integer,
    MetaData,
    String,
    event,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from sessionwise import AuditError, TransactionDoomedError, UnauditedWriteError
from sessionwise.audit import Audit, actor
from sessionwise.audit.tables import LOG, METADATA, SALT
from tests.archive import (
    EDGES,
    NOTHING,
    PLENTY,
    Account,
    Author,
    Book,
    Country,
    Dog,
    Letter,
    Page,
    Sample,
    Tag,
)
from tests.backends import Database, on
from tests.recorded import Archive, archive

AUTHORS = Author.__table__


@pytest.fixture(scope="module")
def engine(database: Database) -> Iterator[Any]:
    with archive(database) as engine:
        yield engine


@pytest.fixture
def shelf(db: Database, engine: Any) -> Archive:
    return Archive(db, engine)


def author(key: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": key, "name": name, "balance": 0, "note": None, **more}


class TestFlush:
    def test_insert_update_delete(self, shelf: Archive) -> None:
        shelf.run(lambda session: session.add(Author(name="Alice")))
        ((_, _, key, _, row),) = news = shelf.news()
        assert news == [("INSERT", "authors", key, None, author(int(key), "Alice"))]

        def rename(session: Any) -> None:
            session.get(Author, int(key)).name = "Alicia"

        shelf.run(rename)
        assert shelf.news() == [("UPDATE", "authors", key, row, {"name": "Alicia"})]
        shelf.run(lambda session: session.delete(session.get(Author, int(key))))
        assert shelf.news() == [("DELETE", "authors", key, row | {"name": "Alicia"}, None)]

    def test_nothing_that_does_not_change(self, shelf: Archive) -> None:
        with shelf.session() as session:
            session.add(Country(code="de", name="Germany"))
            session.commit()
            shelf.news()
            country = session.get(Country, "de")
            country.name = "France"
            country.name = "Germany"
            session.commit()
        assert shelf.news() == []

    def test_what_was_never_loaded(self, shelf: Archive) -> None:
        with shelf.session() as session:
            session.add(Page(number=1, side="a", words="old"))
            session.commit()
            shelf.news()
            session.merge(Page(number=1, side="a", words="new"))
            session.commit()
            page = {"number": 1, "side": "a", "words": "old"}
            assert shelf.news() == [("UPDATE", "pages", '[1, "a"]', page, {"words": "new"})]

    def test_what_others_have_changed(self, shelf: Archive) -> None:
        """The row before is the stored one, and not what the session has once loaded."""
        with shelf.session() as session:
            session.add(Country(code="de", name="Germany"))
            session.commit()
            shelf.news()
            country = session.get(Country, "de")
            session.expire_on_commit = False
            session.commit()
            with shelf.database.observer.begin() as connection:
                connection.execute(update(Country).values(name="Allemagne"))
            country.name = "Deutschland"
            session.commit()
        row = {"code": "de", "name": "Allemagne"}
        assert shelf.news() == [("UPDATE", "countries", "de", row, {"name": "Deutschland"})]

    def test_expressions(self, shelf: Archive) -> None:
        def make(session: Any) -> None:
            session.add(Author(id=1, name=func.upper("alice"), balance=func.length("four")))

        shelf.run(make)
        row = author(1, "ALICE", balance=4)
        assert shelf.news() == [("INSERT", "authors", "1", None, row)]

        def add(session: Any) -> None:
            session.get(Author, 1).balance = Author.balance + 1

        shelf.run(add)
        assert shelf.news() == [("UPDATE", "authors", "1", row, {"balance": 5})]

    def test_the_key_changes(self, shelf: Archive) -> None:
        with shelf.session() as session:
            session.add(Country(code="de", name="Germany"))
            session.commit()
            session.get(Country, "de").code = "dd"
            session.commit()
        change = shelf.log()[-1]
        assert (change.object_id, change.previous_id) == ("dd", "de")
        assert shelf.news()[1:] == [
            ("UPDATE", "countries", "dd", {"code": "de", "name": "Germany"}, {"code": "dd"})
        ]

    def test_joined_inheritance(self, shelf: Archive) -> None:
        shelf.run(lambda session: session.add(Dog(name="Rex", tricks=1)))
        animal, dog = shelf.news()
        key = animal[4]["id"]
        base, own = {"id": key, "kind": "dog", "name": "Rex"}, {"id": key, "tricks": 1}
        assert animal == ("INSERT", "animals", str(key), None, base)
        assert dog == ("INSERT", "dogs", str(key), None, own)

        def teach(session: Any) -> None:
            session.get(Dog, key).tricks = 2

        shelf.run(teach)
        assert shelf.news() == [("UPDATE", "dogs", str(key), own, {"tricks": 2})]
        shelf.run(lambda session: session.delete(session.get(Dog, key)))
        assert shelf.news() == [
            ("DELETE", "dogs", str(key), own | {"tricks": 2}, None),
            ("DELETE", "animals", str(key), base, None),
        ]

    def test_links(self, shelf: Archive) -> None:
        def link(session: Any) -> None:
            book = Book(title="One", author=Author(name="A"), tags=[Tag(name="x"), Tag(name="y")])
            session.add(book)
            session.flush()
            del book.tags[0]

        shelf.run(link)
        changes = [one for one in shelf.news() if one[1] == "book_tags"]
        row = changes[0][4]
        assert changes == [
            ("LINK", "book_tags", f"[{row['book_id']}, {row['tag_id']}]", None, row),
            ("LINK", "book_tags", changes[1][2], None, changes[1][4]),
            ("UNLINK", "book_tags", changes[0][2], row, None),
        ]

    def test_what_goes_along(self, shelf: Archive) -> None:
        """Books go by the ORM, letters by ON DELETE CASCADE, their readers by SET NULL."""
        with shelf.session() as session:
            alice, bob = Author(id=1, name="Alice"), Author(id=2, name="Bob")
            session.add_all([alice, bob, Book(id=5, title="One", author=alice)])
            session.flush()
            session.add(Letter(id=7, author_id=1, words="by Alice"))
            session.add(Letter(id=8, author_id=2, reader_id=1, words="to Alice"))
            session.commit()
            shelf.news()
            session.delete(alice)
            session.commit()
        by = {"id": 7, "author_id": 1, "reader_id": None, "words": "by Alice"}
        to = {"id": 8, "author_id": 2, "reader_id": 1, "words": "to Alice"}
        assert sorted(shelf.news(), key=str) == sorted(
            [
                ("DELETE", "authors", "1", author(1, "Alice"), None),
                ("DELETE", "books", "5", {"id": 5, "author_id": 1, "title": "One"}, None),
                ("DELETE", "letters", "7", by, None),
                ("UPDATE", "letters", "8", to, {"reader_id": None}),
            ],
            key=str,
        )

    def test_excluded_and_redacted(self, shelf: Archive) -> None:
        with shelf.session() as session:
            account = Account(id=1, login="alice", password="secret", email="a@example.org")
            session.add(account)
            session.commit()
            account.password = "another"
            session.commit()
            account.email = None
            session.commit()
            account.email = "b@example.org"
            session.commit()
        with shelf.database.observer.connect() as connection:
            (salt,) = connection.scalars(select(SALT.c.salt))
        assert len(salt) == 32

        def digest(value: str) -> dict[str, str]:
            return {"sha256": hashlib.sha256(bytes(salt) + value.encode()).hexdigest()}

        first = {"id": 1, "login": "alice", "email": digest("a@example.org")}
        assert shelf.news() == [
            ("INSERT", "accounts", "1", None, first),
            ("UPDATE", "accounts", "1", first, {"email": None}),
            (
                "UPDATE",
                "accounts",
                "1",
                first | {"email": None},
                {"email": digest("b@example.org")},
            ),
        ]

    def test_redacted_where_the_key_changes(self, shelf: Archive) -> None:
        """Each row has the salt of its own key, so that erasing that is enough."""
        with shelf.session() as session:
            account = Account(id=1, login="alice", password="secret", email="a@example.org")
            session.add(account)
            session.commit()
            session.refresh(account)  # what is expired cannot be loaded under asyncio
            account.id, account.email = 2, "b@example.org"
            session.commit()
        with shelf.database.observer.connect() as connection:
            query = select(SALT.c.object_id, SALT.c.salt)
            salts = {key: bytes(salt) for key, salt in connection.execute(query)}

        def digest(key: str, value: str) -> dict[str, str]:
            return {"sha256": hashlib.sha256(salts[key] + value.encode()).hexdigest()}

        first = {"id": 1, "login": "alice", "email": digest("1", "a@example.org")}
        assert shelf.news() == [
            ("INSERT", "accounts", "1", None, first),
            ("UPDATE", "accounts", "2", first, {"id": 2, "email": digest("2", "b@example.org")}),
        ]

    @pytest.mark.parametrize("values", [PLENTY, EDGES, NOTHING], ids=["plenty", "edges", "null"])
    def test_types(self, shelf: Archive, values: dict[str, Any]) -> None:
        if shelf.database.driver.name == "aiomysql":
            values = values | {"raw": None}  # this driver does not take bytes
        shelf.run(lambda session: session.add(Sample(id=1, **values)))
        ((_, _, _, _, row),) = shelf.news()
        if row["real"] is not None:
            row["real"] = float(row["real"])  # JSONB has all digits of large ones
        assert row == {"id": 1, **forms(values, shelf.server)}

    def test_the_row_of_the_transaction(self, shelf: Archive) -> None:
        def work(session: Any) -> None:
            with actor("alice", reason="why", request_id="r1", ticket=42):
                session.add(Country(code="de", name="Germany"))
                session.flush()
                session.add(Country(code="fr", name="France"))
                session.flush()
            with actor("bob"):
                session.add(Country(code="it", name="Italy"))
                session.flush()

        shelf.run(work)
        first, second = shelf.transactions()
        assert (first.actor, first.reason, first.request_id) == ("alice", "why", "r1")
        assert (second.actor, second.reason) == ("bob", None)
        assert (first.native_id is not None) == (shelf.server == "postgresql")
        assert [one.transaction_id for one in shelf.log()] == [first.id, first.id, second.id]
        assert len({one.schema_version for one in shelf.log()}) == 1

    def test_reading_leaves_nothing(self, shelf: Archive) -> None:
        with shelf.session() as session:
            assert session.scalars(select(Author)).all() == []
            session.commit()
        assert shelf.transactions() == []


def forms(values: dict[str, Any], server: str) -> dict[str, Any]:
    """Return the form of each value, as it is decided."""

    def form(name: str, make: Any) -> Any:
        return None if values[name] is None else make(values[name])

    def moment(value: datetime) -> str:
        if server == "postgresql":
            return value.isoformat()
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")

    def span(value: timedelta) -> str:
        if server == "postgresql":
            return f"{value.total_seconds():.6f}"
        if server == "mariadb":  # SQLAlchemy makes a DATETIME of it that has whole seconds
            value -= timedelta(microseconds=value.microseconds)
        return moment(datetime(1970, 1, 1) + value)

    def price(value: Decimal) -> str:
        # SQLite has no decimal numbers: SQLAlchemy stores a float.
        return f"{Decimal(repr(float(value))) if server == 'sqlite' else value:.6f}"

    return values | {
        "price": form("price", price),
        "raw": form("raw", bytes.hex),
        "day": form("day", date.isoformat),
        "at": form("at", moment),
        "zoned": form("zoned", moment),
        "hour": form("hour", lambda one: one.isoformat(HOURS[server])),
        "span": form("span", span),
        "key": form("key", lambda one: one.hex if server == "sqlite" else str(one)),
        "colour": form("colour", lambda one: one.name),
        "shout": form("shout", str.upper),
    }


HOURS = {"sqlite": "microseconds", "postgresql": "auto", "mariadb": "auto"}


class TestStatements:
    """How much a flush costs: the SELECTs are of 500 rows, and the audit's INSERT is one."""

    def test_new_objects(self, shelf: Archive) -> None:
        shelf.run(lambda session: session.add(Tag(name="warm")))
        with shelf.session() as session:
            session.add_all([Tag(name=str(at)) for at in range(600)])
            with shelf.statements() as plain:
                session.commit()
        extra = [one for one in plain if "INTO tags" not in one]
        looked = [one for one in extra if "audit" not in one or "SELECT" in one]
        assert len([one for one in extra if "INTO audit_log" in one]) == in_parts(shelf, 600)
        assert len([one for one in extra if "INTO audit_transaction" in one]) == 1
        assert all("tags AS" not in one and "FROM tags" not in one for one in looked)

    def test_changed_and_deleted_objects(self, shelf: Archive) -> None:
        shelf.run(lambda session: session.add_all([Tag(name=str(at)) for at in range(600)]))
        with shelf.session() as session:
            tags = session.scalars(select(Tag)).all()
            for tag in tags:
                tag.name += "!"
            with shelf.statements() as changing:
                session.flush()
            for tag in tags:
                session.delete(tag)
            with shelf.statements() as deleting:
                session.flush()
            session.commit()
        for sent in (changing, deleting):
            assert len([one for one in sent if one.startswith("SELECT tags")]) == 2
            assert len([one for one in sent if "INTO audit_log" in one]) == in_parts(shelf, 600)
        assert len([one for one in changing if "INTO audit_transaction" in one]) == 1
        assert len([one for one in deleting if "INTO audit_transaction" in one]) == 0

    def test_one_object(self, shelf: Archive) -> None:
        shelf.run(lambda session: session.add(Country(code="de", name="Germany")))
        with shelf.session() as session:
            session.get(Country, "de").name = "x"
            session.flush()
            session.get(Country, "de").name = "y"
            with shelf.statements() as sent:
                session.flush()
            # SQLAlchemy's event tells of the UPDATE first: it is sent after the SELECT.
            assert [one.split()[0] for one in sent] == ["UPDATE", "SELECT", "INSERT"]
            session.rollback()


def in_parts(shelf: Archive, rows: int) -> int:
    """Return in how many statements the driver sends an executemany."""
    return -(-rows // 1_000) if shelf.database.driver.name == "psycopg2" else 1


class TestTransactions:
    def test_rolled_back(self, shelf: Archive) -> None:
        with shelf.session() as session:
            session.add(Country(code="de", name="Germany"))
            session.flush()
            session.rollback()
        assert shelf.news() == []
        assert shelf.transactions() == []

    def test_savepoints(self, shelf: Archive) -> None:
        with shelf.session() as session:
            with session.begin_nested() as inner:
                session.add(Country(code="de", name="Germany"))
                session.flush()
                inner.rollback()
            session.add(Country(code="fr", name="France"))
            with session.begin_nested():
                session.add(Country(code="it", name="Italy"))
            session.add(Country(code="es", name="Spain"))
            session.commit()
        assert [one[2] for one in shelf.news()] == ["fr", "it", "es"]
        (row,) = shelf.transactions()
        assert {one.transaction_id for one in shelf.log()} == {row.id}

    def test_a_savepoint_in_which_the_row_of_the_transaction_was_made(
        self, shelf: Archive
    ) -> None:
        with shelf.session() as session:
            with session.begin_nested() as inner:
                session.add(Country(code="de", name="Germany"))
                session.flush()
                inner.rollback()
            session.add(Country(code="fr", name="France"))
            session.commit()
        assert [one[2] for one in shelf.news()] == ["fr"]
        assert [one.transaction_id for one in shelf.log()] == [
            one.id for one in shelf.transactions()
        ]

    def test_a_flush_that_fails(self, shelf: Archive) -> None:
        with shelf.session() as session:
            session.add(Author(name="Alice"))
            session.commit()
            shelf.news()
            with pytest.raises(IntegrityError), session.begin_nested():
                session.add_all([Tag(name="x"), Author(name="Alice")])
                session.flush()
            session.add(Tag(name="y"))
            session.commit()
        assert [(one[0], one[4]["name"]) for one in shelf.news()] == [("INSERT", "y")]

    def test_no_tables(self, db: Database, shelf: Archive) -> None:
        audit = Audit(Archive(db, shelf.engine).audit.coverage.metadata, capture="session")
        engine = db.new_engine()
        LOG.drop(db.observer)
        try:
            with db.session(engine, audit=audit) as session:
                session.add(Country(code="de", name="Germany"))
                with pytest.raises(AuditError, match=r"audit\.install"):
                    session.flush()
        finally:
            METADATA.create_all(db.observer)
            db.dispose(engine)
        assert shelf.contents(Country.__table__) == {"countries": {}}

    def test_what_cannot_be_recorded_is_not_stored(self, shelf: Archive) -> None:
        """The audit's table is gone in the middle of the transaction, and the error is caught."""
        sync = getattr(shelf.engine, "sync_engine", shelf.engine)

        def fail(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if "INTO audit_log" in statement:
                raise RuntimeError("disk full")

        with shelf.session() as session:
            session.add(Country(code="de", name="Germany"))
            session.flush()
            event.listen(sync, "before_cursor_execute", fail)
            try:
                with pytest.raises(RuntimeError):
                    session.execute(update(Country).values(name="x"))
            finally:
                event.remove(sync, "before_cursor_execute", fail)
            with pytest.raises(TransactionDoomedError):
                session.commit()
            session.rollback()
        assert shelf.contents(Country.__table__) == {"countries": {}}

    def test_autocommit(self, shelf: Archive) -> None:
        with shelf.session() as session:
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            session.add(Country(code="de", name="Germany"))
            with pytest.raises(UnauditedWriteError, match="AUTOCOMMIT"):
                session.flush()
        assert shelf.contents(Country.__table__) == {"countries": {}}


class TestListeners:
    def test_change_what_is_flushed(self, shelf: Archive) -> None:
        def shout(_mapper: Any, _connection: Any, country: Country) -> None:
            country.name = country.name.upper()

        event.listen(Country, "before_insert", shout)
        event.listen(Country, "before_update", shout)
        try:
            with shelf.session() as session:
                country = Country(code="de", name="Germany")
                session.add(country)
                session.flush()
                country.name = "Deutschland"
                session.commit()
        finally:
            event.remove(Country, "before_insert", shout)
            event.remove(Country, "before_update", shout)
        row = {"code": "de", "name": "GERMANY"}
        assert shelf.news() == [
            ("INSERT", "countries", "de", None, row),
            ("UPDATE", "countries", "de", row, {"name": "DEUTSCHLAND"}),
        ]

    def test_send_statements_of_their_own(self, shelf: Archive) -> None:
        """They may change the rows that the flush writes, before it does and after."""

        def note(_mapper: Any, connection: Any, target: Author) -> None:
            connection.execute(
                update(Author.__table__).where(Author.id == target.id).values(note="seen")
            )

        shelf.run(lambda session: session.add(Author(id=1, name="Alice")))
        shelf.news()
        event.listen(Author, "before_update", note)
        event.listen(Author, "after_update", note)
        try:
            with shelf.session() as session:
                session.get(Author, 1).note = "mine"
                session.commit()
        finally:
            event.remove(Author, "before_update", note)
            event.remove(Author, "after_update", note)
        assert shelf.news() == [
            ("UPDATE", "authors", "1", author(1, "Alice"), {"note": "seen"}),
            ("UPDATE", "authors", "1", author(1, "Alice", note="seen"), {"note": "mine"}),
            ("UPDATE", "authors", "1", author(1, "Alice", note="mine"), {"note": "seen"}),
        ]

    @on("sqlite", "postgresql")
    def test_in_a_savepoint_of_their_own(self, shelf: Archive) -> None:
        """What the flush has written before would be undone with it, in the audit only."""

        def note(_mapper: Any, connection: Any, _target: Author) -> None:
            with connection.begin_nested():
                connection.execute(insert(Tag.__table__), {"name": "x"})

        event.listen(Author, "after_insert", note)
        try:
            with shelf.session() as session:
                session.add(Author(name="Alice"))
                with pytest.raises(AuditError, match="savepoint"):
                    session.flush()
                session.rollback()
        finally:
            event.remove(Author, "after_insert", note)
        assert shelf.news() == []
        assert shelf.contents(AUTHORS) == {"authors": {}}


class Base(DeclarativeBase):
    metadata = MetaData()


class Node(Base):
    """Refers to its own kind by ``post_update``, counts versions, and has what servers make."""

    __tablename__ = "audited_nodes"

    id = mapped_column(Integer, primary_key=True)
    version = mapped_column(Integer, nullable=False)
    next_id: Mapped[int | None] = mapped_column(ForeignKey("audited_nodes.id"))
    made = mapped_column(String(20), server_default="made")
    doubled = mapped_column(Integer, server_default=FetchedValue(), server_onupdate=FetchedValue())
    following: Mapped[Node | None] = relationship(remote_side="Node.id", post_update=True)

    __mapper_args__ = {"version_id_col": version}


class Part(Base):
    """Its key is partly that of what it belongs to, and changes with it."""

    __tablename__ = "audited_parts"

    code = Column(
        ForeignKey("audited_wholes.code", ondelete="CASCADE", onupdate="CASCADE"),
        primary_key=True,
        type_=String(10),
    )
    number = Column(Integer, primary_key=True, autoincrement=False)


class Piece(Base):
    """Not audited; what belongs to it is."""

    __tablename__ = "audited_wholes"

    code = Column(String(10), primary_key=True)
    parts: Mapped[list[Part]] = relationship(passive_deletes=True, passive_updates=True)


@pytest.fixture(scope="module")
def parts_engine(database: Database) -> Iterator[Any]:
    with archive(database):
        Base.metadata.drop_all(database.observer)
        Base.metadata.create_all(database.observer)
        engine = database.new_engine()
        sync = getattr(engine, "sync_engine", engine)
        if sync.dialect.name == "sqlite":
            event.listen(sync, "connect", lambda c, _: c.execute("PRAGMA foreign_keys = ON"))
        yield engine
        database.dispose(engine)
        Base.metadata.drop_all(database.observer)


@pytest.fixture
def parts(db: Database, parts_engine: Any) -> Archive:
    found = Archive(db, parts_engine)
    found.audit = Audit(Base.metadata, capture="session", exclude=[Piece])
    with db.observer.begin() as connection:
        connection.execute(update(Node.__table__).values(next_id=None))
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    return found


class TestMapping:
    def test_post_update_and_versions(self, parts: Archive) -> None:
        def make(session: Any) -> None:
            one, two = Node(id=1), Node(id=2)
            one.following, two.following = two, one
            session.add_all([one, two])

        parts.run(make)
        news = parts.news()
        assert [(one[0], one[2], one[4]["next_id"]) for one in news] == [
            ("INSERT", "1", 2),
            ("INSERT", "2", 1),
        ]
        assert all(one[4]["made"] == "made" and one[4]["version"] >= 1 for one in news)

        def change(session: Any) -> int:
            one = session.get(Node, 1)
            one.made = "again"
            session.flush()
            return one.version

        version = parts.run(change)
        ((action, _, _, old, new),) = parts.news()
        assert (action, new) == ("UPDATE", {"made": "again", "version": version})
        assert old["made"] == "made"

    def test_keys_change_along(self, parts: Archive) -> None:
        def make(session: Any) -> None:
            session.add(Piece(code="a", parts=[Part(number=1), Part(number=2)]))

        parts.run(make)
        parts.news()

        def change(session: Any) -> None:
            session.get(Piece, "a").code = "b"

        parts.run(change)
        assert [(one.object_id, one.previous_id) for one in parts.log()[2:]] == [
            ('["b", 1]', '["a", 1]'),
            ('["b", 2]', '["a", 2]'),
        ]
        parts.news()

        def delete(session: Any) -> None:
            session.delete(session.get(Piece, "b"))

        parts.run(delete)
        assert [(one[0], one[2]) for one in parts.news()] == [
            ("DELETE", '["b", 1]'),
            ("DELETE", '["b", 2]'),
        ]


class TestBesideTriggers:
    """Some tables have triggers, and the session records the others, into the same transaction."""

    @pytest.fixture
    def mixed(self, db: Database, shelf: Archive) -> Iterator[Archive]:
        by_triggers = Audit(shelf.audit.coverage.metadata, tables=[Author])
        by_triggers.install(db.observer)
        shelf.audit = Audit(shelf.audit.coverage.metadata, capture="auto")
        yield shelf
        by_triggers.uninstall(db.observer)

    def test_once_each(self, mixed: Archive) -> None:
        def work(session: Any) -> None:
            with actor("alice"):
                session.add_all([Country(code="de", name="x"), Author(id=1, name="A")])
                session.flush()
                session.execute(update(Author).values(name="B"))
                session.execute(update(Country).values(name="y"))

        mixed.run(work)
        assert sorted((one[0], one[1]) for one in mixed.news()) == [
            ("INSERT", "authors"),
            ("INSERT", "countries"),
            ("UPDATE", "authors"),
            ("UPDATE", "countries"),
        ]
        (row,) = mixed.transactions()
        assert row.actor == "alice"
        assert {one.transaction_id for one in mixed.log()} == {row.id}

    def test_the_session_comes_first_and_a_savepoint_is_undone(self, mixed: Archive) -> None:
        def work(session: Any) -> None:
            with session.begin_nested() as inner:
                session.add(Country(code="de", name="x"))
                session.flush()
                inner.rollback()
            session.execute(insert(Author), {"id": 1, "name": "A"})
            session.add(Country(code="fr", name="x"))

        mixed.run(work)
        assert [(one[0], one[1]) for one in mixed.news()] == [
            ("INSERT", "authors"),
            ("INSERT", "countries"),
        ]
        (row,) = mixed.transactions()
        assert {one.transaction_id for one in mixed.log()} == {row.id}

    def test_text_is_refused_for_what_the_session_records(self, mixed: Archive) -> None:
        with mixed.session() as session:
            session.execute(text("INSERT INTO authors (id, name, balance) VALUES (1, 'A', 0)"))
            with pytest.raises(UnauditedWriteError, match="countries"):
                session.execute(text("INSERT INTO countries VALUES ('de', 'x')"))
            session.commit()
        assert [(one[0], one[1]) for one in mixed.news()] == [("INSERT", "authors")]

    @on("mariadb")
    def test_truncate_which_triggers_do_not_see(self, mixed: Archive) -> None:
        with mixed.session() as session:
            with pytest.raises(UnauditedWriteError, match="TRUNCATE"):
                session.execute(text("TRUNCATE TABLE authors"))

    def test_triggers_that_somebody_else_makes(self, db: Database, shelf: Archive) -> None:
        """They are looked for once in each transaction that writes: nothing is recorded twice."""
        shelf.audit = Audit(shelf.audit.coverage.metadata, capture="auto")
        shelf.run(lambda session: session.add(Author(id=1, name="A")))
        others = Audit(shelf.audit.coverage.metadata, tables=[Author])
        others.install(db.observer)
        try:
            shelf.run(lambda session: session.add(Author(id=2, name="B")))
        finally:
            others.uninstall(db.observer)
        assert [(one[0], one[2]) for one in shelf.news()] == [("INSERT", "1"), ("INSERT", "2")]


@on("sqlite3")
def test_several_databases(db: Database, tmp_path: Any) -> None:
    """What is recorded of a change is in the database of the change."""
    from sqlalchemy import create_engine

    from sessionwise import Session
    from tests.archive import Base as Archived

    engines = [create_engine(f"sqlite:///{tmp_path / name}") for name in ("one.db", "two.db")]
    for engine in engines:
        Archived.metadata.create_all(engine)
        METADATA.create_all(engine)
    audit = Audit(Archived.metadata, capture="session")
    one, two = engines
    with Session(binds={Country: one, Tag: two}, audit=audit) as session:
        session.add_all([Country(code="de", name="Germany"), Tag(name="x")])
        session.flush()
        session.execute(insert(Tag), [{"name": "y"}])
        session.commit()
    for engine, tables in zip(engines, (["countries"], ["tags", "tags"]), strict=True):
        with engine.connect() as connection:
            assert list(connection.scalars(select(LOG.c.table))) == tables
        engine.dispose()


@on("sqlite3")
def test_the_transaction_begins_before_rows_are_read(shelf: Archive) -> None:
    """SQLite: else somebody else could change them between the SELECT and the UPDATE."""
    shelf.run(lambda session: session.add(Country(code="de", name="Germany")))
    with shelf.session() as session:
        country = session.get(Country, "de")
        country.name = "x"
        with shelf.statements() as sent:
            session.flush()
        reads = [at for at, one in enumerate(sent) if one.startswith("SELECT countries")]
        assert sent.index("BEGIN IMMEDIATE") < reads[0]
        session.commit()


def test_a_session_without_an_audit_is_not_recorded(db: Database, shelf: Archive) -> None:
    with db.session(shelf.engine) as session:
        session.add(Country(code="de", name="Germany"))
        session.execute(text("UPDATE countries SET name = 'x'"))
        session.commit()
    assert shelf.news() == []
    assert inspect(Country).mapper is not None
