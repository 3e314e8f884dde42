"""A hotel's guests: a table that refuses rows for each reason there is."""

from __future__ import annotations

import enum
import uuid
from datetime import date
from typing import Any

from sqlalchemy import CheckConstraint, Enum, ForeignKey, SmallInteger, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.backends import Database

FIRST = 1_000_000
"""The guest that is there: far from the numbers that databases begin with."""


class Base(DeclarativeBase):
    pass


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Room(Base):
    __tablename__ = "guest_room"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))


class Guest(Base):
    __tablename__ = "guest_guest"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    age: Mapped[int | None]
    room_id: Mapped[int | None] = mapped_column(ForeignKey("guest_room.id"))
    host_id: Mapped[int | None] = mapped_column(ForeignKey("guest_guest.id"))
    floor: Mapped[int | None]
    door: Mapped[str | None] = mapped_column(String(4))
    born: Mapped[date | None]
    size: Mapped[Size | None] = mapped_column(Enum(Size, name="guest_size"))
    token: Mapped[uuid.UUID | None]
    active: Mapped[bool] = mapped_column(default=True)
    stars: Mapped[int | None] = mapped_column(SmallInteger)
    status: Mapped[str] = mapped_column(String(10), server_default="here")
    __table_args__ = (
        UniqueConstraint("floor", "door", name="guest_place"),
        CheckConstraint("age >= 0", name="guest_age"),
    )


def fill(db: Database) -> None:
    """Make the tables, where they are missing; there is one room, and one guest in it."""
    Base.metadata.create_all(db.observer)
    with db.observer.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
        connection.execute(Room.__table__.insert(), {"id": 1, "name": "one"})
        connection.execute(
            Guest.__table__.insert(),
            {"id": FIRST, "name": "taken", "room_id": 1, "floor": 1, "door": "a", "active": True},
        )


def guests(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Return rows that can be stored."""
    return [{"name": f"guest {at}", "age": at} for at in range(first, first + count)]
