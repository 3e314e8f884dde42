"""What a textual statement touches, on each database; the lists of functions ask the servers."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
import sqlglot
from sqlalchemy import text

from sessionwise.sql import functions, texts
from sessionwise.sql.shape import shape
from sessionwise.sql.texts import of_text, writes_of_text
from sessionwise.sql.touched import EVERYTHING, NOTHING, Touched
from tests.backends import Database, on

DATABASES = ("sqlite", "postgresql", "mysql", "mariadb")
STYLES = {"sqlite": "qmark", "postgresql": "pyformat", "mysql": "format", "mariadb": "format"}


def writes(inserts: str = "", updates: str = "", deletes: str = "", reads: str = "") -> Touched:
    """Make what is expected of names that are separated by spaces."""
    names = (frozenset(one.split()) for one in (reads, inserts, updates, deletes))
    return Touched(*names)


def reads(names: str) -> Touched:
    return writes(reads=names)


ALL = writes("t", "t", "t", "t")
UPSERT = writes("t", "t", "", "t")
CHANGED = writes("", "t", "", "t")
DELETED = writes("", "", "t", "t")
DROPPED = writes("", "t", "t")

ANYWHERE: dict[str, Touched] = {
    # Reads
    "SELECT 1": NOTHING,
    "SELECT * FROM t": reads("t"),
    "select * from T": reads("t"),
    "(SELECT * FROM t)": reads("t"),
    "SELECT * FROM s.t AS a JOIN u ON u.id = a.id": reads("t u"),
    "SELECT * FROM t UNION ALL SELECT * FROM u": reads("t u"),
    "SELECT (SELECT max(a) FROM u) FROM t WHERE EXISTS (SELECT 1 FROM v)": reads("t u v"),
    "SELECT count(*) FROM t WHERE a IN (1, 2, 3) AND b BETWEEN 1 AND 2": reads("t"),
    "SELECT t.a FROM t GROUP BY t.a HAVING count(*) > 1 ORDER BY 1 LIMIT 5 OFFSET 2": reads("t"),
    "SELECT CASE WHEN (a = 1) THEN (2) ELSE (3) END FROM t": reads("t"),
    "SELECT CAST(a AS DECIMAL(10, 2)), coalesce(a, b), nullif(a, 1) FROM t": reads("t"),
    "SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM t": reads("t"),
    "SELECT CURRENT_TIMESTAMP": NOTHING,
    "WITH c AS (SELECT * FROM t) SELECT * FROM c": reads("t"),
    "WITH t AS (SELECT * FROM t) SELECT * FROM t": reads("t"),
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c": NOTHING,
    # Literals and comments that look like statements
    "SELECT 'DELETE FROM x' FROM t": reads("t"),
    "SELECT 'it''s; DELETE FROM x' FROM t": reads("t"),
    "SELECT 1 -- DELETE ' FROM x\nFROM t": reads("t"),
    "SELECT /* ; DELETE FROM x ' */ 1 FROM t": reads("t"),
    "/* first */ DELETE/**/FROM t": DELETED,
    "-- first\nDELETE FROM t": DELETED,
    "SELECT lower/**/(a) FROM t": reads("t"),
    # Writes
    "INSERT INTO t (a) VALUES (1)": writes("t"),
    "INSERT INTO s.t VALUES (1, 'DELETE FROM x'), (2, NULL)": writes("t"),
    "INSERT INTO T (a) SELECT a FROM u": writes("t", reads="u"),
    "INSERT INTO t SELECT a FROM t": writes("t", reads="t"),
    "UPDATE t SET a = 1 WHERE b = 2": CHANGED,
    "UPDATE s.t SET a = (SELECT max(a) FROM u)": writes("", "t", "", "t u"),
    "DELETE FROM t": DELETED,
    "DELETE FROM s.t WHERE a IN (SELECT a FROM u)": writes("", "", "t", "t u"),
    "INSERT INTO t VALUES (1); DELETE FROM u;": writes("t", "", "u", "u"),
    "SELECT 1; SELECT 2 ;": NOTHING,
    "": NOTHING,
    # The structure
    "CREATE TABLE t (a INT PRIMARY KEY, b VARCHAR(20) DEFAULT 'x')": NOTHING,
    "CREATE TABLE t AS SELECT * FROM u": reads("u"),
    "CREATE INDEX i ON t (a)": NOTHING,
    "CREATE UNIQUE INDEX i ON t (a)": NOTHING,
    "CREATE VIEW v AS SELECT * FROM t": NOTHING,
    "DROP TABLE t": DROPPED,
    "DROP TABLE IF EXISTS s.t": DROPPED,
    "DROP VIEW v": NOTHING,
    "ALTER TABLE t ADD COLUMN a INT": writes("", "t", "t", "t"),
    "ALTER TABLE t RENAME TO u": writes("", "t u", "t u", "t u"),
    # Transactions
    "BEGIN": NOTHING,
    "COMMIT": NOTHING,
    "SAVEPOINT s": NOTHING,
    "RELEASE SAVEPOINT s": NOTHING,
    "ROLLBACK": EVERYTHING,
    "ROLLBACK TO SAVEPOINT s": EVERYTHING,
    # What cannot be told
    "SELECT unheard_of(1)": EVERYTHING,
    "SELECT s.lower('a')": EVERYTHING,
    "SELECT * FROM unheard_of(1)": EVERYTHING,
    "SELECT unheard_of /* */ (1) FROM t": EVERYTHING,
    "UPDATE t SET a = unheard_of(a)": EVERYTHING,
    "INSERT INTO t SELECT unheard_of(a) FROM u": EVERYTHING,
    "CREATE TABLE t AS SELECT unheard_of(a) FROM u": EVERYTHING,
    "SELECT 1; unheard of": EVERYTHING,
    "SELECT 'no end": EVERYTHING,
    "SELECT /* no end": EVERYTHING,
    "UNHEARD OF": EVERYTHING,
    "EXECUTE p": EVERYTHING,
    "CALL p()": EVERYTHING,
    "DELETE FROM": EVERYTHING,
    "SELECT " + "(" * 500 + "1" + ")" * 500: EVERYTHING,
}

SQLITE: dict[str, Touched] = {
    "VALUES (1), (2)": NOTHING,
    "SELECT datetime('now'), julianday('now'), json_extract(a, '$.b'), changes() FROM t": (
        reads("t")
    ),
    "SELECT * FROM json_each(:x) AS j, pragma_table_info('t')": NOTHING,
    "SELECT * FROM json_tree('[1]')": NOTHING,
    "SELECT load_extension('x')": EVERYTHING,
    'SELECT [a b], `c`, "DELETE FROM x" FROM [t] JOIN `u` JOIN "V" WHERE x\'00\' = a': (
        reads("t u v")
    ),
    "SELECT * FROM [my'table]": reads("my'table"),
    "SELECT * FROM t NOT INDEXED WHERE a GLOB 'x*' AND b IS NOT 1 AND c NOTNULL": reads("t"),
    "SELECT * FROM t WHERE a = ?1 AND b = @b AND c = $c AND d = :d AND e = ?": reads("t"),
    "SELECT * FROM 'users'": EVERYTHING,
    "DELETE FROM 'users'": EVERYTHING,
    "INSERT OR REPLACE INTO t VALUES (?)": ALL,
    "REPLACE INTO t VALUES (?)": ALL,
    "WITH c AS (SELECT 1) REPLACE INTO t SELECT * FROM c": ALL,
    "INSERT OR IGNORE INTO t VALUES (?)": writes("t"),
    "INSERT OR ROLLBACK INTO t VALUES (?)": writes("t"),
    "INSERT INTO t DEFAULT VALUES": writes("t"),
    "INSERT INTO t VALUES (?) ON CONFLICT (a) DO UPDATE SET b = excluded.b": UPSERT,
    "INSERT INTO t VALUES (?) ON CONFLICT DO NOTHING RETURNING a": writes("t"),
    "WITH c AS (SELECT 1) INSERT INTO t SELECT * FROM c": writes("t"),
    "UPDATE OR IGNORE t SET a = 1": CHANGED,
    "UPDATE OR REPLACE t SET a = 1": writes("", "t", "t", "t"),
    "UPDATE t SET a = u.a FROM u WHERE u.id = t.id": writes("", "t", "", "t u"),
    "UPDATE main.t INDEXED BY i SET a = 1": CHANGED,
    "WITH c AS (SELECT * FROM u) UPDATE t SET a = (SELECT a FROM c)": (writes("", "t", "", "t u")),
    "DELETE FROM `t` WHERE a = 1 RETURNING *": DELETED,
    "ALTER TABLE t ADD COLUMN a": writes("", "t", "t", "t"),
    "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM u; UPDATE v SET a = 1; END": NOTHING,
    "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END; DELETE FROM u": (
        writes("", "", "u", "u")
    ),
    "CREATE VIRTUAL TABLE t USING fts5(a, b)": NOTHING,
    "CREATE TEMP TABLE t AS SELECT * FROM u": reads("u"),
    "BEGIN IMMEDIATE": NOTHING,
    "END": NOTHING,
    "RELEASE s": NOTHING,
    "ROLLBACK TO s": EVERYTHING,
    "PRAGMA foreign_keys = ON": NOTHING,
    "PRAGMA table_info(t)": NOTHING,
    "EXPLAIN DELETE FROM t": NOTHING,
    "EXPLAIN QUERY PLAN SELECT * FROM t": NOTHING,
    "VACUUM": NOTHING,
    "ANALYZE": NOTHING,
    "REINDEX t": NOTHING,
    "ATTACH DATABASE 'x' AS y": NOTHING,
    "DETACH y": NOTHING,
}

POSTGRESQL: dict[str, Touched] = {
    "VALUES (1), (2)": NOTHING,
    "TABLE t": reads("t"),
    "SELECT * INTO x FROM t": reads("t"),
    "SELECT * FROM ONLY t FOR UPDATE SKIP LOCKED": reads("t"),
    "SELECT * FROM t TABLESAMPLE SYSTEM (1)": reads("t"),
    "SELECT * FROM t FOR NO KEY UPDATE OF t NOWAIT": reads("t"),
    "SELECT DISTINCT ON (a) a, b::int, c[1:2], d->'x'->>'y' FROM t WHERE a @> b": reads("t"),
    "SELECT a FROM t WHERE a = %(a)s::INTEGER AND b %% 2 = 0 AND c LIKE 'x%%'": reads("t"),
    "SELECT E'it\\'s; DELETE FROM x', $$DELETE FROM x;'$$, $a$ $$ ' $a$ FROM t": reads("t"),
    "SELECT /* a /* DELETE ' */ b */ 1 FROM t": reads("t"),
    'SELECT "DELETE FROM x" FROM "S"."T" AS "my ""t"': reads("t"),
    "SELECT count(*) FILTER (WHERE a > 1) FROM t": reads("t"),
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t": reads("t"),
    "SELECT extract(year FROM a), a AT TIME ZONE 'utc', interval '1 day' FROM t": reads("t"),
    "SELECT * FROM generate_series(1, 9) AS g, unnest(ARRAY[1, 2]) AS u, json_each('{}')": (
        NOTHING
    ),
    "SELECT * FROM t, LATERAL jsonb_array_elements(t.a) AS e": reads("t"),
    "SELECT pg_catalog.lower('x'), pg_advisory_xact_lock(1), nextval('s'), now()": NOTHING,
    "SELECT public.lower('x')": EVERYTHING,
    'SELECT "Unheard"(1)': EVERYTHING,
    "SELECT (unheard_of(1)).*": EVERYTHING,
    "SELECT * FROM t, LATERAL unheard_of(t.a)": EVERYTHING,
    "SELECT * FROM ROWS FROM (unheard_of(1))": EVERYTHING,
    "SELECT transform(a, 1) FROM t": EVERYTHING,  # of another database
    "SELECT query_to_xml('DELETE FROM t', true, true, '')": EVERYTHING,
    "SELECT * FROM t WHERE (a, b) IN ((1, 2), (3, 4)) AND c = ANY(%(c)s)": reads("t"),
    "SELECT * FROM t WHERE a IN %(a)s AND b NOT IN %(b)s": reads("t"),
    "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a": UPSERT,
    "INSERT INTO t (a) VALUES (1) ON CONFLICT ON CONSTRAINT c DO UPDATE SET a = 1 WHERE t.a > 1": (
        UPSERT
    ),
    "INSERT INTO t AS x (a) VALUES (1) ON CONFLICT DO NOTHING": writes("t"),
    "INSERT INTO t DEFAULT VALUES RETURNING id": writes("t"),
    "INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1)": writes("t"),
    'INSERT INTO "S"."T" VALUES (%(a)s)': writes("t"),
    "UPDATE ONLY t AS x SET a = u.a FROM u WHERE u.id = x.id": writes("", "t", "", "t u"),
    "UPDATE t SET a = 1 WHERE CURRENT OF c": CHANGED,
    "UPDATE t SET (a, b) = (SELECT 1, 2), c[1] = 3 RETURNING *": CHANGED,
    "DELETE FROM t USING u WHERE t.id = u.id": writes("", "", "t", "t u"),
    "DELETE FROM ONLY t AS x RETURNING x.id": DELETED,
    "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = 1 "
    "WHEN NOT MATCHED THEN INSERT (a) VALUES (1)": ALL | reads("u"),
    "MERGE INTO t USING (SELECT 1 AS id) AS u ON t.id = u.id WHEN MATCHED THEN DELETE": ALL,
    "WITH d AS (DELETE FROM x RETURNING *) INSERT INTO t SELECT * FROM d": (
        writes("t", "", "x", "x")
    ),
    "WITH d AS (UPDATE x SET a = 1 RETURNING *) SELECT * FROM d": writes("", "x", "", "x"),
    "WITH d AS (INSERT INTO x VALUES (1) RETURNING *), e AS (DELETE FROM y) SELECT 1": (
        writes("x", "", "y", "y")
    ),
    "SELECT * FROM (WITH d AS (SELECT 1) SELECT * FROM d) AS e": reads("d"),
    "TRUNCATE t, ONLY s.u RESTART IDENTITY": writes("", "", "t u"),
    "TRUNCATE TABLE t": writes("", "", "t"),
    "TRUNCATE t CASCADE": EVERYTHING,
    "COPY t (a, b) FROM STDIN WITH (FORMAT csv)": writes("t"),
    "COPY t FROM '/a/file'": writes("t"),
    "COPY t FROM STDIN WHERE unheard_of(a)": EVERYTHING,
    "COPY s.t TO STDOUT": reads("t"),
    "COPY (SELECT * FROM t) TO STDOUT WITH (FORMAT csv)": reads("t"),
    "COPY (DELETE FROM t RETURNING *) TO STDOUT": DELETED,
    "DROP TABLE t, u CASCADE": writes("", "t u", "t u"),
    "DROP SCHEMA s CASCADE": EVERYTHING,
    "DROP TYPE y CASCADE": EVERYTHING,
    "DROP INDEX i": NOTHING,
    "ALTER TABLE ONLY s.t DROP COLUMN a": writes("", "t", "t", "t"),
    "ALTER TABLE t ADD COLUMN a INT DEFAULT unheard_of()": EVERYTHING,
    "ALTER TABLE t DISABLE TRIGGER ALL": writes("", "t", "t", "t"),
    "CREATE TABLE p PARTITION OF t FOR VALUES FROM (1) TO (9)": NOTHING,
    "CREATE MATERIALIZED VIEW v AS SELECT * FROM t": reads("t"),
    "CREATE MATERIALIZED VIEW v AS SELECT unheard_of(a) FROM t": EVERYTHING,
    "REFRESH MATERIALIZED VIEW CONCURRENTLY v": writes("v", "v", "v"),
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ DELETE FROM t; $$": NOTHING,
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC DELETE FROM t; SELECT 1; END": NOTHING,
    "CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()": NOTHING,
    "CREATE EXTENSION x": EVERYTHING,
    "EXPLAIN DELETE FROM t": NOTHING,
    "EXPLAIN (VERBOSE, FORMAT json) DELETE FROM t": NOTHING,
    "EXPLAIN ANALYZE DELETE FROM t": DELETED,
    "EXPLAIN (ANALYZE, BUFFERS) DELETE FROM t": DELETED,
    "EXPLAIN (BUFFERS, ANALYZE) SELECT * FROM t": reads("t"),
    "SET LOCAL lock_timeout = '1s'": NOTHING,
    "SET search_path TO s": NOTHING,
    "SHOW search_path": NOTHING,
    "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY": NOTHING,
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE": NOTHING,
    "PREPARE TRANSACTION 'x'": NOTHING,
    "COMMIT PREPARED 'x'": NOTHING,
    "ROLLBACK PREPARED 'x'": EVERYTHING,
    "PREPARE p AS DELETE FROM t": EVERYTHING,
    "DO $$ BEGIN DELETE FROM t; END $$": EVERYTHING,
    "DECLARE c CURSOR FOR SELECT * FROM t": reads("t"),
    "FETCH 1 FROM c": EVERYTHING,
    "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c": EVERYTHING,
    "ANALYZE t": NOTHING,
    "VACUUM (ANALYZE) t": NOTHING,
    "GRANT INSERT ON t TO u": NOTHING,
    "COMMENT ON TABLE t IS 'DELETE FROM x'": NOTHING,
    "LOCK TABLE t IN EXCLUSIVE MODE": NOTHING,
    "LISTEN c": NOTHING,
    "NOTIFY c, 'x'": NOTHING,
}

MYSQL: dict[str, Touched] = {
    "SELECT * FROM t LOCK IN SHARE MODE": reads("t"),
    "SELECT * FROM t USE INDEX (i) FOR UPDATE": reads("t"),
    "SELECT * FROM t PARTITION (p0)": reads("t"),
    "SELECT a INTO @x FROM t": reads("t"),
    "SELECT @x := a FROM t": reads("t"),
    "SELECT * FROM `db`.`T`, 2020_sales": reads("t 2020_sales"),
    'SELECT \'it\\\'s; DELETE FROM x\', "DELETE FROM x", "a \\" b" FROM t': reads("t"),
    "SELECT 1 # DELETE ' FROM x\nFROM t": reads("t"),
    "SELECT 1--1 FROM t": reads("t"),
    "SELECT /*+ NO_ICP(t) */ a FROM t": reads("t"),
    "SELECT /*! a FROM t; DELETE */ FROM x": EVERYTHING,
    "/*M!100100 DELETE FROM x */": EVERYTHING,
    "SELECT IF(a, b, c), CONVERT(a USING utf8mb4), DATE_ADD(a, INTERVAL 1 DAY), NOW(6) FROM t": (
        reads("t")
    ),
    "SELECT GROUP_CONCAT(a ORDER BY b SEPARATOR ','), MATCH (a) AGAINST ('b') FROM t": reads("t"),
    "SELECT GET_LOCK('a', 1), LAST_INSERT_ID(), @@read_only, NEXTVAL(s)": NOTHING,
    "SELECT * FROM JSON_TABLE('[]', '$[*]' COLUMNS (a INT PATH '$')) AS j": NOTHING,
    "SELECT a DIV b, a XOR b, a RLIKE b, a <=> b FROM t": reads("t"),
    "SELECT db.lower(1)": EVERYTHING,
    "SELECT `unheard_of`(1)": EVERYTHING,
    "INSERT IGNORE INTO t VALUES (%s)": writes("t"),
    "INSERT LOW_PRIORITY IGNORE INTO t VALUES (%s)": writes("t"),
    "INSERT t VALUES (%s)": writes("t"),
    "INSERT INTO t SET a = 1": writes("t"),
    "INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)": UPSERT,
    "INSERT INTO t SELECT * FROM u ON DUPLICATE KEY UPDATE a = 1": UPSERT | reads("u"),
    'INSERT INTO "t" VALUES ("DELETE FROM x")': writes("t"),  # ANSI_QUOTES, or it is refused
    "REPLACE INTO t VALUES (%s)": ALL,
    "REPLACE LOW_PRIORITY INTO t VALUES (%s)": ALL,
    "REPLACE t SET a = 1": ALL,
    "REPLACE INTO t SELECT * FROM u": ALL | reads("u"),
    "UPDATE t, u SET t.a = u.a": writes("", "t u", "", "t u"),
    "UPDATE t JOIN u ON t.id = u.id SET u.a = t.a": writes("", "t u", "", "t u"),
    "UPDATE t JOIN (SELECT * FROM v) AS w ON 1 = 1 SET t.a = w.a": writes("", "t", "", "t v"),
    "UPDATE LOW_PRIORITY IGNORE t SET a = 1 ORDER BY a LIMIT 3": CHANGED,
    'UPDATE "t" SET a = "b"': CHANGED,
    "WITH c AS (SELECT 1 AS a) UPDATE t JOIN c ON t.a = c.a SET t.b = 1": (
        writes("", "t", "", "t")
    ),
    "DELETE t FROM t JOIN u ON t.id = u.id": writes("", "", "t u", "t u"),
    "DELETE t.*, u.* FROM t JOIN u": writes("", "", "t u", "t u"),
    "DELETE a FROM t AS a JOIN u": writes("", "", "a t u", "a t u"),
    "DELETE FROM t USING t JOIN u": writes("", "", "t u", "t u"),
    "DELETE LOW_PRIORITY QUICK IGNORE FROM t WHERE a = 1 LIMIT 5": DELETED,
    "TRUNCATE t": writes("", "", "t"),
    "TRUNCATE TABLE `db`.`t`": writes("", "", "t"),
    "LOAD DATA LOCAL INFILE 'f' INTO TABLE t FIELDS TERMINATED BY ','": writes("t"),
    "LOAD DATA INFILE 'f' REPLACE INTO TABLE `s`.`t` (a, @b) SET b = upper(@b)": ALL,
    "LOAD DATA INFILE 'f' IGNORE INTO TABLE t (a, @b) SET b = unheard_of(@b)": (
        writes("t") | EVERYTHING
    ),
    "DROP TABLE t, u": writes("", "t u", "t u"),
    "DROP DATABASE d": EVERYTHING,
    "RENAME TABLE t TO u": writes("", "t u", "t u"),
    "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u": EVERYTHING,
    "CREATE TABLE t SELECT * FROM u": reads("u"),
    "CREATE OR REPLACE TABLE t (a INT)": EVERYTHING,
    "CREATE PROCEDURE p() BEGIN DELETE FROM t; END": NOTHING,
    "CREATE DEFINER=root@localhost TRIGGER r AFTER INSERT ON t FOR EACH ROW DELETE FROM u": (
        NOTHING
    ),
    "SHOW TABLES": NOTHING,
    "SHOW CREATE TABLE t": NOTHING,
    "DESCRIBE t": NOTHING,
    "EXPLAIN DELETE FROM t": NOTHING,
    "EXPLAIN FORMAT=JSON SELECT * FROM t": NOTHING,
    "EXPLAIN ANALYZE SELECT * FROM t": reads("t"),
    "ANALYZE FORMAT=JSON DELETE FROM t": DELETED,
    "ANALYZE TABLE t": NOTHING,
    "OPTIMIZE TABLE t": NOTHING,
    "SET NAMES utf8mb4": NOTHING,
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED": NOTHING,
    "SET @x = (SELECT max(a) FROM t)": reads("t"),
    "SET @x = unheard_of(1)": EVERYTHING,
    "SET STATEMENT max_statement_time = 1 FOR DELETE FROM t": DELETED,
    "USE db": NOTHING,
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY": NOTHING,
    "XA START 'x'": NOTHING,
    "XA ROLLBACK 'x'": EVERYTHING,
    "LOCK TABLES t WRITE": NOTHING,
    "UNLOCK TABLES": NOTHING,
    "FLUSH TABLES": NOTHING,
    "KILL 5": NOTHING,
    "DO SLEEP(1)": EVERYTHING,
    "HANDLER t OPEN": EVERYTHING,
    "PREPARE p FROM 'DELETE FROM t'": EVERYTHING,
    "EXECUTE IMMEDIATE 'DELETE FROM t'": EVERYTHING,
    "BEGIN NOT ATOMIC DELETE FROM x; END": EVERYTHING,
}

CASES = [
    *((database, *case) for database in DATABASES for case in ANYWHERE.items()),
    *(("sqlite", *case) for case in SQLITE.items()),
    *(("postgresql", *case) for case in POSTGRESQL.items()),
    *((database, *case) for database in ("mysql", "mariadb") for case in MYSQL.items()),
]


UNREADABLE = {"SELECT * FROM 'users'", "SELECT " + "(" * 500 + "1" + ")" * 500}
"""Queries that, as their words show, write nothing, whatever it is that they read."""


@pytest.mark.parametrize(("database", "statement", "expected"), CASES)
def test_what_a_text_touches(database: str, statement: str, expected: Touched) -> None:
    found = of_text(statement, database, STYLES[database])
    assert found.is_opaque == expected.is_opaque
    if not found.is_opaque:
        assert found == expected


@pytest.mark.parametrize(("database", "statement", "expected"), CASES)
def test_what_a_text_writes_is_the_same_without_reads(
    database: str, statement: str, expected: Touched
) -> None:
    found = writes_of_text(statement, database, STYLES[database])
    whole = of_text(statement, database, STYLES[database])
    assert not found.reads
    if statement in UNREADABLE:
        return
    assert found == Touched(frozenset(), *astuple(whole)[1:])


def astuple(one: Touched) -> tuple[Any, ...]:
    return (one.reads, one.inserts, one.updates, one.deletes, one.is_opaque)


def test_touched_is_a_union_of_what_it_is_made_of() -> None:
    both = writes("a") | writes("", "b", "c", "d")
    assert both == writes("a", "b", "c", "d")
    assert (both | EVERYTHING).is_opaque
    assert both.writes
    assert EVERYTHING.writes
    assert not NOTHING.writes
    assert not reads("t").writes


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT * FROM t WHERE a = :a AND b IN :b AND c = '12:30' AND d = '\\:x'", reads("t")),
        ("UPDATE t SET a = :a WHERE b = :b", CHANGED),
        ("INSERT INTO t (a, b) VALUES (:a, :b)", writes("t")),
    ],
)
def test_a_text_before_it_is_compiled(database: str, statement: str, expected: Touched) -> None:
    assert of_text(statement, database, "named") == expected
    assert of_text(text(statement).text, database, "named") == expected


@pytest.mark.parametrize(
    ("statement", "paramstyle"),
    [
        ("SELECT a FROM t WHERE b = %(b)s", "pyformat"),
        ("SELECT a FROM t WHERE b = %s", "format"),
        ("SELECT a FROM t WHERE b = $1", "numeric_dollar"),
        ("SELECT a FROM t WHERE b = :b", "named"),
        ("SELECT a FROM t WHERE b = :1", "numeric"),
        ("SELECT a FROM t WHERE b = ?", "qmark"),
        ("SELECT a FROM t WHERE b = 17.5e3", "pyformat"),
        ("SELECT a\n  FROM t -- why\n WHERE b = 0", "pyformat"),
    ],
)
def test_placeholders_numbers_and_layout_do_not_matter(statement: str, paramstyle: str) -> None:
    assert shape(statement, "postgresql", paramstyle) == "SELECT a FROM t WHERE b = 0"


@pytest.mark.parametrize(
    ("database", "paramstyle", "statement", "expected"),
    [
        ("postgresql", "pyformat", "SELECT a[1:2], b::int", "SELECT a[0:0], b::int"),
        ("postgresql", "named", "SELECT a[1:2], b::int, \\:c", "SELECT a[0:0], b::int, :c"),
        ("postgresql", "pyformat", "SELECT ARRAY[1, 2, 3]", "SELECT ARRAY[0]"),
        ("postgresql", "pyformat", "SELECT a %% 2 FROM t1", "SELECT a % 0 FROM t1"),
        ("postgresql", "pyformat", 'SELECT "a""1", $1, $$ \' $$', 'SELECT "a""1", 0, \'\''),
        ("postgresql", "pyformat", "SELECT E'\\'' || 'a\\'", "SELECT '' || ''"),
        ("sqlite", "qmark", 'SELECT [it\'s 1], "a 1", `b`, ?1', 'SELECT [it\'s 1], "a 1", `b`, 0'),
        (
            "mysql",
            "format",
            "SELECT 2020_sales.a, 0x1F, _utf8'x'",
            "SELECT 2020_sales.a, 0, _utf8''",
        ),
        ("mysql", "format", f'SELECT "{"x" * 70}", "y"', "SELECT '', \"y\""),
        ("mysql", "format", "SELECT 1--1 -- x", "SELECT 0- -0"),
        ("sqlite", "qmark", "VALUES (1, ?), ('a', NULL)", "VALUES (0)"),
        ("sqlite", "qmark", "VALUES (1, f(?)), (2, f(3))", "VALUES (0, f(0))"),
        ("sqlite", "qmark", "VALUES (1, f(?)), (2, 3)", "VALUES (0, f(0)), (0)"),
        (
            "sqlite",
            "qmark",
            "a IN (1, 2) OR (a, b) IN ((1, 2), (3, 4))",
            "a IN (0) OR (a, b) IN (0)",
        ),
    ],
)
def test_shapes(database: str, paramstyle: str, statement: str, expected: str) -> None:
    assert shape(statement, database, paramstyle) == expected


def test_statements_of_one_shape_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = sqlglot.parse

    def counting(statement: str, **options: Any) -> Any:
        parsed.append(statement)
        return parse(statement, **options)

    monkeypatch.setattr(sqlglot, "parse", counting)
    for number in range(50):
        statement = (
            f"DELETE FROM parsed_once WHERE a IN ({number}, {number + 1}) AND b = '{number}'"
        )
        assert of_text(statement, "sqlite", "qmark") == writes("", "", *["parsed_once"] * 2)
        assert writes_of_text(statement, "sqlite", "qmark").deletes == {"parsed_once"}
    assert len(parsed) == 1


def test_a_query_is_not_parsed_to_know_that_it_does_not_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlglot, "parse", None)
    statement = "SELECT max(a), 'x' FROM not_parsed AS n WHERE (b = ? OR c IN (1, 2)) FOR UPDATE"
    assert writes_of_text(statement, "postgresql", "qmark") is NOTHING


ROWS = 10_000


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "INSERT INTO t (a, b, c) VALUES "
            + ", ".join(f"({n}, 'it''s {n}', NULL)" for n in range(ROWS)),
            writes("t"),
        ),
        (
            "INSERT INTO t (a, b) VALUES " + ", ".join(f"({n}, lower('x'))" for n in range(ROWS)),
            writes("t"),
        ),
        (f"SELECT * FROM t WHERE a IN ({', '.join(map(str, range(ROWS)))})", reads("t")),
        (
            f"SELECT * FROM t WHERE (a, b) IN ({', '.join(f'({n}, {n})' for n in range(ROWS))})",
            reads("t"),
        ),
        (f"UPDATE t SET a = '{'x' * 5_000_000}'", CHANGED),
    ],
    ids=["rows", "rows with calls", "keys", "pairs", "one long string"],
)
def test_big_statements_are_quick_and_are_not_kept(
    database: str, statement: str, expected: Touched
) -> None:
    of_text("SELECT 1", database, STYLES[database])
    kept = texts._of_short_text.cache_info().currsize
    start = time.perf_counter()
    assert of_text(statement, database, STYLES[database]) == expected
    assert time.perf_counter() - start < 1  # far more than it takes, for slow machines
    assert texts._of_short_text.cache_info().currsize == kept


def test_the_parser_logs_nothing_and_others_may(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("sqlglot")
    assert of_text("ALTER TABLE t DISABLE TRIGGER ALL -- quiet", "postgresql", "named").writes
    assert not caplog.records
    assert not logger.filters
    sqlglot.parse("ALTER TABLE t DISABLE TRIGGER ALL", dialect="postgres")
    assert caplog.records


def test_a_dialect_that_is_not_known_is_read_as_plain_sql() -> None:
    assert of_text("DELETE FROM t WHERE a = :a", "unheard_of", "named") == DELETED
    assert of_text("SELECT f(1)", "unheard_of", "named").is_opaque
    assert of_text("SELECT * FROM [t]", "mssql", "qmark") == reads("t")


# The lists of functions, asked of the servers

FREQUENT = {
    "sqlite": """
        abs avg ceil ceiling changes char coalesce count cume_dist date datetime dense_rank
        first_value floor format glob group_concat hex ifnull iif instr json json_array
        json_array_length json_extract json_group_array json_group_object json_insert json_object
        json_patch json_quote json_remove json_replace json_set json_type json_valid julianday lag
        last_insert_rowid last_value lead length like lower ltrim max min nth_value ntile nullif
        percent_rank printf quote random randomblob rank replace round row_number rtrim sign
        sqlite_version strftime substr sum time total total_changes trim typeof unicode unixepoch
        upper zeroblob
        """,
    "postgresql": """
        abs age array_agg array_append array_length array_position array_to_string avg bool_and
        bool_or btrim cardinality ceil char_length clock_timestamp coalesce concat concat_ws count
        current_database current_setting currval date_part date_trunc dense_rank encode exp
        first_value floor format gen_random_uuid generate_series greatest jsonb_agg
        jsonb_array_elements jsonb_build_object jsonb_each jsonb_object_agg jsonb_set json_agg
        json_build_object lag last_value lead least left length ln lower lpad ltrim make_date
        make_interval max md5 min mod now nextval ntile nullif percentile_cont
        pg_advisory_lock pg_advisory_xact_lock pg_backend_pid pg_sleep pg_try_advisory_lock
        pg_table_size plainto_tsquery position power random rank regexp_matches regexp_replace
        repeat replace right round row_number row_to_json rpad setval sha256 split_part starts_with
        string_agg string_to_array strpos substr sum to_char to_date to_json to_jsonb to_number
        to_timestamp to_tsquery to_tsvector translate trim trunc ts_rank txid_current unnest upper
        version
        """,
    "mariadb": """
        abs adddate ascii avg bit_count cast ceil char_length coalesce concat concat_ws
        connection_id count curdate current_timestamp database date date_add date_format date_sub
        datediff dayofweek elt field find_in_set floor format found_rows from_unixtime get_lock
        greatest group_concat hex if ifnull instr json_array json_arrayagg json_contains
        json_extract json_object json_objectagg json_set json_unquote json_value last_insert_id
        lcase least left length locate lower lpad ltrim max md5 min mod month nextval now nullif
        power rand rank regexp_replace release_lock repeat replace reverse right round row_count
        row_number rpad rtrim sha1 sha2 sleep str_to_date substr substring substring_index sum
        timediff timestampdiff trim truncate unhex unix_timestamp upper user utc_timestamp uuid
        version week year
        """,
}

BUILT_IN = {
    "sqlite": "SELECT DISTINCT name FROM pragma_function_list WHERE builtin",
    "postgresql": "SELECT DISTINCT proname FROM pg_proc "
    "WHERE pronamespace = 'pg_catalog'::regnamespace",
    "mariadb": "SELECT lower(function) FROM information_schema.sql_functions",
}

RUN_STATEMENTS = {"load_extension", "ts_stat", "ts_rewrite"}


@on("sqlite3", "psycopg", "pymysql")
def test_what_the_server_has_of_its_own_is_known(db: Database) -> None:
    server = db.driver.server
    frequent = set(FREQUENT[server].split())
    assert len(frequent) >= 60
    with db.connection() as connection:
        built_in = {str(name) for name in connection.exec_driver_sql(BUILT_IN[server]).scalars()}
    assert frequent <= functions.own(server)
    keywords = {"coalesce", "nullif", "greatest", "least", "trim", "cast", "if"}
    assert len(frequent & built_in) > len(frequent - keywords) / 2
    assert not RUN_STATEMENTS & functions.own(server)
    for name in frequent:
        assert not writes_of_text(f"SELECT {name}(a, b) FROM t", server, "named").is_opaque, name


@on("sqlite3", "psycopg", "pymysql")
def test_a_function_that_is_made_up_is_opaque(db: Database) -> None:
    server = db.driver.server
    with db.connection() as connection:
        built_in = {str(name) for name in connection.exec_driver_sql(BUILT_IN[server]).scalars()}
    assert "made_up" not in built_in
    assert of_text("SELECT made_up(1)", server, "named") == EVERYTHING
    assert writes_of_text("SELECT made_up(1)", server, "named") == EVERYTHING


@on("psycopg")
def test_no_function_of_postgresql_that_runs_what_it_is_given_is_known(db: Database) -> None:
    with db.connection() as connection:
        names = connection.exec_driver_sql(
            "SELECT DISTINCT proname FROM pg_proc WHERE proname LIKE '%%_to_xml%%' "
            "AND proname NOT LIKE 'map%%' OR proname LIKE 'binary_upgrade%%'"
        )
        assert not set(names.scalars()) & functions.own("postgresql")
