"""Rows that the database changes along: a club's, with ON DELETE CASCADE and SET NULL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, ForeignKey, String, Table, func, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    column_property,
    mapped_column,
    relationship,
)

from tests.backends import Database


class Base(DeclarativeBase):
    pass


member_badge = Table(
    "club_member_badge",
    Base.metadata,
    Column("member_id", ForeignKey("club_member.id", ondelete="CASCADE"), primary_key=True),
    Column("badge_id", ForeignKey("club_badge.id", ondelete="CASCADE"), primary_key=True),
)


class Member(Base):
    """Members and staff: joined inheritance."""

    __tablename__ = "club_member"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(50))
    points: Mapped[int] = mapped_column(default=0)
    club_id: Mapped[int | None] = mapped_column(ForeignKey("club_club.id", ondelete="CASCADE"))
    club: Mapped[Club | None] = relationship(back_populates="members")
    notes: Mapped[list[Note]] = relationship(
        back_populates="member", order_by="Note.id", cascade="all, delete-orphan"
    )
    badges: Mapped[list[Badge]] = relationship(secondary=member_badge, order_by="Badge.id")
    __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "member"}


class Staff(Member):
    __tablename__ = "club_staff"
    id: Mapped[int] = mapped_column(
        ForeignKey("club_member.id", ondelete="CASCADE"), primary_key=True
    )
    desk: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "staff"}


class Club(Base):
    __tablename__ = "club_club"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    city: Mapped[str] = mapped_column(String(50))
    members: Mapped[list[Member]] = relationship(
        back_populates="club", order_by="Member.id", passive_deletes=True
    )
    rooms: Mapped[list[Room]] = relationship(order_by="Room.id", passive_deletes=True)


_members = select(func.count(Member.id)).where(Member.club_id == Club.id)
Club.size = column_property(_members.correlate_except(Member).scalar_subquery())  # type: ignore[attr-defined]


class Room(Base):
    """A room; it stays when its club goes. The club knows of it, it does not know the club."""

    __tablename__ = "club_room"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    club_id: Mapped[int | None] = mapped_column(ForeignKey("club_club.id", ondelete="SET NULL"))


class Note(Base):
    __tablename__ = "club_note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(50))
    member_id: Mapped[int] = mapped_column(ForeignKey("club_member.id", ondelete="CASCADE"))
    member: Mapped[Member] = relationship(back_populates="notes")


class Badge(Base):
    __tablename__ = "club_badge"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


CLASSES: tuple[Any, ...] = (Club, Member, Staff, Room, Note, Badge)


def fill(db: Database) -> None:
    """Make the tables, where they are missing, and put two clubs into them."""
    Base.metadata.create_all(db.observer)
    with db.observer.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    badges = [Badge(id=1, name="gold"), Badge(id=2, name="silver")]
    with db.session() as session:
        session.add_all(
            [
                Club(
                    id=at,
                    name=f"club {at}",
                    city="Ulm",
                    rooms=[Room(id=at, name=f"room {at}")],
                    members=[
                        Member(id=10 * at, name=f"first of {at}", badges=badges),
                        Staff(id=10 * at + 1, name=f"staff of {at}", desk=at),
                    ],
                )
                for at in (1, 2)
            ]
        )
        session.add_all([Note(id=at, text=f"note {at}", member_id=10) for at in (1, 2)])
        session.commit()


@contextmanager
def session_of(db: Database, **options: Any) -> Iterator[Any]:
    """Give a session whose database acts on foreign keys: SQLite has to be told."""
    with db.session(**options) as session:
        if db.driver.server == "sqlite":
            session.connection().exec_driver_sql("PRAGMA foreign_keys = ON")
        yield session
