"""The tables of the audit: what has changed, and the transactions in which it did.

They have a ``MetaData`` of their own, so that ``create_all`` of an application's makes none of
them by chance; ``Audit.install`` does, and a migration.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql, postgresql

__all__ = ["LOG", "METADATA", "SALT", "TRANSACTION"]

METADATA = MetaData()

_KEY = BigInteger().with_variant(Integer(), "sqlite")
_MOMENT = DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_JSON = (
    JSON(none_as_null=True)
    .with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
    .with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
)
_NAME = String(255)
# By its own collation MariaDB would take the keys "a" and "A" for one.
_BINARY = mysql.VARCHAR(500, collation="utf8mb4_bin")
# PostgreSQL compares each new key with some twenty of the index: by bytes that is soon done.
_TABLE = _NAME.with_variant(postgresql.VARCHAR(255, collation="C"), "postgresql")
_OBJECT = (
    Text()
    .with_variant(_BINARY, "mysql", "mariadb")
    .with_variant(postgresql.TEXT(collation="C"), "postgresql")
)

TRANSACTION = Table(
    "audit_transaction",
    METADATA,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("native_id", String(64), index=True, comment="what the database calls it"),
    Column("at", _MOMENT, nullable=False, index=True, comment="UTC"),
    Column("actor", _NAME, index=True),
    Column("reason", Text),
    Column("request_id", _NAME),
    Column("context", _JSON, comment="what else the application has to say, as JSON"),
    sqlite_autoincrement=True,
)
"""Who has changed something, when and why; a row comes with the first change of a transaction.

A transaction in which the actor changes has a row for each."""

LOG = Table(
    "audit_log",
    METADATA,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    # No foreign key: it would be checked for each row, and rows of both tables are written once.
    Column("transaction_id", _KEY, nullable=False),
    Column("at", _MOMENT, nullable=False, comment="UTC"),
    Column("action", String(8), nullable=False),
    Column("table", _TABLE, nullable=False),
    Column("object_id", _OBJECT),
    Column("previous_id", _OBJECT, comment="object_id before, where the primary key has changed"),
    Column("old", _JSON, comment="the row before, whole"),
    Column("new", _JSON, comment="the row after, whole or what has changed"),
    Column("schema_version", String(16), comment="of the columns that are recorded"),
    # Transactions come in their order, so PostgreSQL needs to know no more than where each begins.
    Index("ix_audit_log_transaction", "transaction_id", postgresql_using="brin"),
    Index("ix_audit_log_object", "table", "object_id", "id"),
    sqlite_autoincrement=True,  # no id is used again, whatever is deleted
)
Index(
    "ix_audit_log_previous",
    LOG.c.table,
    LOG.c.previous_id,
    sqlite_where=LOG.c.previous_id.is_not(None),
    postgresql_where=LOG.c.previous_id.is_not(None),
)
"""What has changed, a row for each change of a row; in the order of ``id``."""

SALT = Table(
    "audit_salt",
    METADATA,
    Column("table", _NAME, primary_key=True),
    Column("object_id", String(512).with_variant(_BINARY, "mysql", "mariadb"), primary_key=True),
    Column("salt", LargeBinary(32), nullable=False),
)
"""What redacted values of an object are hashed with: without it nobody can guess them."""
