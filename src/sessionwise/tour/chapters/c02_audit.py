"""Technique 2: who has changed what, by the guide's listener and by an audit."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, event, insert, select, update
from sqlalchemy.schema import CreateTable

import sessionwise
from sessionwise.audit import Audit, AuditLog, AuditTransaction
from sessionwise.tour.chapter import Chapter, Scene
from sessionwise.tour.model import Airline, Base, Flight, User

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sessionwise.tour.stage import Side

AUDIT = Audit(Base.metadata, capture="session")
TABLES: tuple[Table, ...] = (AuditTransaction.__table__, AuditLog.__table__)


def record(session: Any) -> None:
    """Listen to before_commit as in the guide; AuditLog.create is one INSERT."""
    for action, objects in (
        ("INSERT", session.new),
        ("UPDATE", session.dirty),
        ("DELETE", session.deleted),
    ):
        for obj in objects:
            key = getattr(obj, "id", None) or getattr(obj, "carrier", None)
            values = {
                "transaction_id": 0,
                "at": datetime.now(UTC).replace(tzinfo=None),
                "action": action,
                "table": obj.__tablename__,
                "object_id": None if key is None else str(key),
            }
            session.connection().execute(insert(AuditLog), values)


@contextmanager
def audited(db: Side) -> Iterator[Any]:
    """Give a session that is audited: ours by its option, SQLAlchemy's by the guide's listener."""
    with db.session(audit=AUDIT) as session:
        make_tables(session)
        if not issubclass(db.session_class, sessionwise.Session):
            event.listen(session, "before_commit", record)
        yield session


def make_tables(session: Any) -> None:
    """Make the audit's tables for this connection only: there may be others of these names."""
    connection = session.connection()
    for table in TABLES:
        create = str(CreateTable(table).compile(dialect=connection.dialect))
        temporary = create.replace("CREATE TABLE", "CREATE TEMPORARY TABLE IF NOT EXISTS", 1)
        connection.exec_driver_sql(temporary.replace("%", "%%"))
        connection.execute(table.delete())
    session.commit()


def logged(session: Any) -> list[str]:
    """Return what is recorded, such as ``UPDATE 1``."""
    query = select(AuditLog.action, AuditLog.object_id).order_by(AuditLog.id)
    return [f"{action} {key}" for action, key in session.execute(query)]


def ids_of_new_objects(db: Side) -> bool:
    """Add two users, and look whether their ids are recorded."""
    with audited(db) as session:
        users = [User(name="Alice"), User(name="Bob")]
        session.add_all(users)
        session.commit()
        return logged(session) == [f"INSERT {user.id}" for user in users]


def query_before_commit(db: Side) -> str:
    """Rename an airline, and look something up before the commit."""
    with audited(db) as session:
        session.get_one(Airline, "AA").name = "American"
        session.scalars(select(Airline.name)).all()
        session.commit()
        return ", ".join(logged(session))


def update_by_statement(db: Side) -> str:
    """Forgive the delays of three flights, by one UPDATE."""
    with audited(db) as session:
        three = update(Flight).where(Flight.id.in_([1, 2, 3]))
        session.execute(three.values(dep_delay=0))
        session.commit()
        return ", ".join(sorted(logged(session)))


def rows_in_bulk(db: Side) -> int:
    """Load a hundred users in bulk."""
    with audited(db) as session:
        users = [{"name": f"user {number}"} for number in range(100)]
        session.bulk_insert_mappings(User, users)
        session.commit()
        return len(logged(session))


def undone_by_a_savepoint(db: Side) -> str:
    """Rename an airline in a savepoint that is undone, and another one after it."""
    with audited(db) as session:
        with session.begin_nested() as savepoint:
            session.get_one(Airline, "AA").name = "American"
            session.flush()
            savepoint.rollback()
        session.get_one(Airline, "UA").name = "United"
        session.commit()
        return ", ".join(logged(session))


CHAPTER = Chapter(
    number=2,
    title="audit",
    promise=(
        "What a session changes is recorded in the same transaction, with its key and its values "
        "before and after, by whatever method it was changed."
    ),
    scenes=(
        Scene(
            code=ids_of_new_objects,
            answers=True,
            note=(
                "To plain SQLAlchemy the guide's listener is added, and audit=AUDIT is an option "
                "of sessionwise. The audit's tables are temporary here, so that the tour leaves "
                "those of the database alone; triggers, which record what others change, too, "
                "are not in this tour."
            ),
        ),
        Scene(code=query_before_commit, answers="UPDATE AA"),
        Scene(code=update_by_statement, answers="UPDATE 1, UPDATE 2, UPDATE 3"),
        Scene(code=rows_in_bulk, answers=100),
        Scene(code=undone_by_a_savepoint, answers="UPDATE UA"),
    ),
)
