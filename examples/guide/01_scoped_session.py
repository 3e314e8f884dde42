"""Technique 1: scoped_session gives each thread, and each task, a session of its own."""

import asyncio
import os
import threading
from tempfile import TemporaryDirectory

from sqlalchemy import String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sessionwise import scoped_session, sessionmaker


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


folder = TemporaryDirectory()
url = os.environ.get("DATABASE_URL", "sqlite://")
if url == "sqlite://":  # in memory, each thread would have a database of its own
    url = f"sqlite:///{folder.name}/guide.db"
engine = create_engine(url)
SessionLocal = scoped_session(sessionmaker(bind=engine))
Base.metadata.create_all(engine)

# How it works: the registry gives two threads two sessions, and one thread always the same.
sessions: list[Session] = []


def show() -> None:
    session = SessionLocal()
    print(f"{threading.current_thread().name}: session {id(session)}")
    assert SessionLocal() is session
    sessions.append(session)


for name in ("thread 1", "thread 2"):
    thread = threading.Thread(target=show, name=name)
    thread.start()
    thread.join()
assert sessions[0] is not sessions[1]

# The guide's worker removes its session; one that forgets to leaves nothing behind, either.
counts: list[int] = []


def worker() -> None:
    session = SessionLocal()  # the thread's session
    session.add(User(name="Alice"))
    users = session.query(User).all()
    counts.append(len(users))
    SessionLocal.remove()  # clean up


def forgetful_worker() -> None:
    session = SessionLocal()
    session.add(User(name="Alice"))
    counts.append(session.query(User).count())


for target in (worker, forgetful_worker):
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
assert counts == [1, 1]  # each saw its own Alice, which was rolled back at the end
assert len(SessionLocal.registry) == 0


# "An asynchronous framework does not need scoped_session": here each task has its own, too.
async def handler() -> Session:
    return SessionLocal()


async def main() -> None:
    in_tasks = await asyncio.gather(*(asyncio.create_task(handler()) for _ in range(50)))
    assert len(set(in_tasks)) == 50
    assert len(SessionLocal.registry) == 0

    # What a web framework puts around a request: one session, across its worker threads.
    with SessionLocal.scope() as session:
        assert await asyncio.to_thread(SessionLocal) is session


asyncio.run(main())

Base.metadata.drop_all(engine)
engine.dispose()
folder.cleanup()
