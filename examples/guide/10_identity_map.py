"""Technique 10: look into the identity map to debug the state of objects."""

import os

from sqlalchemy import String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sessionwise import sessionmaker


class Base(DeclarativeBase):
    """The base of the models."""


class User(Base):
    """A user."""

    __tablename__ = "guide_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


engine = create_engine(os.environ.get("DATABASE_URL", "sqlite://"))
SessionLocal = sessionmaker(bind=engine)
Base.metadata.create_all(engine)

with SessionLocal() as session:
    session.add_all([User(name="Alice"), User(name="Bob")])
    session.commit()

with SessionLocal() as session:
    user1 = session.query(User).filter_by(id=1).first()
    user2 = session.query(User).filter_by(id=2).first()

    # The guide: {(User, (1,)): <User id=1>, (User, (2,)): <User id=2>}
    print(session.identity_map)
    assert repr(session.identity_map) == "{(User, (1,)): <User id=1>, (User, (2,)): <User id=2>}"

    # Every object in it, under SQLAlchemy's own three-part key.
    for key, obj in session.identity_map.items():
        print(f"{key}: {obj}")
    assert list(session.identity_map) == [(User, (1,), None), (User, (2,), None)]

    # Hunting a leak: how many are there, and out with them.
    users = session.query(User).all()
    assert len(session.identity_map) == len(users) == 2
    session.expunge_all()
    assert len(session.identity_map) == 0

with SessionLocal() as session:
    # Is an object of this identity in the session? The guide's own key.
    key = (User, (1,))
    assert key not in session.identity_map
    user = session.get(User, 1)
    assert key in session.identity_map
    assert session.identity_map[key] is user

Base.metadata.drop_all(engine)
engine.dispose()
