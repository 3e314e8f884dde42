"""Technique 9: queries that flush only where they can see what is pending."""

import os
from typing import Any

from sqlalchemy import ForeignKey, String, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise import sessionmaker


class Base(DeclarativeBase):
    """The base of the models."""


class Country(Base):
    """A country, by its code."""

    __tablename__ = "guide_countries"

    code: Mapped[str] = mapped_column(String(2), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


class User(Base):
    """A user, who lives in a country."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    country_code: Mapped[str | None] = mapped_column(ForeignKey(Country.code))


engine = create_engine(os.environ.get("DATABASE_URL", "sqlite://"))
SessionLocal = sessionmaker(bind=engine)
RelatedSession = sessionmaker(bind=engine, autoflush="related")
Base.metadata.create_all(engine)

sent: list[str] = []


@event.listens_for(engine, "before_cursor_execute")
def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
    sent.append(statement.split(maxsplit=1)[0])


def insert_count() -> int:
    """Say how many INSERTs have been sent."""
    return sent.count("INSERT")


with SessionLocal() as session:
    session.add_all([Country(code="DE", name="Germany"), Country(code="FR", name="France")])
    session.commit()

with SessionLocal() as session:
    # Many new objects,
    for i in range(1_000):
        session.add(User(name=f"User{i}"))

    # a query that does not flush them,
    sent.clear()
    with session.no_autoflush:
        count = session.query(User).count()
        assert insert_count() == 0  # no INSERT
        assert count == 0  # and so it does not see them

    # and one flush at the end.
    session.commit()
    assert session.query(User).count() == 1_000
    session.query(User).delete()
    session.commit()

# The guide's comparison, by statements. With autoflush each query flushes,
with SessionLocal() as session:
    sent.clear()
    for i in range(100):
        session.add(User(name=f"User{i}"))
        count = session.query(User).count()
        assert count == i + 1
    session.rollback()
    assert insert_count() == 100

# without it none does, and none sees anything.
with SessionLocal() as session:
    sent.clear()
    with session.no_autoflush:
        for i in range(100):
            session.add(User(name=f"User{i}"))
            count = session.query(User).count()
            assert count == 0
    session.rollback()
    assert insert_count() == 0

# Ours: a query of another table does not flush,
with RelatedSession() as session:
    modes = [session.autoflush_mode]
    sent.clear()
    for i in range(1_000):
        country = session.query(Country).filter_by(code=["DE", "FR"][i % 2]).one()
        session.add(User(name=f"User{i}", country_code=country.code))
    assert insert_count() == 0
    assert len(sent) == 1_000  # the queries, and nothing else

    # one that can see the new users does, and sees them all,
    assert session.query(User).count() == 1_000
    assert insert_count() > 0
    germans = session.query(Country).join(User).filter(Country.code == "DE").distinct()
    session.add(User(name="Carol", country_code="DE"))
    before = insert_count()
    assert germans.count() == 1
    assert insert_count() == before + 1

    # and in a no_autoflush block none does, as ever.
    session.add(User(name="Dan", country_code="DE"))
    with session.no_autoflush:
        modes.append(session.autoflush_mode)
        assert session.query(User).count() == 1_001
    assert session.query(User).count() == 1_002
    assert modes == ["related", False]
    session.commit()

Base.metadata.drop_all(engine)
engine.dispose()
