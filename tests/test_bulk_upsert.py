"""Technique 3: rows into a table, those whose key is there already over what is there."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError

from sessionwise import dialects
from sessionwise.bulk import announce
from sessionwise.bulk.upsert import FEW, excluded, upsert
from sessionwise.errors import (
    BulkInputError,
    OptionError,
    TransactionDoomedError,
    UnsupportedError,
)
from tests.backends import Database, on
from tests.club import Staff
from tests.stock import Cellar, Item, Part, Place, empty, price, run, stored, temporary_tables

MANY = FEW + 100


@pytest.fixture
def stock(db: Database) -> Database:
    empty(db)
    with db.session() as session:
        session.add_all([Item(code="a", label="old", pieces=1), Item(code="b", pieces=2)])
        session.add(Part(code="a", pieces=1))
        session.commit()
    return db


def padded(*rows: dict[str, Any], many: bool) -> list[dict[str, Any]]:
    """Add rows enough for a staging table, of the last one's shape."""
    more = [{**rows[-1], "code": f"x{at}"} for at in range(MANY)] if many else []
    return [*rows, *more]


def counts(result: Any) -> tuple[int, int, int]:
    return result.inserted, result.updated, result.skipped


@pytest.mark.parametrize("many", [False, True])
class TestRows:
    def test_old_ones_are_updated_and_new_ones_inserted(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "a", "pieces": 5}, {"code": "c", "pieces": 6}, many=many)
        with stock.session() as session:
            result = run(session, upsert, Item, rows, keys=("code",))
            session.commit()
        assert counts(result) == (len(rows) - 1, 1, 0)
        found = [row for row in stored(stock, Item.code, Item.label, Item.pieces) if row[0] < "x"]
        assert found == [("a", "old", 5), ("b", None, 2), ("c", None, 6)]

    def test_equal_ones_count_as_updated(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "a", "pieces": 1}, {"code": "b", "pieces": 2}, many=many)
        with stock.session() as session:
            assert counts(run(session, upsert, Item, rows, keys=["code"])) == (len(rows) - 2, 2, 0)
            assert counts(run(session, upsert, Item, rows, keys=["code"])) == (0, len(rows), 0)

    def test_of_several_shapes(self, stock: Database, many: bool) -> None:
        """What a row leaves out stays, or gets its default."""
        rows = padded(
            {"code": "a", "label": "new"}, {"code": "c"}, {"code": "b", "pieces": 9}, many=many
        )
        with stock.session() as session:
            result = run(session, upsert, Item, rows, keys=("code",))
            session.commit()
        assert counts(result) == (len(rows) - 2, 2, 0)
        found = [row for row in stored(stock, Item.code, Item.label, Item.pieces) if row[0] < "x"]
        assert found == [("a", "new", 1), ("b", None, 9), ("c", None, 7)]

    def test_loaded_objects_are_expired(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "a", "pieces": 5}, many=many)
        with stock.session() as session:
            item = session.scalars(select(Item).where(Item.code == "a")).one()
            run(session, upsert, Item, rows, keys=("code",))
            assert stock.inside(session, lambda: (item.pieces, item.twice)) == (5, 10)

    def test_others_are_not(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "a", "pieces": 5}, {"code": "c", "pieces": 5}, many=many)
        with stock.session() as session:
            part = session.scalars(select(Part)).one()
            run(session, upsert, Item, rows, keys=("code",), returning=True)
            with stock.statements() as seen:
                assert stock.inside(session, lambda: part.pieces) == 1
            assert seen == []

    def test_versions_and_defaults(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "a", "pieces": 5}, {"code": "b", "pieces": 5}, many=many)
        columns = (Part.code, Part.state, Part.length, Part.version)
        with stock.session() as session:
            part = session.scalars(select(Part)).one()
            run(session, upsert, Part, rows, keys=("code",))
            assert stock.inside(session, lambda: part.version) == 2
            part.pieces = 6  # flushed with the version that it has now
            session.commit()
        found = [row for row in stored(stock, *columns) if row[0] < "x"]
        assert found == [("a", "changed", 4, 3), ("b", "new", None, 1)]

    def test_only_some_columns(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "a", "label": "new", "pieces": 5}, many=many)
        with stock.session() as session:
            run(session, upsert, Item, rows, keys=("code",), update=("pieces",))
            session.commit()
        assert ("a", "old", 5) in stored(stock, Item.code, Item.label, Item.pieces)

    def test_expressions(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "a", "label": "new", "pieces": 5}, many=many)
        update = {"pieces": Item.pieces * 10 + excluded(Item).pieces, "label": "plain"}
        with stock.session() as session:
            run(session, upsert, Item, rows, keys=("code",), update=update)
            session.commit()
        assert ("a", "plain", 15) in stored(stock, Item.code, Item.label, Item.pieces)

    def test_condition(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "a", "pieces": 5}, {"code": "b", "pieces": 1}, many=many)
        where = Item.pieces < excluded(Item).pieces
        with stock.session() as session:
            result = run(session, upsert, Item, rows, keys=("code",), where=where)
            session.commit()
        assert counts(result) == (len(rows) - 2, 1, 1)
        assert stored(stock, Item.code, Item.pieces)[:2] == [("a", 5), ("b", 2)]

    def test_nothing_to_update(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "a", "pieces": 5}, {"code": "c", "pieces": 5}, many=many)
        with stock.session() as session:
            result = run(session, upsert, Item, rows, keys=("code",), update=())
            session.commit()
        assert counts(result) == (len(rows) - 1, 0, 1)
        assert stored(stock, Item.code, Item.pieces)[0] == ("a", 1)

    def test_duplicates_are_named(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "c", "pieces": 1}, {"code": "a", "pieces": 1}, many=many)
        rows.append({"code": "c", "label": "another shape"})
        with stock.session() as session:
            with pytest.raises(BulkInputError, match=rf"'c'.*rows 0 and {len(rows) - 1:,}"):
                run(session, upsert, Item, rows, keys=("code",))
            session.commit()
        assert stored(stock, Item.code, Item.pieces) == [("a", 1), ("b", 2)]

    def test_last_duplicate_wins(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "c", "pieces": 1}, {"code": "a", "pieces": 1}, many=many)
        rows += [{"code": "c", "label": "another shape"}, {"code": "a", "pieces": 3}]
        with stock.session() as session:
            result = run(session, upsert, Item, rows, keys=("code",), duplicates="last")
            session.commit()
        assert counts(result) == (len(rows) - 3, 1, 2)
        found = [row for row in stored(stock, Item.code, Item.pieces) if row[0] < "x"]
        assert found == [("a", 3), ("b", 2), ("c", 7)]

    def test_another_unique_key_is_violated(self, stock: Database, many: bool) -> None:
        rows = padded({"code": "a", "barcode": "1"}, {"code": "c", "barcode": None}, many=many)
        with stock.session() as session:
            run(session, upsert, Item, rows, keys=("code",))
            with pytest.raises(IntegrityError):
                run(session, upsert, Item, [*rows, {"code": "d", "barcode": "1"}], keys=("code",))
            assert temporary_tables(stock, session) == []
            session.commit()
        found = [row for row in stored(stock, Item.code, Item.barcode) if row[0] < "x"]
        assert found == [("a", "1"), ("b", None), ("c", None)]


class TestKeys:
    def test_primary_key_by_default(self, stock: Database) -> None:
        rows = [{"code": "a", "day": 1, "price": 1}, {"code": "a", "day": 2, "price": 1}]
        with stock.session() as session:
            run(session, upsert, price, rows)
            result = run(session, upsert, price, [{**rows[0], "price": 3}])
            session.commit()
        assert counts(result) == (0, 1, 0)
        assert stored(stock, price) == [("a", 1, 3), ("a", 2, 1)]

    def test_null_matches_nothing(self, stock: Database) -> None:
        rows = [{"shelf": "s", "box": 1, "note": "n"}, {"shelf": "s", "box": None, "note": "n"}]
        with stock.session() as session:
            for _ in range(2):
                result = run(session, upsert, Place, rows, keys=("shelf", "box"), returning=True)
            assert counts(result) == (1, 1, 0)
            assert len(set(result.ids)) == 2
            session.commit()
        assert len(stored(stock, Place.id)) == 3

    def test_null_as_primary_key_is_made(self, stock: Database) -> None:
        with stock.session() as session:
            known = session.scalars(select(Item.id).where(Item.code == "a")).one()
            rows = [{"id": None, "code": "n"}, {"id": known, "code": "a"}]
            result = run(session, upsert, Item, rows, returning=True)
            session.commit()
        assert counts(result) == (1, 1, 0)
        by_code = dict(stored(stock, Item.code, Item.id))
        assert result.ids == [by_code["n"], known]

    def test_primary_keys_in_order(self, stock: Database) -> None:
        rows = [{"code": code, "pieces": 1} for code in "zabycx"]
        with stock.session() as session:
            result = run(session, upsert, Item, rows, keys=("code",), returning=True)
            session.commit()
        by_code = dict(stored(stock, Item.code, Item.id))
        assert result.ids == [by_code[row["code"]] for row in rows]

    def test_primary_key_of_what_is_there_stays(self, stock: Database) -> None:
        with stock.session() as session:
            run(session, upsert, Item, [{"id": 4711, "code": "a"}], keys=("code",))
            session.commit()
        assert 4711 not in dict(stored(stock, Item.id, Item.code))

    def test_both_keys_are_met(self, stock: Database) -> None:
        """By the key that counts one row is found, by another one a second."""
        with stock.session() as session:
            second = session.scalars(select(Item.id).where(Item.code == "b")).one()
            result = run(
                session, upsert, Item, [{"id": second, "code": "a", "pieces": 3}], keys=("code",)
            )
            session.commit()
        assert counts(result) == (0, 1, 0)
        assert stored(stock, Item.code, Item.pieces) == [("a", 3), ("b", 2)]

    def test_that_is_not_unique(self, stock: Database) -> None:
        with stock.session() as session:
            with pytest.raises(BulkInputError, match="no unique key"):
                run(session, upsert, Item, [{"code": "a", "pieces": 3}], keys=("pieces",))
            session.commit()

    def test_that_rows_do_not_have(self, stock: Database) -> None:
        with stock.session() as session:
            with pytest.raises(BulkInputError, match="no value for id"):
                run(session, upsert, Item, [{"code": "a"}])

    def test_case_as_the_database_has_it(self, stock: Database) -> None:
        """MariaDB's default collation takes "A" and "a" for the same."""
        rows = [{"code": "q", "pieces": 1}, {"code": "Q", "pieces": 2}]
        with stock.session() as session:
            if stock.driver.server == "mariadb":
                with pytest.raises(BulkInputError, match="rows 0 and 1"):
                    run(session, upsert, Item, rows, keys=("code",))
            else:
                result = run(session, upsert, Item, rows, keys=("code",))
                assert counts(result) == (2, 0, 0)


class TestAround:
    def test_pending_objects_are_flushed_first(self, stock: Database) -> None:
        with stock.session() as session:
            session.add(Item(code="p"))
            result = run(session, upsert, Item, [{"code": "p", "pieces": 3}], keys=("code",))
            assert counts(result) == (0, 1, 0)

    def test_in_small_chunks(self, stock: Database) -> None:
        rows = [{"code": f"k{at}", "pieces": at} for at in range(MANY)]
        seen: list[int] = []
        with stock.session() as session:
            result = run(
                session,
                upsert,
                Item,
                rows,
                keys=("code",),
                chunk_size=100,
                progress=lambda so_far: seen.append(so_far.rows),
            )
        assert counts(result) == (MANY, 0, 0)
        assert seen == list(range(100, MANY + 1, 100))

    def test_no_rows(self, stock: Database) -> None:
        with stock.session() as session:
            assert counts(run(session, upsert, Item, [], keys=("code",))) == (0, 0, 0)

    def test_temporary_tables_are_gone(self, stock: Database) -> None:
        rows = [{"code": f"k{at}"} for at in range(MANY)]
        with stock.session() as session:
            run(session, upsert, Item, rows, keys=("code",))
            assert temporary_tables(stock, session) == []

    def test_an_error_undoes_this_call_only(self, stock: Database) -> None:
        def rows() -> Any:
            yield {"code": "c"}
            raise ZeroDivisionError

        with stock.session() as session:
            session.add(Item(code="kept"))
            with pytest.raises(ZeroDivisionError):
                run(session, upsert, Item, rows(), keys=("code",), returning=True)
            assert temporary_tables(stock, session) == []
            session.commit()
        assert [code for (code,) in stored(stock, Item.code)] == ["a", "b", "kept"]

    def test_is_announced(self, stock: Database) -> None:
        heard: list[Any] = []
        rows = [{"code": code, "pieces": 1} for code in "abc"]
        with stock.session() as session:
            target = session.target.sync_session if stock.driver.is_async else session
            announce.listen(target, lambda one: heard.append((one.kind, one.done, len(one.chunk))))
            run(session, upsert, Item, rows, keys=("code",), returning=True)
        assert heard == [("upsert", False, 3), ("upsert", True, 3)]

    def test_old_values_are_read_before_they_are_set(self, stock: Database) -> None:
        """Each column gets its new value from the old row, in MariaDB as well."""
        update = {"pieces": Part.pieces + 1, "other": Part.pieces}
        with stock.session() as session:
            run(session, upsert, Part, [{"code": "a"}], keys=("code",), update=update)
            session.commit()
        assert stored(stock, Part.pieces, Part.other) == [(2, 1)]

    @on("mariadb")
    def test_values_made_from_each_other(self, stock: Database) -> None:
        update = {"pieces": Part.other, "other": Part.pieces}
        with stock.session() as session:
            with pytest.raises(UnsupportedError, match="pieces, other"):
                run(session, upsert, Part, [{"code": "a"}], keys=("code",), update=update)

    def test_functions_are_called_for_each_row(self, stock: Database) -> None:
        rows = [{"code": code, "pieces": 1} for code in "abc"]
        with stock.session() as session:
            for _ in range(2):
                run(session, upsert, Part, rows, keys=("code",))
            session.commit()
        assert len(set(stored(stock, Part.revision))) == 3

    def test_class_in_the_table_of_another(self, stock: Database) -> None:
        with stock.session() as session:
            run(session, upsert, Cellar, [{"shelf": "s", "box": 1}], keys=("shelf", "box"))
            assert session.scalars(select(Cellar)).one().box == 1

    def test_class_with_several_tables(self, stock: Database) -> None:
        with stock.session() as session:
            with pytest.raises(UnsupportedError, match="club_member, club_staff"):
                run(session, upsert, Staff, [{"id": 1}])

    @pytest.mark.parametrize(
        "options", [{"duplicates": "first"}, {"keys": "code"}, {"update": "code"}]
    )
    def test_options_that_are_none(self, stock: Database, options: Any) -> None:
        with stock.session() as session:
            with pytest.raises(OptionError):
                run(session, upsert, Item, [], **options)

    @on("postgresql")
    def test_table_with_partitions(self, stock: Database) -> None:
        rows = [{"code": "a", "day": 1, "price": 3}, {"code": "b", "day": 1, "price": 3}]
        with stock.session() as session:
            connection = session.connection()
            connection.exec_driver_sql("ALTER TABLE stock_price RENAME TO stock_price_plain")
            connection.exec_driver_sql(
                "CREATE TABLE stock_price (code varchar(20), day int, price int NOT NULL,"
                " PRIMARY KEY (code, day)) PARTITION BY HASH (code)"
            )
            connection.exec_driver_sql(
                "CREATE TABLE stock_price_1 PARTITION OF stock_price"
                " FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
            )
            assert counts(run(session, upsert, price, rows[:1])) == (1, 0, 0)
            assert counts(run(session, upsert, price, rows)) == (1, 1, 0)
            session.rollback()


@on("sqlite3", "psycopg", "psycopg2", "pymysql")
@pytest.mark.parametrize("barcodes", [False, True])
@pytest.mark.parametrize("size", [20, MANY])
class TestAtOnce:
    def test_nothing_is_lost(self, stock: Database, size: int, barcodes: bool) -> None:
        """Four writers of the same rows, in different orders."""
        writers, rounds = 4, 3
        options = {"isolation_level": "IMMEDIATE"} if stock.driver.server == "sqlite" else {}
        engine = stock.new_engine(pool_size=writers, connect_args=options)
        totals: list[tuple[int, int, int]] = []
        errors: list[BaseException] = []

        def write(number: int) -> None:
            rows = [{"code": f"k{at}", "pieces": 1} for at in range(size)]
            if barcodes:
                rows = [{**row, "barcode": row["code"]} for row in rows]
            for turn in range(rounds):
                one(rows[::-1] if (number + turn) % 2 else rows)

        def one(rows: Any) -> None:
            while True:
                try:
                    with stock.session(engine) as session:
                        update = {"pieces": Item.pieces + excluded(Item).pieces}
                        found = upsert(session, Item, rows, keys=("code",), update=update)
                        session.commit()
                    totals.append(counts(found))
                    return
                except DBAPIError as error:
                    if not dialects.of(engine.dialect).is_transient(error.orig):
                        errors.append(error)
                        return

        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engine.dispose()
        assert errors == []
        found = [row for row in stored(stock, Item.code, Item.pieces) if row[0] > "k"]
        assert found == sorted((f"k{at}", writers * rounds) for at in range(size))
        sums = [sum(column) for column in zip(*totals, strict=True)]
        assert sums == [size, size * (writers * rounds - 1), 0]


@on("pymysql")
def test_a_deadlock_is_what_is_raised(stock: Database) -> None:
    """It has undone the savepoint, too: that this is missing says nothing."""
    barrier = threading.Barrier(2)
    codes: list[int] = []

    def write(first: str, second: str) -> None:
        with stock.session() as session:
            upsert(session, Item, [{"code": first, "pieces": 1}], keys=("code",))
            barrier.wait()
            try:
                upsert(session, Item, [{"code": second, "pieces": 1}], keys=("code",))
                session.commit()
            except DBAPIError as error:
                codes.append(error.orig.args[0])  # type: ignore[union-attr]
                with pytest.raises(TransactionDoomedError):
                    session.execute(select(1))

    threads = [threading.Thread(target=write, args=pair) for pair in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 1467 is what a deadlock is called where the lock is that of AUTO_INCREMENT.
    assert codes in ([1213], [1467])
