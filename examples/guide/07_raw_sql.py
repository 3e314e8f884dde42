"""Technique 7: execute runs raw SQL, and the objects that are loaded learn of it."""

import os
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ForeignKey, String, create_engine, event, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from sessionwise import sessionmaker


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user with orders."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    status: Mapped[str] = mapped_column(String(10), default="active")
    last_login: Mapped[datetime]
    orders: Mapped[list["Order"]] = relationship(passive_deletes=True)


class Order(Base):
    """An order, which the database deletes with its user."""

    __tablename__ = "guide_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))


engine = create_engine(os.environ.get("DATABASE_URL", "sqlite://"))
SessionLocal = sessionmaker(bind=engine)
sent: list[str] = []


@event.listens_for(engine, "before_cursor_execute")
def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
    sent.append(statement)


@event.listens_for(engine, "connect")
def check_foreign_keys(connection: Any, _record: Any) -> None:
    if engine.dialect.name == "sqlite":
        connection.execute("PRAGMA foreign_keys = ON")


Base.metadata.create_all(engine)

with SessionLocal() as session:
    long_ago = datetime.now() - timedelta(days=400)
    orders = [Order() for _ in range(11)]
    session.add(User(name="Alice", last_login=datetime.now(), orders=orders))
    session.flush()
    session.add(User(name="Carol", last_login=long_ago, orders=[Order()]))
    session.commit()

with SessionLocal() as session:
    # Raw SQL in the session's transaction.
    result = session.execute(
        text("SELECT * FROM guide_users WHERE name = :name"),
        {"name": "Alice"},
    )
    users = result.fetchall()
    assert len(users) == 1

    # Raw SQL among the ORM's: here, the user is even loaded before.
    loaded = session.get_one(User, 1)
    session.execute(text("UPDATE guide_users SET name = 'Bob' WHERE id = 1"))
    user = session.query(User).filter_by(id=1).one()
    print(user.name)  # "Bob"
    assert user is loaded
    assert user.name == "Bob"

    session.commit()

with SessionLocal() as session:
    # A complex query. It changes nothing, so nothing that is loaded is read again.
    loaded = session.get_one(User, 1)
    sent.clear()
    result = session.execute(
        text("""
            SELECT u.name, COUNT(o.id) AS order_count
            FROM guide_users u
            LEFT JOIN guide_orders o ON u.id = o.user_id
            GROUP BY u.name
            HAVING COUNT(o.id) > 10
        """)
    )
    assert [tuple(row) for row in result] == [("Bob", 11)]
    assert loaded.name == "Bob"
    assert len(sent) == 1

with SessionLocal() as session:
    # An update of many rows, in the database's own words.
    bob, carol = session.query(User).order_by(User.id).all()
    a_year_ago = {
        "postgresql": "NOW() - INTERVAL '1 year'",
        "sqlite": "datetime('now', '-1 year')",
    }.get(engine.dialect.name, "NOW() - INTERVAL 1 YEAR")
    session.execute(
        text(f"""
            UPDATE guide_users
            SET status = 'inactive'
            WHERE last_login < {a_year_ago}
        """)  # noqa: S608 -- our own words
    )
    assert (bob.status, carol.status) == ("active", "inactive")
    session.commit()

with SessionLocal() as session:
    # The session's connection is no way around it. What is not flushed stays.
    bob = session.get_one(User, 1)
    bob.name = "Robert"
    users_table = Base.metadata.tables["guide_users"]
    rename = update(users_table).values(name="?", status="new")
    session.connection().execute(rename)
    assert (bob.name, bob.status) == ("Robert", "new")
    session.commit()
    assert (bob.name, bob.status) == ("Robert", "new")

with SessionLocal() as session:
    # What a savepoint takes back is read anew, too.
    bob = session.get_one(User, 1)
    with session.begin_nested():
        session.execute(text("UPDATE guide_users SET name = 'Eve'"))
        assert bob.name == "Eve"
        session.rollback()
    assert bob.name == "Robert"

with SessionLocal() as session:
    # The database deletes orders along with their user.
    carol = session.get_one(User, 2)
    orders = session.query(Order).filter_by(user_id=2).all()
    session.execute(text("DELETE FROM guide_users WHERE id = 2"))
    assert session.get(User, 2) is None
    assert session.query(Order).filter_by(user_id=2).all() == []
    assert session.get(Order, 12) is None
    session.commit()

if engine.dialect.name == "postgresql":
    # COPY: from a file of the server's by text, from one of our own by the driver's cursor.
    with SessionLocal() as session:
        bob = session.get_one(User, 1)
        assert len(bob.orders) == 11
        with session.cursor() as cursor:
            if engine.dialect.driver == "psycopg":
                with cursor.copy("COPY guide_orders (id, user_id) FROM STDIN") as writer:
                    writer.write("100\t1\n")
            else:
                cursor.execute("INSERT INTO guide_orders (id, user_id) VALUES (100, 1)")
        assert len(bob.orders) == 12
        session.commit()

Base.metadata.drop_all(engine)
engine.dispose()
