"""PostgreSQL's COPY: which rows go by it, what it must not change, and where ids come from.

That each value of each type is stored as the ORM stores it is in ``test_bulk_conformance.py``.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc as sa_exc
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm import Session as PlainSession

from sessionwise.transaction import activity
from tests.backends import Database, on

pytestmark = on("postgresql")

MANY = 150
"""Enough rows for COPY."""


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "Copied Item"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column('a "name" of 100%', sa.String(20), unique=True)
    small: Mapped[int | None] = mapped_column(sa.SmallInteger)
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(8, 2))
    at: Mapped[time | None]
    since: Mapped[datetime | None]
    until: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
    address: Mapped[Any] = mapped_column("select", pg.INET, nullable=True)


class Made(Base):
    __tablename__ = "copied_made"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    tag: Mapped[str] = mapped_column(
        default=lambda context: context.get_current_parameters()["name"]
    )


class Ruled(Base):
    """For one test: what is prepared for a table that stores nothing never notices it is gone."""

    __tablename__ = "copied_ruled"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Always(Base):
    __tablename__ = "copied_always"

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    name: Mapped[str]


class Sequenced(Base):
    __tablename__ = "copied_sequenced"

    id: Mapped[int] = mapped_column(sa.Sequence("copied_seq", start=1000), primary_key=True)
    name: Mapped[str]


@pytest.fixture(autouse=True)
def tables(db: Database) -> Iterator[None]:
    Base.metadata.drop_all(db.observer)
    Base.metadata.create_all(db.observer)
    yield
    Base.metadata.drop_all(db.observer)


def insert(db: Database, entity: Any, rows: Any, **options: Any) -> Any:
    """Insert rows in a session of their own, and commit."""
    with db.session() as session:
        result = session.bulk_insert(entity, rows, **options)
        session.commit()
    return result


def rows_of(count: int = MANY, start: int = 0, **values: Any) -> list[dict[str, Any]]:
    return [{"name": f"n{start + at}", **values} for at in range(count)]


def stored(db: Database, entity: Any, *names: str) -> list[Any]:
    """Return what is stored, as another connection sees it, by id."""
    columns = [getattr(entity, name) for name in names or ("id", "name")]
    with PlainSession(db.observer) as session:
        return [tuple(row) for row in session.execute(sa.select(*columns).order_by(entity.id))]


def execute(db: Database, *statements: str) -> None:
    with db.observer.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


class TestRoads:
    def test_many_rows_are_copied(self, db: Database) -> None:
        assert insert(db, Item, rows_of()).writer == "postgresql-copy"
        assert stored(db, Item) == [(at + 1, f"n{at}") for at in range(MANY)]

    def test_a_few_rows_are_inserted(self, db: Database) -> None:
        assert insert(db, Item, rows_of(10)).writer == "core"

    def test_types_that_have_no_binary_form_here(self, db: Database) -> None:
        address = ipaddress.ip_address("10.0.0.1")
        rows = rows_of(address=address, price=Decimal("1.25"), at=time(1, 2), small=None)
        result = insert(db, Item, rows)
        assert result.writer == "postgresql-copy"
        found = set(stored(db, Item, "address", "price", "at", "small"))
        assert found == {(address, Decimal("1.25"), time(1, 2), None)}

    def test_a_table_with_a_rule(self, db: Database) -> None:
        execute(db, "CREATE RULE nothing AS ON INSERT TO copied_ruled DO INSTEAD NOTHING")
        assert insert(db, Ruled, rows_of()).writer == "core"
        assert stored(db, Ruled) == []

    def test_a_view(self, db: Database) -> None:
        execute(db, "CREATE VIEW copied_view AS SELECT id, name, tag FROM copied_made")
        view = sa.table("copied_view", sa.column("name", sa.String), sa.column("tag", sa.String))
        table = sa.Table(
            "copied_view", sa.MetaData(), *(sa.Column(one.name, one.type) for one in view.c)
        )
        try:
            assert insert(db, table, rows_of(tag="x")).writer == "core"
        finally:
            execute(db, "DROP VIEW copied_view")
        assert len(stored(db, Made)) == MANY

    def test_a_partitioned_table(self, db: Database) -> None:
        execute(
            db,
            "CREATE TABLE copied_parts (id int, name text) PARTITION BY RANGE (id)",
            "CREATE TABLE copied_low PARTITION OF copied_parts FOR VALUES FROM (0) TO (100)",
            "CREATE TABLE copied_high PARTITION OF copied_parts FOR VALUES FROM (100) TO (1000)",
        )
        table = sa.Table(
            "copied_parts", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("name", sa.Text)
        )
        try:
            rows = [{"id": at, "name": "x"} for at in range(MANY)]
            assert insert(db, table, rows).writer == "postgresql-copy"
            with db.observer.connect() as connection:
                counts = (
                    "SELECT (SELECT count(*) FROM copied_low), (SELECT count(*) FROM copied_high)"
                )
                assert tuple(connection.exec_driver_sql(counts).one()) == (100, 50)
        finally:
            execute(db, "DROP TABLE copied_parts")

    def test_row_level_security(self, db: Database) -> None:
        execute(
            db,
            "DROP ROLE IF EXISTS copied_role",
            "CREATE ROLE copied_role",
            "GRANT ALL ON copied_made TO copied_role",
            "GRANT ALL ON copied_made_id_seq TO copied_role",
            "ALTER TABLE copied_made ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY only_x ON copied_made WITH CHECK (tag = 'x')",
        )
        try:
            with db.session() as session:
                session.execute(sa.text("SET LOCAL ROLE copied_role"))
                assert session.bulk_insert(Made, rows_of(tag="x")).writer == "core"
                with pytest.raises(sa_exc.DBAPIError, match="row-level security"):
                    session.bulk_insert(Made, rows_of(start=MANY, tag="y"))
        finally:
            execute(db, "DROP OWNED BY copied_role", "DROP ROLE copied_role")

    def test_a_table_that_is_not_as_the_model_says(self, db: Database) -> None:
        execute(db, "ALTER TABLE copied_made ALTER COLUMN tag TYPE date USING NULL")
        if db.driver.name == "psycopg2":  # to which all values are literals
            assert insert(db, Made, rows_of(tag="2024-02-29")).writer == "core"
            return
        with pytest.raises(sa_exc.DBAPIError, match=r'column "tag" is of type date'):
            insert(db, Made, rows_of(tag="2024-02-29"))

    def test_a_table_that_is_not_there(self, db: Database) -> None:
        table = sa.Table("copied_nowhere", sa.MetaData(), sa.Column("name", sa.Text))
        with pytest.raises(sa_exc.ProgrammingError, match="copied_nowhere"):
            insert(db, table, rows_of())

    def test_schemas_that_are_translated(self, db: Database) -> None:
        options = {"schema_translate_map": {"elsewhere": "public"}}
        table = sa.Table(
            "copied_made",
            sa.MetaData(),
            sa.Column("name", sa.String),
            sa.Column("tag", sa.String),
            schema="elsewhere",
        )
        with db.session(db.engine.execution_options(**options)) as session:
            assert session.bulk_insert(table, rows_of(tag="x")).writer == "core"
            session.commit()
        assert len(stored(db, Made)) == MANY

    def test_autocommit(self, db: Database) -> None:
        with db.session(db.engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
            assert session.bulk_insert(Made, rows_of()).writer == "core"
        assert len(stored(db, Made)) == MANY

    def test_it_is_a_statement_of_the_session(self, db: Database) -> None:
        def count(session: Any) -> tuple[int, int]:
            session.bulk_insert(Made, rows_of())
            of = activity.of(session.connection())
            return of.statements, of.writes

        with db.session() as session:
            statements, writes = session.run_sync(count) if db.driver.is_async else count(session)
        assert writes == 1
        assert statements > writes


class TestValues:
    """What psycopg would send as something else, or PostgreSQL read as such."""

    @pytest.mark.parametrize(
        ("value", "found"),
        [
            ({"since": datetime(2024, 1, 1, 12, tzinfo=UTC)}, datetime(2024, 1, 1, 12)),
            ({"until": datetime(2024, 1, 1, 12)}, datetime(2024, 1, 1, 12, tzinfo=UTC)),
            ({"price": 0.1 + 0.2}, Decimal("0.30")),
            ({"small": 7.4}, 7),
            ({"at": "12:30"}, time(12, 30)),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_are_stored_as_by_insert(self, db: Database, value: Any, found: Any) -> None:
        plain: Any = None
        with db.session() as session:
            session.execute(sa.text("SET LOCAL TIME ZONE 'UTC'"))
            try:
                with session.begin_nested():
                    session.execute(sa.insert(Item), [value])
            except sa_exc.DBAPIError as error:
                plain = type(error)
            name = next(iter(value))
            if plain is None:
                session.bulk_insert(Item, rows_of(**value))
                assert set(session.scalars(sa.select(getattr(Item, name)))) == {found}
            else:
                with pytest.raises(plain):
                    session.bulk_insert(Item, rows_of(**value))

    @pytest.mark.parametrize(
        "bad",
        [
            {"small": 70_000},
            {"small": 2**40},
            {"name": "x\0y"},
            {"name": "x" * 21},
            {"at": "noon?"},
        ],
        ids=["small", "large", "NUL", "long", "time"],
    )
    def test_what_is_refused(
        self, db: Database, bad: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, logger="psycopg")
        with db.session() as session:
            raised = []
            for write in (
                lambda: session.execute(sa.insert(Item), [bad]),
                lambda: session.bulk_insert(Item, [*rows_of(), {**rows_of(1, MANY)[0], **bad}]),
                lambda: session.bulk_insert(
                    Item, [{"small": 1, "at": None, "name": None, **bad}] * MANY
                ),
            ):
                if raised:
                    caplog.clear()
                with (
                    pytest.raises((sa_exc.SQLAlchemyError, ValueError)) as refused,
                    session.begin_nested(),
                ):
                    write()
                raised.append(type(refused.value))
            assert len(set(raised)) == 1
            assert session.scalar(sa.select(sa.func.count()).select_from(Item)) == 0
            assert session.bulk_insert(Item, rows_of()).writer == "postgresql-copy"
        assert caplog.messages == []

    def test_a_violation_names_the_constraint(self, db: Database) -> None:
        with db.session() as session:
            session.bulk_insert(Item, rows_of())
            with pytest.raises(sa_exc.IntegrityError, match="Copied Item_") as raised:
                session.bulk_insert(Item, rows_of(start=MANY - 1))
            if db.driver.name.startswith("psycopg"):
                assert raised.value.orig.diag.constraint_name.startswith("Copied Item_")
            assert session.scalar(sa.select(sa.func.count()).select_from(Item)) == MANY
            session.commit()
        assert len(stored(db, Item)) == MANY

    def test_a_table_whose_types_have_changed(self, db: Database) -> None:
        """asyncpg remembers them, and one number's eight bytes are another's."""
        engine = db.new_engine(pool_size=1)
        metadata = sa.MetaData()
        before = sa.Table("copied_type", metadata, sa.Column("value", sa.Double))
        after = sa.Table("copied_type", sa.MetaData(), sa.Column("value", sa.BigInteger))
        try:
            for table, value in ((before, 1.5), (after, 1)):
                table.drop(db.observer, checkfirst=True)
                table.create(db.observer)
                with db.session(engine) as session:
                    rows = [{"value": value}] * MANY
                    assert session.bulk_insert(table, rows).writer == "postgresql-copy"
                    session.commit()
                with db.observer.connect() as connection:
                    assert set(connection.scalars(sa.select(table.c.value))) == {value}
        finally:
            db.dispose(engine)
            after.drop(db.observer, checkfirst=True)

    def test_defaults_are_made_once(self, db: Database) -> None:
        calls: list[int] = []
        table = sa.Table(
            "copied_made",
            sa.MetaData(),
            sa.Column("name", sa.String),
            sa.Column("tag", sa.String, default=lambda: calls.append(1) or "made"),
        )
        with db.session() as session:
            session.bulk_insert(table, rows_of(MANY - 1))
            session.rollback()
        assert len(calls) == MANY - 1


class TestIds:
    def test_are_in_the_order_of_the_rows(self, db: Database) -> None:
        result = insert(db, Item, rows_of(), returning=True)
        assert result.writer == "postgresql-copy"
        assert stored(db, Item) == [(id_, f"n{at}") for at, id_ in enumerate(result.ids)]

    def test_others_take_some_at_the_same_time(self, db: Database) -> None:
        """A sequence of which each connection takes ten at a time gives no unbroken range."""
        execute(db, "ALTER SEQUENCE copied_made_id_seq CACHE 10")
        with db.observer.begin() as other:
            other.exec_driver_sql("SELECT nextval('copied_made_id_seq')")
            with db.session() as session:
                ids = session.bulk_insert(Made, rows_of(), returning=True).ids
                session.commit()
        assert stored(db, Made) == [(id_, f"n{at}") for at, id_ in enumerate(ids)]

    @pytest.mark.parametrize("returning", [False, True])
    @pytest.mark.parametrize("count", [5, MANY])
    @pytest.mark.parametrize("first", [1, 5_000_000])
    def test_given_ones_move_the_sequence_on(
        self, db: Database, returning: bool, count: int, first: int
    ) -> None:
        rows = [{"id": first + at, **row} for at, row in enumerate(rows_of(count))]
        result = insert(db, Made, rows, returning=returning)
        assert result.ids == ([row["id"] for row in rows] if returning else None)
        assert insert(db, Made, rows_of(start=count), returning=True).ids[0] == first + count

    def test_given_ones_do_not_set_it_back(self, db: Database) -> None:
        execute(db, "SELECT setval('copied_made_id_seq', 10000)")
        insert(db, Made, [{"id": at + 1, **row} for at, row in enumerate(rows_of())])
        assert insert(db, Made, rows_of(), returning=True).ids[0] == 10_001

    def test_always_by_the_database(self, db: Database) -> None:
        result = insert(db, Always, rows_of(), returning=True)
        assert stored(db, Always) == [(id_, f"n{at}") for at, id_ in enumerate(result.ids)]
        with pytest.raises(sa_exc.DBAPIError, match="non-DEFAULT value"):
            insert(db, Always, [{"id": 1000 + at, "name": "x"} for at in range(MANY)])

    @pytest.mark.parametrize("returning", [False, True])
    def test_of_a_sequence_that_only_the_model_knows(self, db: Database, returning: bool) -> None:
        assert insert(db, Sequenced, rows_of(), returning=returning).writer == "postgresql-copy"
        assert [id_ for id_, _ in stored(db, Sequenced)] == list(range(1000, 1000 + MANY))


class TestArrow:
    def batch(self, **columns: Any) -> Any:
        import pyarrow

        return pyarrow.table(columns)

    def test_types_are_made_to_fit(self, db: Database) -> None:
        import pyarrow as pa

        names = pa.array([f"n{at}" for at in range(MANY)]).cast(pa.large_string())
        moments = pa.array([datetime(2024, 2, 29, 12, 30)] * MANY, pa.timestamp("ns"))
        zoned = pa.array(
            [datetime(2024, 2, 29, 12, tzinfo=UTC)] * MANY, pa.timestamp("s", "Asia/Tokyo")
        )
        table = self.batch(
            name=names.dictionary_encode(),
            small=pa.array([1, None] * (MANY // 2), pa.int64()),
            price=pa.array([Decimal("1.25")] * MANY),
            at=pa.array([time(1, 2, 3)] * MANY, pa.time32("s")),
            since=moments,
            until=zoned,
        )
        result = insert(db, Item, table, returning=True)
        assert result.writer == "postgresql-copy"
        found = stored(db, Item, "id", "name", "small", "price", "at", "since", "until")
        assert found == [
            (
                id_,
                f"n{at}",
                None if at % 2 else 1,
                Decimal("1.25"),
                time(1, 2, 3),
                datetime(2024, 2, 29, 12, 30),
                datetime(2024, 2, 29, 12, tzinfo=UTC),
            )
            for at, id_ in enumerate(result.ids)
        ]

    def test_no_row_becomes_an_object(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        from sessionwise.bulk.reading.rows import Chunk

        monkeypatch.delattr(Chunk, "rows")
        insert(db, Item, self.batch(name=[f"n{at}" for at in range(MANY)], small=[7] * MANY))
        assert set(stored(db, Item, "small")) == {(7,)}

    def test_defaults_are_made(self, db: Database) -> None:
        insert(db, Made, self.batch(name=[f"n{at}" for at in range(MANY)]))
        assert stored(db, Made, "name", "tag") == [(f"n{at}", f"n{at}") for at in range(MANY)]

    def test_a_value_that_is_too_large(self, db: Database) -> None:
        with pytest.raises(sa_exc.DBAPIError):
            insert(db, Item, self.batch(small=[1] * MANY + [70_000]))
        assert stored(db, Item) == []

    def test_given_ids_move_the_sequence_on(self, db: Database) -> None:
        table = self.batch(id=list(range(100, 100 + MANY)), name=["x"] * MANY, tag=["y"] * MANY)
        assert insert(db, Made, table, returning=True).ids == list(range(100, 100 + MANY))
        assert insert(db, Made, rows_of(), returning=True).ids[0] == 100 + MANY

    def test_without_the_encoder(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pgpq", None)
        insert(db, Item, self.batch(name=[f"n{at}" for at in range(MANY)]))
        assert len(stored(db, Item)) == MANY
