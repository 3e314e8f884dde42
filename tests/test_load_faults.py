"""What is at fault with the input or the database: one line, exit code 2, nothing half stored."""

from __future__ import annotations

import errno
import gzip
import json
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer

from sessionwise.cli.errors import told_in_one_line
from sessionwise.errors import BulkInputError, LoadError, SessionwiseError
from tests.proxy import proxy
from tests.shop import CSV, Done, Shop, is_well, opened, told

SQLITE, POSTGRESQL, MARIADB = "sqlite", "postgresql", "mariadb"
SIGN = "lost here"
"""A text in a row at which a connection is lost."""


@pytest.fixture
def shop(server_url: Any, tmp_path: Path) -> Iterator[Shop]:
    with opened(server_url, tmp_path, Shop) as shop:
        yield shop


def on(*servers: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server_url", servers, indirect=True)


def create(shop: Shop, more: str = "") -> None:
    names = "id INTEGER PRIMARY KEY, name VARCHAR(90) NOT NULL"
    shop.execute(f"CREATE TABLE {shop.table} ({names}){more}")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EBADF, "Bad file descriptor"),
        OSError("a device of ours"),
        ImportError("no such module", name="nope"),
        ValueError("x"),
        SessionwiseError("not of the input"),
    ],
    ids=repr,
)
def test_faults_of_ours_are_not_told_in_one_line(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, told_in_one_line(debug=False):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "out.csv"),
            "out.csv: No space left on device; make room, or name a file somewhere else",
        ),
        (ImportError("Parquet needs pyarrow: pip install it"), "Parquet needs pyarrow: pip"),
        (LoadError("begun with commit_every=4, and restart=True"), "begun with --commit-every 4"),
        (BulkInputError("row 0: null='x' is no number"), "row 0: null='x' is no number"),
    ],
    ids=repr,
)
def test_faults_of_the_input_are_told_in_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, told_in_one_line(debug=False):
        raise error
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err.startswith(f"sessionwise: {line}")


# The files


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "a.csv is empty: it has not even a header"),
        (b"id,name\n", "a.csv has no rows, only a header"),
        (b"id,name\n1,a\n2,b\xff\n", "line 3 of a.csv: the bytes ff are not utf-8"),
        (b"id,nmae\n1,a\n", "did you mean 'name'? rename it by --map nmae=NAME"),
        (b"id\n1\n", "takes no NULL and has no default, and a.csv has no such column"),
        (b"id,id\n1,2\n", "the header of a.csv has 'id' more than once"),
        (b"id,name\n1,a\n2\n", "line 3 of a.csv"),
        (b"id,name\n1,a\ntwo,b\n", "line 3 of a.csv: id='two' is not a whole number"),
        (gzip.compress(b"id,name\n1,a\n" * 999, mtime=0)[:-9], "a.csv is cut short or damaged"),
    ],
)
def test_file(shop: Shop, data: bytes, line: str) -> None:
    create(shop)
    assert line in told(shop.load(shop.write("a.csv", data), "--format", "csv"))
    assert shop.count() == 0


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl", "a.csv.gz", "a.csv.zst"])
def test_file_is_not_what_its_name_says(shop: Shop, name: str) -> None:
    create(shop)
    assert name in told(shop.load(shop.write(name, b"id;name\n1;a\n" * 9)))
    assert shop.count() == 0


def test_truncated_in_the_middle(shop: Shop) -> None:
    """Whether it is one transaction, or several: what is stored is said."""
    create(shop)
    rows = ({"id": at, "name": str(at * 7919 % 10007)} for at in range(40_000))
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    file = shop.write("a.jsonl.gz", gzip.compress(text.encode(), mtime=0)[:-9000])
    assert told(shop.load(file)).endswith("; Nothing of this load is stored")
    assert shop.count() == 0
    line = told(shop.load(file, "--commit-every", "5000"))
    assert 0 < shop.count() < 40_000
    assert shop.count() % 5_000 == 0
    assert f"; {shop.count():,} rows of this load are stored; --resume goes on after" in line


def test_places(shop: Shop) -> None:
    file = shop.write("a.csv", CSV)
    line = told(shop.load(file))
    assert line.startswith(f"there is no table {shop.table!r}; ")
    assert line.endswith("; correct --table, or use --create")
    assert told(shop.load(f"{file}x")) == f"{file}x: No such file or directory; correct its name"
    assert told(shop.load(str(shop.folder))).startswith(f"{shop.folder}: Is a directory; ")
    none = str(shop.folder / "none" / "bad.csv")
    line = told(shop.load(file, "--create", "--rejects", none))
    assert line.startswith(f"--rejects {none!r} is in no directory that is there")
    assert not sa.inspect(shop.engine).has_table(shop.table)


def test_options(shop: Shop) -> None:
    file = shop.write("a.csv", CSV)
    assert "--key is for --upsert" in told(shop.load(file, "--key", "id"))
    assert "--max-errors counts" in told(shop.load(file, "--create", "--max-errors", "1"))
    assert "--commit-every 0 is not" in told(shop.load(file, "--create", "--commit-every", "0"))
    assert "no file has a column 'x'" in told(shop.load(file, "--create", "--map", "x=y"))
    assert "--map 'x' is not OLD=NEW" in told(shop.load(file, "--create", "--map", "x"))
    assert "the key 'x' is no column" in told(shop.load(file, "--create", "--key", "x"))
    assert "the key 'day' has no value" in told(shop.load(file, "--create", "--key", "day"))
    assert "--format" in told(shop.load("-", "--create", input="a\n1\n"))
    for option in ("--resume", "--commit-every=2", "--jobs=2"):
        line = told(shop.load("-", "--format=csv", "--create", option, input="a\n1\n"))
        assert line.startswith("stdin can be read only once")
    wrong = shop.run("load", file, "--into", "x", "--table", "t")
    assert "--into is not a database URL" in told(wrong)
    assert not sa.inspect(shop.engine).has_table(shop.table)


def test_table_that_is_there(shop: Shop) -> None:
    file = shop.write("a.csv", CSV)
    is_well(shop.load(file, "--create"))
    assert "has no primary key" in told(shop.load(file, "--upsert"))
    wrong = shop.write("b.csv", "id,price\none,2\n")
    assert "is there already, and its column 'id'" in told(shop.load(wrong, "--create"))
    assert shop.count() == 2


# The database


@on(POSTGRESQL, MARIADB)
def test_server_that_is_not_there(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"{shop.backend}://me:secret@127.0.0.1:{port}/name"
    line = told(shop.run("load", shop.write("a.csv", CSV), "--into", url, "--table", "t"))
    assert f"at 127.0.0.1:{port} does not answer (" in line
    assert line.endswith("; start it, or correct host and port in --into")


@on(SQLITE)
def test_file_that_is_not_there(shop: Shop) -> None:
    missing = shop.folder / "none.db"
    file = shop.write("a.csv", CSV)
    run = shop.run("load", file, "--into", f"sqlite:///{missing}", "--table", "t")
    assert told(run).startswith(f"{missing} cannot be opened (there is no such file)")
    assert not missing.exists()


READ_ONLY: dict[str, Callable[[sa.URL], sa.URL]] = {
    SQLITE: lambda url: sa.make_url(f"sqlite:///file:{url.database}?mode=ro&uri=true"),
    POSTGRESQL: lambda url: url.update_query_dict(
        {"options": "-cdefault_transaction_read_only=on"}
    ),
    MARIADB: lambda url: url.update_query_dict(
        {"init_command": "SET SESSION TRANSACTION READ ONLY"}
    ),
}


@pytest.mark.parametrize("more", [[], ["--commit-every", "1"]])
def test_read_only(shop: Shop, more: list[str]) -> None:
    create(shop)
    url = READ_ONLY[shop.backend](sa.make_url(shop.url)).render_as_string(hide_password=False)
    file = shop.write("a.csv", "id,name\n1,a\n")
    line = told(shop.run("load", file, "--into", url, "--table", shop.table, *more))
    assert " is read-only (" in line
    assert "; give --into a database that can be written" in line
    assert shop.count() == 0


@on(POSTGRESQL, MARIADB)
@pytest.mark.parametrize("jobs", [0, 1, 2])
def test_connection_is_lost(shop: Shop, jobs: int) -> None:
    create(shop)
    names = [SIGN if at == 7_000 else f"name {at}" for at in range(10_000)]
    file = shop.write("a.csv", "id,name\n" + "".join(f"{i},{n}\n" for i, n in enumerate(names)))
    pieces = ["--commit-every", "1000", "--jobs", str(jobs)] if jobs else []
    with proxy(sa.make_url(shop.url)) as between:
        between.lose("request", SIGN.encode())
        url = between.url.render_as_string(hide_password=False)
        line = told(shop.run("load", file, "--into", url, "--table", shop.table, *pieces))
    assert f":{between.port} has ended the connection (" in line
    if not jobs:
        assert line.endswith("; Nothing of this load is stored")
        assert shop.count() == 0
        return
    assert 6_000 <= shop.count() < 10_000
    assert f"; {shop.count():,} rows of this load are stored; --resume goes on after" in line
    is_well(shop.load(file, "--resume"))
    assert shop.count() == 10_000


@on(POSTGRESQL, MARIADB)
def test_connection_is_lost_at_the_commit(shop: Shop) -> None:
    create(shop)
    file = shop.write("a.csv", "id,name\n1,a\n")
    with proxy(sa.make_url(shop.url)) as between:
        # MariaDB's driver begins by SET AUTOCOMMIT.
        between.lose("reply", b"COMMIT" if shop.backend == POSTGRESQL else b"\x03COMMIT")
        url = between.url.render_as_string(hide_password=False)
        line = told(shop.run("load", file, "--into", url, "--table", shop.table))
    assert "Nothing of this load is stored" not in line
    assert "whether the data is stored is unknown" in line
    assert shop.count() == 1


@on(POSTGRESQL, MARIADB)
def test_connection_is_lost_by_a_dump(shop: Shop) -> None:
    create(shop)
    shop.execute(f"INSERT INTO {shop.table} VALUES (1, 'a')")
    (out := shop.folder / "out").mkdir()
    with proxy(sa.make_url(shop.url)) as between:
        between.lose("reply", SIGN.encode())
        url = between.url.render_as_string(hide_password=False)
        query = f"SELECT id, '{SIGN}' AS x FROM {shop.table}"
        line = told(shop.run("dump", "--from", url, "--sql", query, str(out / "a.csv")))
    assert " has ended the connection (" in line
    assert os.listdir(out) == []


# Its disk


def is_full(done: Done) -> str:
    line = told(done)
    assert " has no room left (" in line
    assert "; make room on its disk, and run the load again" in line
    return line


@on(SQLITE)
@pytest.mark.parametrize("more", [[], ["--commit-every", "10000"]])
def test_full_disk_of_sqlite(shop: Shop, small_disk: Path, more: list[str]) -> None:
    full = Shop(sa.make_url(f"sqlite:///{small_disk / 'a.db'}"), shop.folder)
    create(full)
    names = "".join(f"{at},name {at}\n" for at in range(100_000))
    line = is_full(full.load(full.write("a.csv", f"id,name\n{names}"), *more))
    assert (f"; {full.count():,} rows of this load are stored; --resume" in line) == bool(more)
    assert (full.count() > 0) == bool(more)
    full.engine.dispose()


@on(SQLITE)
def test_limit_for_the_size_of_files(shop: Shop) -> None:
    create(shop)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    names = "".join(f"{at},name {at}\n" for at in range(100_000))
    file = shop.write("a.csv", f"id,name\n{names}")
    line = told(shop.load(file, preexec_fn=limit))
    assert " cannot be read or written (disk I/O error); look at its disk, its quota" in line
    assert shop.count() == 0
    is_well(shop.load(file))
    (out := shop.folder / "out").mkdir()
    line = told(shop.dump("--table", shop.table, str(out / "a.csv"), preexec_fn=limit))
    assert line == "File too large; name a file where it may be as large"
    assert os.listdir(out) == []


@on(POSTGRESQL)
def test_full_disk_of_a_server(shop: Shop, small_disk: Path) -> None:
    """A table is on a disk that is small; where a table of MariaDB's is, the server aborts."""
    place = small_disk / "data"
    place.mkdir()
    with shop.engine.connect() as connection:
        directory = connection.scalar(sa.text("SELECT current_setting('data_directory')"))
    if not Path(str(directory)).is_dir():
        pytest.skip("the server is on another machine")
    owner = Path(str(directory)).stat()
    os.chown(place, owner.st_uid, owner.st_gid)
    engine = shop.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE TABLESPACE {shop.table} LOCATION '{place}'"))
    create(shop, f" TABLESPACE {shop.table}")
    names = "".join(f"{at},name {at}\n" for at in range(100_000))
    try:
        line = is_full(shop.load(shop.write("a.csv", f"id,name\n{names}")))
        assert line.endswith("; Nothing of this load is stored")
        assert shop.count() == 0
    finally:
        shop.execute(f"DROP TABLE {shop.table}")
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP TABLESPACE {shop.table}"))


def test_full_disk_of_the_dump_and_of_the_rejects(shop: Shop, small_disk: Path) -> None:
    create(shop)
    names = "".join(f"{at},{'name ' * 16}\n" for at in range(20_000))
    file = shop.write("a.csv", f"id,name\n{names}")
    is_well(shop.load(file))
    line = told(shop.dump("--table", shop.table, str(small_disk / "a.csv")))
    assert line == "No space left on device; make room, or name a file somewhere else"
    assert os.listdir(small_disk) == []
    again = shop.load(file, "--rejects", str(small_disk / "bad.csv"))  # each row is there
    assert "No space left on device; make room" in told(again)
    assert shop.count() == 20_000
    assert os.listdir(small_disk) == []
