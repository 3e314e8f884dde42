"""What is audited in the tests: every shape of table and key that there is, and every type."""

from __future__ import annotations

import enum
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Enum,
    ForeignKey,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Time,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    metadata = MetaData()


class Author(Base):
    """Its books go with it by the ORM, its letters by the database."""

    __tablename__ = "authors"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    balance: Mapped[int] = mapped_column(default=0)
    note: Mapped[str | None] = mapped_column(String(200))
    books: Mapped[list[Book]] = relationship(cascade="all, delete-orphan", back_populates="author")


book_tags = Table(
    "book_tags",
    Base.metadata,
    Column("book_id", ForeignKey("books.id"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)
"""A link: nothing but foreign keys."""


class Book(Base):
    __tablename__ = "books"

    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))
    title: Mapped[str] = mapped_column(String(100))
    author: Mapped[Author] = relationship(back_populates="books")
    tags: Mapped[list[Tag]] = relationship(secondary=book_tags)


class Tag(Base):
    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(30))


class Letter(Base):
    """Goes with its author by ON DELETE CASCADE; its reader becomes NULL by ON DELETE SET NULL."""

    __tablename__ = "letters"

    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id", ondelete="CASCADE"))
    reader_id: Mapped[int | None] = mapped_column(ForeignKey("authors.id", ondelete="SET NULL"))
    words: Mapped[str] = mapped_column(String(50))


class Page(Base):
    """A composite key of a number and a text."""

    __tablename__ = "pages"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    side: Mapped[str] = mapped_column(String(10), primary_key=True)
    words: Mapped[str] = mapped_column(String(50), default="")


class Country(Base):
    """A key that people change."""

    __tablename__ = "countries"

    code: Mapped[str] = mapped_column(String(10), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


class Animal(Base):
    """Joined inheritance."""

    __tablename__ = "animals"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(50))

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dogs"

    id: Mapped[int] = mapped_column(ForeignKey("animals.id"), primary_key=True)
    tricks: Mapped[int] = mapped_column(default=0)

    __mapper_args__ = {"polymorphic_identity": "dog"}


class Account(Base):
    """A secret that is not recorded, and one of which only a hash is."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    login: Mapped[str] = mapped_column(String(50))
    password: Mapped[str] = mapped_column(String(50))
    email: Mapped[str | None] = mapped_column(String(100))


class Colour(enum.Enum):
    red = "r"
    green = "g"


class Shout(TypeDecorator[str]):
    """Text that is stored in capitals."""

    impl = String(30)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.upper()

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.lower()


class Sample(Base):
    """A column of each type."""

    __tablename__ = "samples"

    id: Mapped[int] = mapped_column(primary_key=True)
    flag = mapped_column(Boolean)
    big = mapped_column(BigInteger)
    real = mapped_column(Double)
    price = mapped_column(Numeric(20, 6))
    words = mapped_column(Text)
    raw = mapped_column(LargeBinary)
    day = mapped_column(Date)
    at = mapped_column(DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"))
    zoned = mapped_column(
        DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    )
    hour = mapped_column(Time().with_variant(mysql.TIME(fsp=6), "mysql", "mariadb"))
    span = mapped_column(Interval(second_precision=6))
    key = mapped_column(Uuid)
    data = mapped_column(JSON(none_as_null=True))
    colour = mapped_column(Enum(Colour))
    shout = mapped_column(Shout)


PLENTY: dict[str, Any] = {
    "flag": True,
    "big": 2**62 + 1,
    "real": 0.1 + 0.2,
    "price": Decimal("12345678901234.567890"),
    "words": "line\nanother\ttab \"quoted\" 'single' back\\slash é 🙂",
    "raw": b"\x00\xff'\"\\abc",
    "day": date(2026, 2, 28),
    "at": datetime(2026, 1, 2, 3, 4, 5, 678901),
    "zoned": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    "hour": time(23, 59, 58, 123456),
    "span": timedelta(days=3, hours=4, microseconds=5),
    "key": uuid.UUID("12345678-1234-5678-9234-567812345678"),
    "data": {"a": [1, 2.5, None, "é"], "b": {"c": True}},
    "colour": Colour.green,
    "shout": "quiet",
}
"""A value of each type that is not easily kept."""

NOTHING: dict[str, Any] = dict.fromkeys(PLENTY)
EDGES: dict[str, Any] = {
    **NOTHING,
    "flag": False,
    "big": -(2**63),
    "real": -1.7976931348623157e308,
    "price": Decimal("-0.000001"),
    "words": "",
    "raw": b"",
    "at": datetime(1970, 1, 1),
    "zoned": datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
    "hour": time(0),
    "span": timedelta(0),
    "data": [],
    "shout": "",
}
"""Values that are nearly nothing, or as far out as the type goes."""
