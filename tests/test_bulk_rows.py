"""Technique 3: rows of any kind, as chunks of rows that have the same columns."""

from __future__ import annotations

import tracemalloc
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import create_engine, literal, select
from sqlalchemy.orm import Session

from sessionwise.bulk.reading.rows import Chunk, chunks
from sessionwise.bulk.target import Target
from sessionwise.errors import BulkInputError
from tests import library
from tests.library import Author, Book, Guest, Librarian, Loan, Person, Place, Shelf
from tests.model import Order, User

duckdb = pytest.importorskip("duckdb")
pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

Point = namedtuple("Point", "x y")


@dataclass
class Item:
    name: str
    price: int


def read(source: Any, size: int = 100, **options: Any) -> list[Chunk]:
    return list(chunks(source, chunk_size=size, **options))


def dicts(found: list[Chunk]) -> list[dict[str, Any]]:
    """Put the rows of chunks in their order again."""
    rows = {
        position: dict(zip(chunk.names, row, strict=True))
        for chunk in found
        for position, row in zip(chunk.positions, chunk.rows, strict=True)
    }
    assert sorted(rows) == list(range(len(rows)))
    return [rows[position] for position in sorted(rows)]


class TestDicts:
    def test_that_have_the_same_keys_are_one_chunk(self) -> None:
        [chunk] = read([{"a": 1, "b": 2}, {"b": 4, "a": 3}])
        assert chunk.names == ("a", "b")
        assert chunk.positions == range(2)
        assert chunk.values == [(1, 2), (3, 4)]
        assert chunk.batch is None

    @pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
    def test_chunks_have_at_most_their_size(self, count: int) -> None:
        found = read([{"a": at} for at in range(count)])
        assert [len(chunk) for chunk in found] == [100] * (count // 100) + [count % 100] * (
            count % 100 > 0
        )
        assert dicts(found) == [{"a": at} for at in range(count)]
        assert all(isinstance(chunk.positions, range) for chunk in found)

    def test_of_different_keys_are_grouped_in_their_window(self) -> None:
        rows = [{"a": 1}, {"a": 2, "b": 3}, {"b": 4, "a": 5}, {"b": 6}, {}, {"a": 7}]
        found = read(rows, size=5)
        assert [(one.names, list(one.positions)) for one in found] == [
            (("a",), [0]),
            (("a", "b"), [1, 2]),
            (("b",), [3]),
            ((), [4]),
            (("a",), [5]),
        ]
        assert dicts(found) == rows

    def test_without_any_key_have_nothing_but_defaults(self) -> None:
        [chunk] = read([{}, {}])
        assert (chunk.names, chunk.values) == ((), [(), ()])

    @pytest.mark.parametrize(
        "kind", [OrderedDict, MappingProxyType, lambda d: defaultdict(int, d)]
    )
    def test_any_mapping_is_a_row(self, kind: Any) -> None:
        rows = [{"a": 1, "b": 2}, {"a": 3, "c": 4}, {"a": 5, "b": 6}]
        assert dicts(read([kind(row) for row in rows])) == rows

    def test_columns_take_some_of_the_keys(self) -> None:
        [chunk] = read([{"a": 1, "b": 2}, {"c": 0, "b": 4}], columns=["b"])
        assert (chunk.names, chunk.values) == (("b",), [(2,), (4,)])

    def test_columns_that_a_row_does_not_have_are_an_error(self) -> None:
        with pytest.raises(
            BulkInputError, match=r"^row 101: it has no value for 'b', .* has a, c"
        ):
            read([{"a": 1, "b": 2}] * 101 + [{"a": 1, "c": 2}], columns=["a", "b"])

    def test_keys_are_names(self) -> None:
        with pytest.raises(BulkInputError, match=r"^row 0: the key 5 is not a name"):
            read([{5: 1}])
        with pytest.raises(BulkInputError, match=r"^row 1: the key .* is not a name"):
            read([{"id": 1}, {User.name: 1}])


class TestTuples:
    def test_have_their_names_from_columns(self) -> None:
        [chunk] = read([(1, 2), [3, 4]], columns=["a", "b"])
        assert (chunk.names, list(map(tuple, chunk.rows))) == (("a", "b"), [(1, 2), (3, 4)])

    def test_need_columns(self) -> None:
        with pytest.raises(BulkInputError, match=r"^row 0: \(1, 2\) is a tuple: .* columns="):
            read([(1, 2)])

    def test_of_another_length_are_an_error(self) -> None:
        with pytest.raises(BulkInputError, match=r"^row 150: \(3,\) has 1 values, and .* 2 names"):
            read([(1, 2)] * 150 + [(3,)], columns=["a", "b"])

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            (["a", "a"], r"columns= has 'a' more than once"),
            ("ab", r"columns='ab' is one string"),
            ([1, 2], r"columns= has 1, which is not a name"),
        ],
    )
    def test_columns_are_names(self, columns: Any, message: str) -> None:
        with pytest.raises(BulkInputError, match=message):
            read([(1, 2)], columns=columns)

    def test_may_stand_among_others(self) -> None:
        rows = [(1, 2), {"a": 3, "b": 4}, Point(0, 0)._replace(x=5), [7, 8]]
        with pytest.raises(BulkInputError, match=r"^row 2: .* no value for 'a'.* has x, y"):
            read(rows, columns=["a", "b"])
        del rows[2]
        assert dicts(read(rows, columns=["a", "b"])) == [
            {"a": 1, "b": 2},
            {"a": 3, "b": 4},
            {"a": 7, "b": 8},
        ]


class TestRecords:
    def test_named_tuples_name_their_values(self) -> None:
        [chunk] = read([Point(1, 2), Point(3, 4)])
        assert (chunk.names, list(map(tuple, chunk.rows))) == (("x", "y"), [(1, 2), (3, 4)])
        [chunk] = read([Point(1, 2), Point(3, 4)], columns=["y"])
        assert (chunk.names, chunk.rows) == (("y",), [(2,), (4,)])

    def test_dataclasses(self) -> None:
        [chunk] = read([Item("pen", 2), Item("ink", 3)])
        assert (chunk.names, chunk.rows) == (("name", "price"), [("pen", 2), ("ink", 3)])
        assert dicts(read([Item("pen", 2), {"name": "ink"}])) == [
            {"name": "pen", "price": 2},
            {"name": "ink"},
        ]
        [chunk] = read([Item("pen", 2)], columns=["price"])
        assert chunk.rows == [(2,)]

    def test_a_dataclass_without_a_value_is_an_error(self) -> None:
        broken = Item("pen", 2)
        del broken.price
        with pytest.raises(BulkInputError, match=r"^row 1: a field is not set: .*price"):
            read([Item("ink", 3), broken])

    def test_rows_of_a_query(self) -> None:
        with create_engine("sqlite://").connect() as connection:
            statement = select(literal(1).label("a"), literal("x").label("b"))
            rows = connection.execute(statement).all()
            assert dicts(read(rows)) == [{"a": 1, "b": "x"}]
            mappings = connection.execute(statement).mappings().all()
            assert dicts(read(mappings)) == [{"a": 1, "b": "x"}]
            assert dicts(read(connection.execute(statement))) == [{"a": 1, "b": "x"}]
            twice = connection.execute(select(literal(1).label("a"), literal(2).label("a")))
            with pytest.raises(BulkInputError, match=r"^row 0: .*'a' more than once"):
                read(twice)


class TestInstances:
    def test_give_what_is_set(self) -> None:
        rows = [User(name="Ann"), User(name="Ben", balance=3), User(id=7, name=None)]
        assert dicts(read(rows)) == [
            {"name": "Ann"},
            {"name": "Ben", "balance": 3},
            {"id": 7, "name": None},
        ]

    def test_of_another_class_are_an_error(self) -> None:
        with pytest.raises(BulkInputError, match=r"^row 1: it is a Order, .* for User"):
            read([User(name="Ann"), Order(amount=1)], target=Target.of(User))

    def test_of_subclasses_are_rows_of_their_base(self) -> None:
        found = read([Person(name="a"), Guest(name="b", card=3)], target=Target.of(Person))
        assert dicts(found) == [
            {"name": "a", "kind": "person"},
            {"name": "b", "card": 3, "kind": "guest"},
        ]
        [chunk] = read([Librarian(name="c", desk=1)])
        assert set(chunk.names) == {"name", "desk", "kind"}

    def test_for_a_table_are_named_as_its_columns(self) -> None:
        [chunk] = read([User(name="Ann")], target=Target.of(User.__table__))
        assert chunk.names == ("name",)

    def test_take_the_key_of_their_parent(self) -> None:
        author = Author(id=5, name="a")
        book = Book(title="appended")
        author.books.append(book)
        rows = [Book(title="t", author=author), book, Book(title="u", author=author, author_id=9)]
        assert [row["author_id"] for row in dicts(read(rows))] == [5, 5, 5]

    def test_take_a_key_of_several_columns(self) -> None:
        rows = dicts(read([Loan(place=Place(row=1, letter="b"), person=Guest(id=3, name="g"))]))
        assert rows == [{"row": 1, "letter": "b", "person_id": 3}]

    def test_parents_come_first(self) -> None:
        with pytest.raises(BulkInputError, match=r"^row 1: its author has no key yet; .*flush"):
            read([Book(title="t"), Book(title="t", author=Author(name="new"))])

    def test_take_the_key_of_an_expired_parent(self) -> None:
        with stored() as session:
            author = session.get_one(Author, 1)
            session.expire(author)
            book = Book(title="t", author=author)
            assert dicts(read([book]))[0]["author_id"] == 1

    @pytest.mark.parametrize(
        "values",
        [
            {},
            {"author": None},
            {"author_id": 2},
            {"author": None, "author_id": 2},
            {"author_id": 2, "author": 1},
            {"author": 1},
            {"author_id": None, "author": 1},
        ],
    )
    def test_store_what_a_flush_stores(self, values: dict[str, Any]) -> None:
        def book(session: Session) -> Book:
            made = Book(title="t")
            for name, value in values.items():
                is_key = name == "author" and value is not None
                with session.no_autoflush:
                    setattr(made, name, session.get_one(Author, value) if is_key else value)
            return made

        with stored() as session:
            [row] = dicts(read([made := book(session)]))
            session.add(made)
            session.flush()
            assert row.get("author_id") == made.author_id

    @pytest.mark.parametrize("key", [2, None])
    def test_a_loaded_parent_gives_way_to_a_changed_key(self, key: int | None) -> None:
        with stored() as session:
            book = session.get_one(Book, 1)
            assert book.author is not None
            book.author_id = key
            [row] = dicts(read([book]))
            session.flush()
            assert row["author_id"] == key == book.author_id


def stored() -> Session:
    """Return a session on a database with two authors and a book."""
    engine = create_engine("sqlite://")
    library.Base.metadata.create_all(engine)
    session = Session(engine)
    session.add_all([Author(id=1, name="a"), Author(id=2, name="b")])
    session.add_all([Book(id=1, title="t", author_id=1), Shelf(id=1, name="s")])
    session.commit()
    return session


class TestArrow:
    TABLE = pa.table({"a": list(range(250)), "b": [str(at) for at in range(250)]})

    @pytest.mark.parametrize("size", [1, 100, 125, 250, 1000])
    def test_is_cut_to_size(self, size: int) -> None:
        table = pa.concat_tables([self.TABLE.slice(0, 30), self.TABLE.slice(30)])
        found = read(table, size=size)
        assert all(chunk.values is None for chunk in found)
        assert [len(chunk) for chunk in found[:-1]] == [size] * (len(found) - 1)
        assert dicts(found) == self.TABLE.to_pylist()

    @pytest.mark.parametrize(
        "kind",
        [
            lambda table: table,
            lambda table: table.to_reader(),
            lambda table: table.to_batches()[0],
            pl.from_arrow,
            lambda table: table.to_pandas(),
            duckdb.from_arrow,
        ],
        ids=["Table", "RecordBatchReader", "RecordBatch", "polars", "pandas", "duckdb"],
    )
    def test_comes_from_anywhere(self, kind: Any) -> None:
        found = read(kind(self.TABLE))
        assert {chunk.batch.schema.field("b").type for chunk in found} <= {
            pa.string(),
            pa.large_string(),
        }
        assert dicts(found) == self.TABLE.to_pylist()

    def test_columns_take_some(self) -> None:
        found = read(self.TABLE, columns=["b"])
        assert found[0].batch.schema.names == ["b"]
        with pytest.raises(BulkInputError, match=r"row 0: it has no value for 'c'"):
            read(self.TABLE, columns=["c"])

    def test_is_of_plain_types(self) -> None:
        frame = pl.DataFrame(
            {
                "category": pl.Series(["u", "v", None], dtype=pl.Categorical),
                "enum": pl.Series(["u", None, "v"], dtype=pl.Enum(["u", "v"])),
                "list": pl.Series([["a"], None, ["b", None]], dtype=pl.List(pl.Categorical)),
                "struct": [{"x": "q"}, {"x": None}, None],
                "nanoseconds": pl.Series([datetime(2024, 1, 2)] * 3, dtype=pl.Datetime("ns")),
                "bytes": [b"a", None, b"b"],
            }
        )
        [chunk] = read(frame)
        types = dict(zip(chunk.names, chunk.batch.schema.types, strict=True))
        assert types["category"] == types["enum"] == pa.string()
        assert types["list"] == pa.large_list(pa.string())
        assert types["struct"] == pa.struct([("x", pa.string())])
        assert types["nanoseconds"] == pa.timestamp("us")
        assert types["bytes"] == pa.binary()
        assert dicts([chunk]) == frame.to_dicts()

    def test_runs_and_lists_of_views_are_plain(self) -> None:
        import pyarrow.compute as pc

        views = pa.array([["a"], None], pa.list_view(pa.string_view()))
        batch = pa.record_batch(
            {
                "run": pc.run_end_encode(pa.array(["a", "a"])),
                "views": views,
                "id": pa.array([b"0" * 16, None], pa.uuid()),
            }
        )
        [chunk] = read(batch)
        assert chunk.batch.schema.types == [pa.string(), pa.list_(pa.string()), pa.uuid()]
        assert [row["views"] for row in dicts([chunk])] == [["a"], None]

    def test_parts_of_a_microsecond_are_an_error(self) -> None:
        table = pa.table({"t": pa.array([0, 1500], pa.timestamp("ns"))})
        with pytest.raises(BulkInputError, match=r"rows 0 to 1: 't' is timestamp\[ns\], .* Round"):
            read(table)

    def test_an_index_that_nobody_named_is_no_column(self) -> None:
        frame = pd.DataFrame({"a": [1, 2, 3]})
        assert dicts(read(frame[frame.a > 1])) == [{"a": 2}, {"a": 3}]
        named = frame.set_index(pd.Index([7, 8, 9], name="id"))
        assert dicts(read(named))[0] == {"a": 1, "id": 7}

    def test_whole_numbers_with_gaps_are_whole_again(self) -> None:
        frame = pd.DataFrame({"id": [1, 2], "amount": [5.0, None]})
        [chunk] = read(frame, target=Target.of(Order))
        assert chunk.batch.schema.field("amount").type == pa.int64()
        assert [row["amount"] for row in dicts([chunk])] == [5, None]

    def test_a_number_that_is_not_whole_is_an_error(self) -> None:
        frame = pl.DataFrame({"amount": [1.0] * 150 + [1.5]})
        with pytest.raises(BulkInputError, match=r"^row 150: amount=1\.5 is not a whole number"):
            read(frame, target=Target.of(Order))

    @pytest.mark.parametrize(
        "source",
        [pl.Series([1]), pa.array([1]), pd.DataFrame({"a": [1, "x"]})],
        ids=["Series", "Array", "mixed"],
    )
    def test_that_is_not_rows_is_an_error(self, source: Any) -> None:
        with pytest.raises(BulkInputError, match=r"cannot be read as rows of Arrow data"):
            read(source)

    def test_that_names_a_column_twice_is_an_error(self) -> None:
        table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
        with pytest.raises(BulkInputError, match=r"the Arrow data has 'a' more than once"):
            read(table)

    @pytest.mark.parametrize("source", [TABLE.slice(0, 0), pl.DataFrame({"a": []})])
    def test_without_rows_is_nothing(self, source: Any) -> None:
        assert read(source) == []


class TestSource:
    @pytest.mark.parametrize("source", ["ab", b"ab", {"a": 1}, 5, None, User, User(name="Ann")])
    def test_that_is_not_many_rows_is_an_error(self, source: Any) -> None:
        with pytest.raises(BulkInputError, match="give a list of rows"):
            read(source)

    @pytest.mark.parametrize("row", ["ab", 5, None, {1, 2}, User])
    def test_that_has_something_else_is_an_error(self, row: Any) -> None:
        with pytest.raises(BulkInputError, match=r"^row 1: .* is not a row; a row is a dict"):
            read([{"a": 1}, row])

    def test_an_async_generator_is_an_error(self) -> None:
        async def rows() -> Any:
            yield {"a": 1}

        with pytest.raises(BulkInputError, match="which only an AsyncSession can read"):
            read(rows())

    @pytest.mark.parametrize("source", [[], (), iter([]), {}.values()])
    def test_that_is_empty_is_nothing(self, source: Any) -> None:
        assert read(source) == []

    def test_a_generator_is_never_a_list(self) -> None:
        taken = 0

        def rows() -> Iterator[dict[str, int]]:
            nonlocal taken
            for taken in range(1, 1001):
                yield {"a": taken}

        found = chunks(rows(), chunk_size=10)
        assert taken == 0
        next(found)
        assert taken == 10

    def test_memory_is_that_of_a_chunk(self) -> None:
        def peak(count: int) -> int:
            tracemalloc.start()
            for _ in chunks(({"a": at, "b": str(at)} for at in range(count)), chunk_size=500):
                pass
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return found

        assert peak(10_000) < 2 * peak(1_000)

    def test_what_a_generator_raises_comes_through(self) -> None:
        def rows() -> Iterator[dict[str, int]]:
            yield {"a": 1}
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            read(rows())
