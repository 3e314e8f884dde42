"""Technique 12: the connection under the session, and the driver's cursor on it."""

import io
import os

from sqlalchemy import String, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise import sessionmaker


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user with an address."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    email: Mapped[str] = mapped_column(String(50), default="")


engine = create_engine(os.environ.get("DATABASE_URL", "sqlite://"))
SessionLocal = sessionmaker(bind=engine)
Base.metadata.create_all(engine)

with SessionLocal() as session:
    # The connection of the session's own transaction.
    conn = session.connection()
    version = "sqlite_version()" if engine.dialect.name == "sqlite" else "version()"
    result = conn.execute(text(f"SELECT {version}"))
    print(result.fetchone())

    # The guide's way to the driver's cursor.
    cursor = conn.connection.cursor()
    cursor.execute("SELECT * FROM guide_users")
    assert list(cursor.fetchall()) == []
    cursor.close()

with SessionLocal() as session:
    # Ours flushes first, so that the driver sees what the session knows, and closes the cursor.
    session.add(User(name="Alice"))
    with session.cursor() as cursor:
        cursor.execute("SELECT name FROM guide_users")
        assert [tuple(row) for row in cursor.fetchall()] == [("Alice",)]
    session.commit()

if engine.dialect.name == "postgresql":
    # COPY from a file, the driver's way.
    users_csv = "name,email\nBob,bob@example.org\nCarol,carol@example.org\n"
    copy = "COPY guide_users (name, email) FROM STDIN WITH CSV HEADER"
    with SessionLocal() as session:
        with session.cursor() as cursor:
            if engine.dialect.driver == "psycopg2":
                cursor.copy_expert(copy, io.StringIO(users_csv))
            else:
                with cursor.copy(copy) as writer:
                    writer.write(users_csv)
        session.commit()
        assert session.scalars(select(User.name)).all() == ["Alice", "Bob", "Carol"]

if engine.dialect.name != "sqlite":
    # The session sends nothing of its own before this, so it may come first.
    with SessionLocal() as session:
        conn = session.connection()
        conn.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
        user = session.query(User).filter_by(id=1).first()
        assert user is not None
        user.name = "Alice Updated"
        session.commit()
        assert session.scalars(select(User.name).filter_by(id=1)).one() == "Alice Updated"

Base.metadata.drop_all(engine)
engine.dispose()
