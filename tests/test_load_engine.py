"""Files into tables: in one transaction, in pieces, going on after what failed."""

from __future__ import annotations

import csv
import gzip
import json
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.exc import IntegrityError

from sessionwise import bulk
from sessionwise.errors import BulkInputError, LoadError, OptionError
from sessionwise.transfer import (
    REJECT_COLUMNS,
    LoadOptions,
    LoadProgress,
    LoadResult,
    is_reject_file,
    load,
)
from sessionwise.transfer.checkpoint import TABLE
from sessionwise.transfer.reject_columns import without_reject_columns
from tests.shop import loadable, values_of

USERS = Table(
    "load_users",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(40), nullable=False),
    Column("age", Integer),
)


@pytest.fixture
def engine(server_url: Any, tmp_path: Path) -> Iterator[Engine]:
    with loadable(server_url, tmp_path, USERS) as engine:
        yield engine


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return write(tmp_path / "users.csv", 10)


def write(path: Path, rows: int, start: int = 0) -> Path:
    lines = [f"{at},user {at},{at % 90}\n" for at in range(start, start + rows)]
    path.write_text("id,name,age\n" + "".join(lines))
    return path


def ids(engine: Engine) -> list[int]:
    return values_of(engine, USERS.c.id)


def names(engine: Engine) -> list[str]:
    return values_of(engine, USERS.c.name, USERS.c.id)


def checkpoints(engine: Engine) -> list[tuple[int, bool, int]]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(TABLE.c.piece, TABLE.c.finished, TABLE.c.stored).order_by(TABLE.c.piece)
        )
        return [(piece, bool(finished), stored) for piece, finished, stored in rows]


def outcome(found: LoadResult) -> tuple[int, int, int, int, int, int]:
    counts = (found.inserted, found.updated, found.skipped, found.rejected)
    assert found.read == sum(counts)
    return found.read, *counts, found.resumed


def test_files_are_loaded_in_one_transaction(engine: Engine, tmp_path: Path, users: Path) -> None:
    more = write(tmp_path / "more.csv", 5, start=10)
    told: list[LoadProgress] = []
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)
    found = load(engine, USERS, [users, bulk.read(more)], LoadOptions(), told.append)
    assert outcome(found) == (15, 15, 0, 0, 0, 0)
    assert found.files == 2
    assert found.writer
    assert ids(engine) == list(range(15))
    assert len(commits) == 1
    assert [(one.read, one.stored, one.file) for one in told] == [
        (10, 10, str(users)),
        (15, 15, str(more)),
    ]
    assert told[-1].fraction == 1.0
    assert 0 < (told[0].fraction or 0) < 1


@pytest.mark.parametrize("kind", ["csv", "gz", "jsonl", "parquet", "arrow"])
@pytest.mark.parametrize("commit_every", [None, 3])
def test_each_kind_of_file(
    engine: Engine, tmp_path: Path, kind: str, commit_every: int | None
) -> None:
    path = tmp_path / f"users.{'csv.gz' if kind == 'gz' else kind}"
    rows = [{"id": at, "name": f"user {at}", "age": at if at % 2 else None} for at in range(10)]
    text = "id,name,age\n" + "".join(
        f"{one['id']},{one['name']},{'' if one['age'] is None else one['age']}\n" for one in rows
    )
    if kind == "csv":
        path.write_text(text)
    elif kind == "gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif kind == "jsonl":
        some = [{key: value for key, value in one.items() if value is not None} for one in rows]
        path.write_text("".join(f"{json.dumps(one)}\n" for one in some))
    else:
        import pyarrow as pa
        from pyarrow import feather, parquet

        table = pa.Table.from_pylist(rows)
        if kind == "parquet":
            parquet.write_table(table, path)
        else:
            feather.write_feather(table, path)
    found = load(engine, USERS, [path], LoadOptions(commit_every=commit_every))
    assert outcome(found) == (10, 10, 0, 0, 0, 0)
    with engine.connect() as connection:
        stored = connection.execute(select(USERS).order_by(USERS.c.id)).mappings().all()
    assert [dict(one) for one in stored] == rows


def test_an_error_leaves_nothing(engine: Engine, tmp_path: Path, users: Path) -> None:
    again = write(tmp_path / "again.csv", 3, start=8)
    with pytest.raises(IntegrityError) as caught:
        load(engine, USERS, [users, again], LoadOptions())
    assert ids(engine) == []
    assert "Nothing of this load is stored" in caught.value.__notes__


def test_columns_are_renamed_and_left_out(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("number,nick,junk\n1,a,x\n2,b,y\n")
    rename = {"number": "id", "nick": "name", "junk": ""}
    load(engine, USERS, [path], LoadOptions(rename=rename))
    assert names(engine) == ["a", "b"]
    with pytest.raises(BulkInputError, match="no file has such a column; there are number, nick"):
        load(engine, USERS, [path], LoadOptions(rename={"nik": "name"}))
    with pytest.raises(BulkInputError, match="more than one column for 'id'"):
        load(engine, USERS, [path], LoadOptions(rename={"number": "id", "nick": "id", "junk": ""}))


def test_upsert(engine: Engine, users: Path) -> None:
    with engine.begin() as connection:
        connection.execute(USERS.insert(), [{"id": 3, "name": "old"}, {"id": 30, "name": "kept"}])
    told: list[LoadProgress] = []
    options = LoadOptions(upsert=True, keys=("id",))
    assert outcome(load(engine, USERS, [users], options, told.append)) == (10, 9, 1, 0, 0, 0)
    assert names(engine)[3] == "user 3"
    assert told[-1].read == 10


def test_duplicates_of_an_upsert_are_found_in_the_whole_file(
    engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("id,name\n" + "".join(f"{at % 999},n{at}\n" for at in range(1000)))
    with pytest.raises(BulkInputError):
        load(engine, USERS, [path], LoadOptions(upsert=True))
    assert ids(engine) == []


@pytest.mark.parametrize("jobs", [1, 3])
def test_pieces_have_checkpoints_until_the_end(
    engine: Engine, tmp_path: Path, users: Path, jobs: int
) -> None:
    path = write(tmp_path / "bad.csv", 25, start=10)
    path.write_text(path.read_text() + "no number,x,1\n")
    options = LoadOptions(commit_every=4, jobs=jobs)
    with pytest.raises(BulkInputError, match=r"line 27 of bad\.csv: id='no number'") as caught:
        load(engine, USERS, [users, path], options)
    assert not [one for one in threading.enumerate() if one.name.startswith("load-")]
    stored = len(ids(engine))
    assert stored >= 10 if jobs == 1 else True
    assert f"{stored:,} rows of this load are stored" in caught.value.__notes__[0]
    assert sum(one[2] for one in checkpoints(engine)) == stored

    with pytest.raises(LoadError, match="add resume=True to go on"):
        load(engine, USERS, [users], LoadOptions())
    with pytest.raises(LoadError, match=r"rows of it are stored; add resume=True") as refused:
        load(engine, USERS, [users, path], options)
    assert "restart=True" in str(refused.value)
    with pytest.raises(LoadError, match="was begun with commit_every=4"):
        load(engine, USERS, [users], LoadOptions(commit_every=5, resume=True))
    path.write_text(path.read_text().replace("no number", "35"))
    with pytest.raises(LoadError, match="the file has changed since"):
        load(engine, USERS, [path], LoadOptions(resume=True))


@pytest.mark.parametrize("jobs", [1, 3])
def test_it_goes_on_where_it_failed(engine: Engine, tmp_path: Path, jobs: int) -> None:
    path = write(tmp_path / "users.csv", 50)
    with engine.begin() as connection:
        connection.execute(USERS.insert(), {"id": 30, "name": "in the way"})
    with pytest.raises(IntegrityError):
        load(engine, USERS, [path], LoadOptions(commit_every=4, jobs=jobs))
    with engine.begin() as connection:
        connection.execute(USERS.delete().where(USERS.c.name == "in the way"))
    before = len(ids(engine))
    found = load(engine, USERS, [path], LoadOptions(resume=True, jobs=jobs))
    assert outcome(found) == (50 - before, 50 - before, 0, 0, 0, before)
    assert ids(engine) == list(range(50))
    assert checkpoints(engine) == [(-1, True, 50)]

    found = load(engine, USERS, [path], LoadOptions(resume=True, jobs=jobs))
    assert outcome(found) == (0, 0, 0, 0, 0, 50)
    with engine.begin() as connection:
        connection.execute(USERS.delete())
    found = load(engine, USERS, [path], LoadOptions(commit_every=10))
    assert outcome(found) == (50, 50, 0, 0, 0, 0)


def test_restart_forgets(engine: Engine, tmp_path: Path) -> None:
    path = write(tmp_path / "users.csv", 10)
    with engine.begin() as connection:
        connection.execute(USERS.insert(), {"id": 7, "name": "in the way"})
    with pytest.raises(IntegrityError):
        load(engine, USERS, [path], LoadOptions(commit_every=4))
    assert ids(engine) == [0, 1, 2, 3, 7]
    with engine.begin() as connection:
        connection.execute(USERS.delete())
    found = load(engine, USERS, [path], LoadOptions(commit_every=5, restart=True))
    assert outcome(found) == (10, 10, 0, 0, 0, 0)
    assert checkpoints(engine) == [(-1, True, 10)]


def test_a_file_cut_short_says_what_is_stored(engine: Engine, tmp_path: Path) -> None:
    text = write(tmp_path / "users.csv", 5000).read_bytes()
    path = tmp_path / "short.csv.gz"
    path.write_bytes(gzip.compress(text)[:-2000])
    with pytest.raises(BulkInputError, match="cut short or damaged") as caught:
        load(engine, USERS, [path], LoadOptions())
    assert ids(engine) == []
    with pytest.raises(BulkInputError, match="cut short or damaged") as caught:
        load(engine, USERS, [path], LoadOptions(commit_every=100, jobs=2))
    assert f"{len(ids(engine)):,} rows of this load are stored" in caught.value.__notes__[-1]


def test_what_is_read_once_cannot_be_resumed(engine: Engine, users: Path) -> None:
    class Pipe:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def read(self, size: int) -> bytes:
            found, self._data = self._data[:size], self._data[size:]
            return found

    source = bulk.read(Pipe(users.read_bytes()), format="csv")
    with pytest.raises(LoadError, match="can be read only once"):
        load(engine, USERS, [source], LoadOptions(commit_every=3))
    assert outcome(load(engine, USERS, [source], LoadOptions())) == (10, 10, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "options",
    [
        LoadOptions(commit_every=0),
        LoadOptions(jobs=0),
        LoadOptions(keys=("id",)),
        LoadOptions(max_errors=3),
        LoadOptions(resume=True, restart=True),
    ],
)
def test_options_that_do_not_fit_together(users: Path, options: LoadOptions) -> None:
    engine = create_engine("sqlite://")
    with pytest.raises(OptionError):
        load(engine, USERS, [users], options)
    with pytest.raises(BulkInputError, match="no file"):
        load(engine, USERS, [], LoadOptions())
    with pytest.raises(BulkInputError, match="given 2 times"):
        load(engine, USERS, [users, users], LoadOptions())
    engine.dispose()


@pytest.mark.parametrize("options", [LoadOptions(), LoadOptions(commit_every=5000, jobs=2)])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, options: LoadOptions) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'memory.db'}")
    USERS.create(engine)
    path = write(tmp_path / "users.csv", 400_000)
    pa = pytest.importorskip("pyarrow")
    load(engine, USERS, [write(tmp_path / "few.csv", 10, start=10**6)], LoadOptions())
    tracemalloc.start()
    load(engine, USERS, [path], options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(USERS)) == 400_010
    engine.dispose()
    assert peak < 40 * 2**20  # the rows as Python's objects are more than 100 MB
    assert pa.total_allocated_bytes() < 40 * 2**20


def test_reject_columns() -> None:
    assert is_reject_file(["id", *REJECT_COLUMNS])
    assert not is_reject_file([*REJECT_COLUMNS, "id"])
    assert without_reject_columns(["id", "reject_file", *REJECT_COLUMNS]) == ("id",)
    assert without_reject_columns(["id", "reject_file"]) == ("id", "reject_file")


def test_a_reject_file_is_loaded_without_its_reasons(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "name", *REJECT_COLUMNS])
        writer.writerow([1, "a", 7, 8, "not null", "name", "", "it has no name"])
    assert outcome(load(engine, USERS, [path], LoadOptions())) == (1, 1, 0, 0, 0, 0)
    assert names(engine) == ["a"]


def test_a_reject_file_is_not_overwritten(engine: Engine, tmp_path: Path, users: Path) -> None:
    rejects = tmp_path / "rejects.csv"
    rejects.write_text("something")
    with pytest.raises(LoadError, match="is there already"):
        load(engine, USERS, [users], LoadOptions(rejects=rejects))
    with pytest.raises(LoadError, match="is not the reject file of this load"):
        load(engine, USERS, [users], LoadOptions(rejects=rejects, resume=True))
    with pytest.raises(LoadError, match="is to be loaded"):
        load(engine, USERS, [users], LoadOptions(rejects=users, resume=True))
    assert rejects.read_text() == "something"


@pytest.mark.parametrize("commit_every", [None, 3])
def test_rejected_rows_are_mended_and_loaded(
    engine: Engine, tmp_path: Path, commit_every: int | None
) -> None:
    path, rejects = tmp_path / "users.csv", tmp_path / "rejects.csv"
    path.write_text("id,nick,junk\n1,a,x\n2,,y\nthree,c,\n4,d,z\n5,e,v\n1,f,w\n")
    rename = {"nick": "name", "junk": ""}
    options = LoadOptions(rejects=rejects, rename=rename, commit_every=commit_every)
    assert outcome(load(engine, USERS, [path], options)) == (6, 3, 0, 0, 3, 0)
    with rejects.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "nick", "junk", *REJECT_COLUMNS]
    found = {(one["id"], one["nick"], one["junk"], one["reject_line"]) for one in rows}
    assert found == {("2", "", "y", "3"), ("three", "c", "", "4"), ("1", "f", "w", "7")}
    assert all(one["reject_message"] for one in rows)

    mended = tmp_path / "mended.csv"
    text = rejects.read_text().replace("2,,", "2,b,").replace("three", "3")
    mended.write_text(text.replace("1,f", "6,f"))
    again = LoadOptions(rejects=tmp_path / "more.csv", rename=rename)
    assert outcome(load(engine, USERS, [mended], again)) == (3, 3, 0, 0, 0, 0)
    assert "".join(names(engine)) == "abcdef"
    assert not (tmp_path / "more.csv").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_past_max_errors(engine: Engine, tmp_path: Path, jobs: int) -> None:
    path, rejects = tmp_path / "users.csv", tmp_path / "rejects.csv"
    path.write_text(
        "id,name\n" + "".join(f"{at},{'' if at % 5 == 4 else at}\n" for at in range(40))
    )
    with pytest.raises(BulkInputError):
        load(engine, USERS, [path], LoadOptions(rejects=rejects, max_errors=3))
    assert ids(engine) == []
    assert not rejects.exists()
    options = LoadOptions(rejects=rejects, max_errors=3, commit_every=5, jobs=jobs)
    with pytest.raises(BulkInputError) as caught:
        load(engine, USERS, [path], options)
    assert len(ids(engine)) == 12
    assert "12 rows of this load are stored" in caught.value.__notes__[-1]
    assert len(rejects.read_text().splitlines()) == 4
    more = LoadOptions(rejects=rejects, max_errors=8, resume=True, jobs=jobs)
    assert outcome(load(engine, USERS, [path], more)) == (25, 20, 0, 0, 5, 12)
    assert len(rejects.read_text().splitlines()) == 9
