"""Ways to keep an audit, each in a process of its own: most listen to every session there is.

``python -m benchmarks.audit_contenders NAME URL`` does what it is told by lines on its standard
input, and answers with the seconds that it took, and those that its own CPU has worked.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from sqlalchemy import (
    Engine,
    String,
    create_engine,
    delete,
    event,
    func,
    insert,
    orm,
    select,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import sessionwise
from sessionwise.audit import Audit, actor

CHANGED = 1_000
"""Rows that are added, changed and deleted, of each kind so many."""


@dataclass(frozen=True)
class Contender:
    """One way: its class, whose table exists, and how a session is opened."""

    account: Any
    open: Callable[[], AbstractContextManager[Any]]


def _account(**attributes: Any) -> tuple[Any, Any]:
    """Return a new declarative base, and a class of it."""

    class Base(DeclarativeBase):
        pass

    class Account(Base):
        __tablename__ = "accounts"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(50))
        city: Mapped[str] = mapped_column(String(50))
        balance: Mapped[int]

        locals().update(attributes)

    return Base, Account


def _created(base: Any, engine: Engine) -> None:
    orm.configure_mappers()
    base.metadata.create_all(engine)


def plain(engine: Engine) -> Contender:
    base, account = _account()
    _created(base, engine)
    return Contender(account, partial(orm.Session, engine))


def unaudited(engine: Engine) -> Contender:
    base, account = _account()
    _created(base, engine)
    return Contender(account, partial(sessionwise.Session, engine))


def _ours(engine: Engine, capture: Any) -> Contender:
    base, account = _account()
    _created(base, engine)
    audit = Audit(base.metadata, capture=capture)
    audit.install(engine)

    @contextmanager
    def session() -> Iterator[Any]:
        with actor("alice"), sessionwise.Session(engine, audit=audit) as opened:
            yield opened

    return Contender(account, session)


def _versioned(engine: Engine, make_versioned: Callable[..., object]) -> Contender:
    make_versioned(user_cls=None)
    base, account = _account(__versioned__={})
    _created(base, engine)
    return Contender(account, partial(orm.Session, engine))


def continuum(engine: Engine) -> Contender:
    from sqlalchemy_continuum import make_versioned

    return _versioned(engine, make_versioned)


def history(engine: Engine) -> Contender:
    from sqlalchemy_history import make_versioned

    return _versioned(engine, make_versioned)


def postgresql_audit(engine: Engine) -> Contender:
    from postgresql_audit import versioning_manager

    class Base(DeclarativeBase):
        pass

    versioning_manager.init(Base)

    class Account(Base):
        __tablename__ = "accounts"
        __versioned__: ClassVar[Any] = {}
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(50))
        city: Mapped[str] = mapped_column(String(50))
        balance: Mapped[int]

    orm.configure_mappers()
    for table in ("transaction", "activity", "accounts"):  # the function comes with the second
        Base.metadata.tables[table].create(engine)
    return Contender(Account, partial(orm.Session, engine))


def audit_trail(engine: Engine) -> Contender:
    from audit_trail import Audited, AuditTrail
    from audit_trail.migrations import create_audit_tables

    class Base(DeclarativeBase):
        pass

    class Account(Base, Audited):
        __tablename__ = "accounts"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(50))
        city: Mapped[str] = mapped_column(String(50))
        balance: Mapped[int]

    audit = AuditTrail(engine, events=[], on_error="raise")
    maker = orm.sessionmaker(engine)
    audit.install(maker)
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        create_audit_tables(connection, audit.tables, audit.severities)
    audit.maintenance.ensure_partitions()

    @contextmanager
    def session() -> Iterator[Any]:
        with audit.context(actor_type="user", actor_id="1", actor_label="alice"), maker() as made:
            yield made

    return Contender(Account, session)


CONTENDERS: dict[str, Callable[[Engine], Contender]] = {
    "sessionwise, no audit": unaudited,
    "SQLAlchemy, no audit": plain,
    "sessionwise, triggers": partial(_ours, capture="trigger"),
    "sessionwise, session": partial(_ours, capture="session"),
    "SQLAlchemy-Continuum": continuum,
    "sqlalchemy-history": history,
    "postgresql-audit": postgresql_audit,
    "sqlalchemy-audit-trail": audit_trail,
}


def fill(contender: Contender, rows: int) -> None:
    """Empty the table, and put so many rows in."""
    table = contender.account.__table__
    with contender.open() as session:
        session.connection().execute(delete(table))
        row = {"name": "somebody", "city": "somewhere", "balance": 0}
        for start in range(0, rows, 10_000):
            some = [row] * min(10_000, rows - start)
            session.connection().execute(insert(table), some)
        session.commit()


def unit(contender: Contender) -> None:
    """Load objects, change some, delete some, add some, commit."""
    account = contender.account
    with contender.open() as session:
        loaded = session.scalars(select(account).order_by(account.id)).all()
        for one in loaded[:CHANGED]:
            one.balance += 1
        for one in loaded[CHANGED : 2 * CHANGED]:
            session.delete(one)
        session.add_all(
            account(name=f"new {number}", city="here", balance=number) for number in range(CHANGED)
        )
        session.commit()


def statement(contender: Contender, *, one_row: bool = False) -> None:
    """Change all rows by one statement, or one of them."""
    account = contender.account
    change = update(account).values(balance=account.balance + 1)
    with contender.open() as session:
        if one_row:
            change = change.where(account.id == session.scalar(select(func.min(account.id))))
        session.execute(change, execution_options={"synchronize_session": False})
        session.commit()


def serve(contender: Contender) -> None:
    """Do what each line of the standard input says, and answer how long it took, in both ways."""
    for line in sys.stdin:
        what, _, rows = line.strip().partition(" ")
        if what == "fill":
            taken = _timed(partial(fill, contender, int(rows)))
        elif what == "unit":
            taken = _timed(partial(unit, contender))
        else:
            # Plans that were made for one row are kept for the many of the next statement.
            for _ in range(6):
                statement(contender, one_row=True)
            taken = _timed(partial(statement, contender))
        sys.stdout.write(f"{taken[0]} {taken[1]}\n")
        sys.stdout.flush()


def _timed(what: Callable[[], object]) -> tuple[float, float]:
    gc.collect()
    gc.disable()
    started, cpu = time.perf_counter(), time.process_time()
    what()
    taken = time.perf_counter() - started, time.process_time() - cpu
    gc.enable()
    return taken


def main() -> None:
    name, url = sys.argv[1:]
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda one, _: one.execute("PRAGMA synchronous = OFF"))
    contender = CONTENDERS[name](engine)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    serve(contender)
    engine.dispose()


if __name__ == "__main__":
    main()
