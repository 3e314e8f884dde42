"""Objects that refer to each other in every way there is: a library's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import JSON, Column, ForeignKey, ForeignKeyConstraint, String, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, mapped_column, relationship, synonym

from tests.backends import Database


class Base(DeclarativeBase):
    pass


book_tag = Table(
    "library_book_tag",
    Base.metadata,
    Column("book_id", ForeignKey("library_book.id"), primary_key=True),
    Column("tag_id", ForeignKey("library_tag.id"), primary_key=True),
)


class Author(Base):
    __tablename__ = "library_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    born: Mapped[int | None]
    books: Mapped[list[Book]] = relationship(back_populates="author", order_by="Book.id")
    number = synonym("id")


class Book(Base):
    __tablename__ = "library_book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("library_author.id"))
    summary: Mapped[str | None] = deferred(mapped_column(String(50)), group="text")
    notes: Mapped[str | None] = deferred(mapped_column(String(50)), group="text")
    cover: Mapped[str | None] = deferred(mapped_column(String(50)))
    author: Mapped[Author | None] = relationship(back_populates="books")
    tags: Mapped[list[Tag]] = relationship(
        secondary=book_tag, back_populates="books", order_by="Tag.id"
    )


class Tag(Base):
    """A tag; all of them are equal, as far as Python is told."""

    __tablename__ = "library_tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    books: Mapped[list[Book]] = relationship(
        secondary=book_tag, back_populates="tags", order_by=Book.id
    )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tag)

    def __hash__(self) -> int:
        return hash(Tag)


class Shelf(Base):
    """A shelf, and the shelves in it."""

    __tablename__ = "library_shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    inside_id: Mapped[int | None] = mapped_column(ForeignKey("library_shelf.id"))
    inside: Mapped[Shelf | None] = relationship(back_populates="shelves", remote_side="Shelf.id")
    shelves: Mapped[list[Shelf]] = relationship(back_populates="inside", order_by="Shelf.id")


class Place(Base):
    """A place on a shelf: its key has two parts."""

    __tablename__ = "library_place"
    row: Mapped[int] = mapped_column(primary_key=True)
    letter: Mapped[str] = mapped_column(String(5), primary_key=True)
    book_id: Mapped[int | None] = mapped_column(ForeignKey("library_book.id"))
    book: Mapped[Book | None] = relationship()
    loans: Mapped[list[Loan]] = relationship(back_populates="place", order_by="Loan.id")


class Person(Base):
    """Staff and readers: joined inheritance."""

    __tablename__ = "library_person"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(50))
    loans: Mapped[list[Loan]] = relationship(back_populates="person", order_by="Loan.id")
    __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "person"}


class Librarian(Person):
    __tablename__ = "library_librarian"
    id: Mapped[int] = mapped_column(ForeignKey("library_person.id"), primary_key=True)
    desk: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "librarian"}


class Guest(Person):
    """Single-table inheritance below the joined one."""

    card: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "guest"}


class Loan(Base):
    __tablename__ = "library_loan"
    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("library_person.id"))
    row: Mapped[int | None]
    letter: Mapped[str | None] = mapped_column(String(5))
    person: Mapped[Person | None] = relationship(back_populates="loans")
    place: Mapped[Place | None] = relationship(back_populates="loans")
    __table_args__ = (
        ForeignKeyConstraint(["row", "letter"], ["library_place.row", "library_place.letter"]),
    )


class Edition(Base):
    """A text with a version counter, and JSON that nobody tracks."""

    __tablename__ = "library_edition"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(50))
    extra: Mapped[Any | None] = mapped_column(JSON)
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


def empty(db: Database) -> None:
    """Make the tables, where they are missing, and empty them."""
    Base.metadata.create_all(db.observer)
    with db.observer.begin() as connection:
        connection.execute(Shelf.__table__.update().values(inside_id=None))
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


def store(db: Database, objects: list[Any]) -> None:
    """Store objects by a session of their own, and forget them."""
    with db.session() as session:
        session.add_all(objects)
        session.commit()


def authors(count: int, books: int = 0) -> list[Any]:
    """Make authors with their books; the keys count from 1."""
    return [
        Author(
            id=at,
            name=f"author {at}",
            books=[
                Book(
                    id=(at - 1) * books + number + 1,
                    title=f"book {number + 1} of {at}",
                    summary=f"summary {number + 1} of {at}",
                    notes="notes",
                    cover="cover",
                )
                for number in range(books)
            ],
        )
        for at in range(1, count + 1)
    ]


@contextmanager
def elsewhere(db: Database) -> Iterator[Any]:
    """Give a connection of somebody else, who commits at the end of the block."""
    with db.observer.begin() as connection:
        yield connection
