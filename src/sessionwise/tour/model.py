"""The tables of the tour: airlines, airports, planes, and the flights that join them.

And the guide's own users, of which the data has none: the scenes make them.
"""

import secrets
from datetime import date
from typing import Any, Final

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column, relationship

__all__ = ["IN_TRANSACTIONS", "PREFIX", "Airline", "Airport", "Base", "Flight", "Plane", "User"]

PREFIX: Final = f"sessionwise_tour_{secrets.token_hex(3)}_"
"""Begins the name of each table. It differs from process to process: a tour meets no table of the
database's owner, and none of another tour that runs there at the same time."""

IN_TRANSACTIONS: Final[dict[str, Any]] = {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}
"""For each table: these databases also have tables without transactions, perhaps by default."""


class Base(DeclarativeBase):
    """The base of the tour's models."""

    @declared_attr.directive
    def __tablename__(cls) -> str:  # noqa: N805 -- a class method, in SQLAlchemy's spelling
        return f"{PREFIX}{cls.__name__.lower()}s"

    __table_args__ = IN_TRANSACTIONS


class Airline(Base):
    """A carrier, by its two-letter code."""

    carrier: Mapped[str] = mapped_column(String(2), primary_key=True)
    name: Mapped[str] = mapped_column(String(40))

    flights: Mapped[list["Flight"]] = relationship(back_populates="airline")


class Airport(Base):
    """An airport, by its FAA code."""

    faa: Mapped[str] = mapped_column(String(3), primary_key=True)
    name: Mapped[str] = mapped_column(String(60))
    lat: Mapped[float]
    lon: Mapped[float]
    alt: Mapped[int]
    tz: Mapped[int]
    dst: Mapped[str] = mapped_column(String(1))
    tzone: Mapped[str] = mapped_column(String(40))


class Plane(Base):
    """A plane, by its tail number."""

    tailnum: Mapped[str] = mapped_column(String(6), primary_key=True)
    year: Mapped[int | None]
    type: Mapped[str] = mapped_column(String(40))
    manufacturer: Mapped[str] = mapped_column(String(40))
    model: Mapped[str] = mapped_column(String(40))
    engines: Mapped[int]
    seats: Mapped[int]
    speed: Mapped[int | None]
    engine: Mapped[str] = mapped_column(String(20))

    flights: Mapped[list["Flight"]] = relationship(back_populates="plane")


class Flight(Base):
    """A departure from New York City; times as in the data, 517 is 5:17, local time."""

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date]
    dep_time: Mapped[int | None]
    sched_dep_time: Mapped[int]
    dep_delay: Mapped[int | None]
    arr_time: Mapped[int | None]
    sched_arr_time: Mapped[int]
    arr_delay: Mapped[int | None]
    carrier: Mapped[str] = mapped_column(ForeignKey(Airline.carrier), index=True)
    flight: Mapped[int]
    tailnum: Mapped[str] = mapped_column(ForeignKey(Plane.tailnum), index=True)
    origin: Mapped[str] = mapped_column(ForeignKey(Airport.faa), index=True)
    dest: Mapped[str] = mapped_column(ForeignKey(Airport.faa), index=True)
    air_time: Mapped[int | None]
    distance: Mapped[int]

    airline: Mapped[Airline] = relationship(back_populates="flights")
    plane: Mapped[Plane] = relationship(back_populates="flights")


class User(Base):
    """A user as in the guide: a name, and what the program and the database fill in."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    status: Mapped[str] = mapped_column(String(20), default="new")
    visits: Mapped[int] = mapped_column(server_default="0")
