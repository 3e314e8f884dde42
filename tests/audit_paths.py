"""Every road by which a row may be changed, and what the audit is to record of it.

``python -m tests.audit_paths`` prints the table of the documentation.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Connection

from tests.archive import (
    Animal,
    Author,
    Base,
    Book,
    Country,
    Dog,
    Letter,
    Page,
    Tag,
    book_tags,
)

SERVERS = ("sqlite", "postgresql", "mariadb")
CAPTURES = ("trigger", "session")


@dataclass(frozen=True)
class Record:
    """A row of ``audit_log``, without what tells when."""

    action: str
    table: str
    object_id: str
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None
    previous_id: str | None = None


@dataclass(frozen=True)
class Path:
    """A road by which rows are changed."""

    name: str
    run: Callable[[Any, Any], object]
    """Takes the database of the tests, and a session without ``await``."""
    records: Sequence[Record]
    servers: Sequence[str] = SERVERS
    refused: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """On which servers it is refused, by who captures."""

    def is_refused(self, capture: str, server: str) -> bool:
        return server in self.refused.get(capture, ())


PATHS: list[Path] = []
BY_SESSION = {"session": SERVERS}
"""What the session cannot see, and triggers can."""


def path(name: str, *records: Record, **how: Any) -> Callable[[Any], Any]:
    def add(run: Any) -> Any:
        PATHS.append(Path(name, run, records, **how))
        return run

    return add


def fill(connection: Connection) -> None:
    """Empty the tables, and put the rows in that the paths change."""
    for table in reversed(Base.metadata.sorted_tables):
        connection.execute(delete(table))
    connection.execute(insert(Author), [ANN, BOB, CID])
    connection.execute(insert(Tag), [{"id": 1, "name": "new"}, {"id": 2, "name": "old"}])
    connection.execute(insert(Book), [BOOK, {**BOOK, "id": 2, "title": "Two"}])
    connection.execute(insert(book_tags), [LINK])
    connection.execute(insert(Letter), [LETTER])
    connection.execute(insert(Page), [PAGE])
    connection.execute(insert(Country), [COUNTRY])
    connection.execute(insert(Animal.__table__), [ANIMAL])
    connection.execute(insert(Dog.__table__), [DOG])


def in_sync(db: Any, session: Any, run: Callable[[Any], Any]) -> Any:
    """Call what an async session has no verb for."""
    return session.run_sync(run) if db.driver.is_async else run(session)


def author(id_: int, name: str, balance: int, note: str | None = None) -> dict[str, Any]:
    return {"id": id_, "name": name, "balance": balance, "note": note}


ANN, BOB, CID = author(1, "Ann", 10), author(2, "Bob", 20), author(3, "Cid", 30)
DAN, EVE = author(900, "Dan", 40), author(901, "Eve", 50, "é")
BOOK = {"id": 1, "author_id": 1, "title": "One"}
LINK = {"book_id": 1, "tag_id": 1}
LETTER = {"id": 1, "author_id": 2, "reader_id": 3, "words": "Dear"}
PAGE = {"number": 1, "side": "a", "words": "Once"}
COUNTRY = {"code": "de", "name": "Germany"}
ANIMAL, DOG = {"id": 1, "kind": "dog", "name": "Rex"}, {"id": 1, "tricks": 3}


def added(row: Mapping[str, Any], table: str = "authors") -> Record:
    return Record("INSERT", table, str(row["id"]), None, row)


def changed(row: Mapping[str, Any], table: str = "authors", **new: Any) -> Record:
    return Record("UPDATE", table, str(row["id"]), row, new)


def gone(row: Mapping[str, Any], table: str = "authors") -> Record:
    return Record("DELETE", table, str(row["id"]), row)


# By objects


@path("an object is added", added(DAN))
def _(db: Any, session: Any) -> None:
    session.add(Author(**DAN))


@path("an object is changed", changed(ANN, balance=11))
def _(db: Any, session: Any) -> None:
    session.get(Author, 1).balance = 11


@path("an attribute is set to what it was")
def _(db: Any, session: Any) -> None:
    session.get(Author, 1).balance = 10
    session.execute(update(Author).where(Author.id == 2).values(balance=20))


@path("an attribute that is expired is set", changed(ANN, balance=11))
def _(db: Any, session: Any) -> None:
    ann = session.get(Author, 1)
    session.expire(ann)
    ann.balance = 11


@path("an attribute is set to an SQL expression", changed(ANN, balance=15))
def _(db: Any, session: Any) -> None:
    session.get(Author, 1).balance = Author.balance + 5


@path(
    "an object is changed, flushed, and changed again",
    changed(ANN, balance=11),
    changed({**ANN, "balance": 11}, note="twice"),
)
def _(db: Any, session: Any) -> None:
    ann = session.get(Author, 1)
    ann.balance = 11
    session.flush()
    ann.note = "twice"


@path(
    "an object is deleted; the database sets a foreign key to NULL",
    gone(CID),
    changed(LETTER, "letters", reader_id=None),
)
def _(db: Any, session: Any) -> None:
    session.delete(session.get(Author, 3))


@path(
    "an object is deleted, and others with it by the ORM",
    gone(ANN),
    gone(BOOK, "books"),
    gone({**BOOK, "id": 2, "title": "Two"}, "books"),
    Record("UNLINK", "book_tags", "[1, 1]", LINK),
)
def _(db: Any, session: Any) -> None:
    session.delete(session.get(Author, 1))


@path(
    "an object is deleted, and others with it by the database",
    gone(BOB),
    gone(LETTER, "letters"),
)
def _(db: Any, session: Any) -> None:
    session.delete(session.get(Author, 2))


@path("an object is merged", changed(ANN, balance=12), added(DAN))
def _(db: Any, session: Any) -> None:
    session.merge(Author(**{**ANN, "balance": 12}))
    session.merge(Author(**DAN))


@path(
    "a primary key is changed",
    Record("UPDATE", "countries", "fr", COUNTRY, {"code": "fr"}, previous_id="de"),
)
def _(db: Any, session: Any) -> None:
    session.get(Country, "de").code = "fr"


@path(
    "a row with a composite key is added, changed, deleted",
    Record("INSERT", "pages", '[2, "b"]', None, {"number": 2, "side": "b", "words": "x"}),
    Record(
        "UPDATE", "pages", '[2, "b"]', {"number": 2, "side": "b", "words": "x"}, {"words": "y"}
    ),
    Record("DELETE", "pages", '[1, "a"]', PAGE),
)
def _(db: Any, session: Any) -> None:
    page = Page(number=2, side="b", words="x")
    session.add(page)
    session.flush()
    page.words = "y"
    session.delete(session.get(Page, (1, "a")))


@path(
    "many-to-many: one is linked, another unlinked",
    Record("LINK", "book_tags", "[1, 2]", None, {"book_id": 1, "tag_id": 2}),
    Record("UNLINK", "book_tags", "[1, 1]", LINK),
)
def _(db: Any, session: Any) -> None:
    book, old = session.get(Book, 1), session.get(Tag, 2)

    def relink() -> None:
        book.tags[:] = [old]

    db.inside(session, relink)


@path(
    "joined inheritance: added, changed in both tables",
    added({"id": 900, "kind": "dog", "name": "Bello"}, "animals"),
    added({"id": 900, "tricks": 1}, "dogs"),
    changed(ANIMAL, "animals", name="Max"),
    changed(DOG, "dogs", tricks=4),
)
def _(db: Any, session: Any) -> None:
    session.add(Dog(id=900, name="Bello", tricks=1))
    rex = session.get(Dog, 1)
    rex.name, rex.tricks = "Max", 4


@path("joined inheritance: deleted", gone(ANIMAL, "animals"), gone(DOG, "dogs"))
def _(db: Any, session: Any) -> None:
    session.delete(session.get(Dog, 1))


# By bulk methods


@path("bulk_insert", added(DAN), added(EVE))
def _(db: Any, session: Any) -> None:
    session.bulk_insert(Author, [DAN, EVE])


@path("bulk_insert, returning ids", added(DAN), added(EVE))
def _(db: Any, session: Any) -> None:
    session.bulk_insert(Author, [DAN, EVE], returning=True)


@path("bulk_insert, conflicts left out", added(DAN))
def _(db: Any, session: Any) -> None:
    session.bulk_insert(Author, [ANN, DAN], on_conflict="nothing")


@path("bulk_upsert", changed(ANN, balance=13), added(DAN))
def _(db: Any, session: Any) -> None:
    session.bulk_upsert(Author, [{**ANN, "balance": 13}, DAN])


@path("bulk_update", changed(ANN, balance=13), changed(BOB, balance=14))
def _(db: Any, session: Any) -> None:
    session.bulk_update(Author, [{"id": 1, "balance": 13}, {"id": 2, "balance": 14}])


@path("copy_in", added(DAN), refused={"session": ("postgresql",)})
def _(db: Any, session: Any) -> None:
    session.copy_in(Author, b"900,Dan,40\n", columns=["id", "name", "balance"], format="csv")


@path("SQLAlchemy's bulk_insert_mappings", added(DAN), added(EVE))
def _(db: Any, session: Any) -> None:
    rows = [dict(DAN), dict(EVE)]
    in_sync(db, session, lambda sync: sync.bulk_insert_mappings(Author, rows))


@path("SQLAlchemy's bulk_save_objects", added(DAN), changed(BOB, balance=21))
def _(db: Any, session: Any) -> None:
    bob = session.get(Author, 2)
    bob.balance = 21
    session.expunge(bob)
    in_sync(db, session, lambda sync: sync.bulk_save_objects([Author(**DAN), bob]))


@path("SQLAlchemy's bulk_update_mappings", changed(ANN, balance=11))
def _(db: Any, session: Any) -> None:
    rows = [{"id": 1, "balance": 11}]
    in_sync(db, session, lambda sync: sync.bulk_update_mappings(Author, rows))


# By statements that SQLAlchemy builds


@path("INSERT", added(DAN))
def _(db: Any, session: Any) -> None:
    session.execute(insert(Author).values(**DAN))


@path("INSERT, many rows", added(DAN), added(EVE))
def _(db: Any, session: Any) -> None:
    session.execute(insert(Author), [DAN, EVE])


@path("INSERT, many rows in one VALUES", added(DAN), added(EVE))
def _(db: Any, session: Any) -> None:
    session.execute(insert(Author.__table__).values([DAN, EVE]))


@path("INSERT … RETURNING", added(DAN), added(EVE))
def _(db: Any, session: Any) -> None:
    found = session.scalars(
        insert(Author).returning(Author.name, sort_by_parameter_order=True), [DAN, EVE]
    ).all()
    assert found == ["Dan", "Eve"]


@path(
    "INSERT … SELECT",
    added(author(901, "Ann 2", 10)),
    added(author(902, "Bob 2", 20)),
)
def _(db: Any, session: Any) -> None:
    rows = select(Author.id + 900, Author.name.concat(" 2"), Author.balance).where(Author.id < 3)
    session.execute(insert(Author).from_select(["id", "name", "balance"], rows))


@path("UPDATE", changed(ANN, balance=20), changed(BOB, balance=30))
def _(db: Any, session: Any) -> None:
    result = session.execute(
        update(Author).where(Author.id < 3).values(balance=Author.balance + 10)
    )
    assert result.rowcount == 2


@path("UPDATE … RETURNING", changed(ANN, balance=20), servers=("sqlite", "postgresql"))
def _(db: Any, session: Any) -> None:
    change = update(Author).where(Author.id == 1).values(balance=20)
    assert session.scalar(change.returning(Author.balance)) == 20


@path("UPDATE of what its WHERE looks at", changed(ANN, balance=99))
def _(db: Any, session: Any) -> None:
    session.execute(update(Author).where(Author.balance == 10).values(balance=99))


@path("UPDATE by primary keys, many", changed(ANN, balance=13), changed(BOB, balance=14))
def _(db: Any, session: Any) -> None:
    session.execute(update(Author), [{"id": 1, "balance": 13}, {"id": 2, "balance": 14}])


@path("DELETE", gone(CID), changed(LETTER, "letters", reader_id=None))
def _(db: Any, session: Any) -> None:
    assert session.execute(delete(Author).where(Author.id == 3)).rowcount == 1


@path("DELETE … RETURNING", gone(CID), changed(LETTER, "letters", reader_id=None))
def _(db: Any, session: Any) -> None:
    found = session.scalar(delete(Author).where(Author.id == 3).returning(Author.name))
    assert found == "Cid"


@path("DELETE, and others with it by the database", gone(BOB), gone(LETTER, "letters"))
def _(db: Any, session: Any) -> None:
    session.execute(delete(Author.__table__).where(Author.id == 2))


@path("an upsert", changed(ANN, balance=77), added(DAN))
def _(db: Any, session: Any) -> None:
    session.execute(_upsert(db.driver.server), [{**ANN, "balance": 77}, DAN])


def _upsert(server: str) -> Any:
    if server == "mariadb":
        statement = mysql.insert(Author.__table__)
        return statement.on_duplicate_key_update(balance=statement.inserted.balance)
    dialect: Any = sqlite if server == "sqlite" else postgresql
    statement = dialect.insert(Author.__table__)
    return statement.on_conflict_do_update(
        index_elements=["id"], set_={"balance": statement.excluded.balance}
    )


@path("session.connection().execute()", changed(ANN, balance=11))
def _(db: Any, session: Any) -> None:
    change = update(Author.__table__).where(Author.id == 1).values(balance=11)
    session.connection().execute(change)


# In the database's own words

CHANGE = "UPDATE authors SET balance = 11 WHERE id = 1"


@path("text()", changed(ANN, balance=11), refused=BY_SESSION)
def _(db: Any, session: Any) -> None:
    session.execute(text(CHANGE))


@path("exec_driver_sql()", changed(ANN, balance=11), refused=BY_SESSION)
def _(db: Any, session: Any) -> None:
    session.connection().exec_driver_sql(CHANGE)


@path("the driver's cursor", changed(ANN, balance=11), refused=BY_SESSION)
def _(db: Any, session: Any) -> None:
    def change(sync: Any) -> None:
        with sync.cursor() as cursor:
            cursor.execute(CHANGE)

    in_sync(db, session, change)


@path(
    "a CTE that writes",
    changed(ANN, balance=11),
    servers=("postgresql",),
    refused=BY_SESSION,
)
def _(db: Any, session: Any) -> None:
    session.execute(text(f"WITH done AS ({CHANGE} RETURNING id) SELECT * FROM done")).all()


@path(
    "INSERT OR REPLACE, REPLACE",
    Record("DELETE", "pages", '[1, "a"]', PAGE),
    Record("INSERT", "pages", '[1, "a"]', None, {**PAGE, "words": "Twice"}),
    servers=("sqlite", "mariadb"),
    refused=BY_SESSION,
)
def _(db: Any, session: Any) -> None:
    session.execute(text("REPLACE INTO pages (number, side, words) VALUES (1, 'a', 'Twice')"))


@path("LOAD DATA", added(DAN), servers=("mariadb",), refused=BY_SESSION)
def _(db: Any, session: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = File(folder, "authors.txt")
        file.write_text("900\tDan\t40\n")
        File(folder).chmod(0o755)  # the server reads it
        load = f"LOAD DATA INFILE '{file}' INTO TABLE authors (id, name, balance)"
        session.execute(text(load))


@path(
    "TRUNCATE",
    Record("TRUNCATE", "pages", '[1, "a"]', PAGE),
    servers=("postgresql", "mariadb"),
    refused={"trigger": ("mariadb",), "session": SERVERS},
)
def _(db: Any, session: Any) -> None:
    session.execute(text("TRUNCATE TABLE pages"))


# What is undone


@path("what a savepoint has undone")
def _(db: Any, session: Any) -> None:
    with session.begin_nested() as savepoint:
        session.get(Author, 1).balance = 11
        session.add(Author(**DAN))
        session.flush()
        session.execute(update(Author).where(Author.id == 2).values(balance=12))
        savepoint.rollback()


@path("what is rolled back")
def _(db: Any, session: Any) -> None:
    session.get(Author, 1).balance = 11
    session.flush()
    session.bulk_insert(Author, [DAN])
    session.rollback()


@path("what follows a savepoint that was undone", changed(BOB, balance=12))
def _(db: Any, session: Any) -> None:
    with session.begin_nested() as savepoint:
        session.get(Author, 1).balance = 11
        session.flush()
        savepoint.rollback()
    session.get(Author, 2).balance = 12


def table() -> str:
    """Return the table of the documentation."""
    heads = [f"{capture}, {server}" for capture in CAPTURES for server in SERVERS]
    lines = ["| write path | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for one in PATHS:
        cells = [_cell(one, capture, server) for capture in CAPTURES for server in SERVERS]
        lines.append(f"| {one.name} | " + " | ".join(cells) + " |")
    lines.append("| a value of every type | " + " | ".join(["recorded"] * len(heads)) + " |")
    return "\n".join(lines) + "\n"


def _cell(one: Path, capture: str, server: str) -> str:
    if server not in one.servers:
        return "–"
    if one.is_refused(capture, server):
        return "refused"
    return "recorded" if one.records else "nothing to record"


if __name__ == "__main__":
    sys.stdout.write(table())
