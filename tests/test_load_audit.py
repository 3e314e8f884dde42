"""``sessionwise load --audit``: who has loaded what is recorded, whatever it is loaded by."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sessionwise.audit import Audit, AuditLog, AuditTransaction
from tests.shop import Shop, is_well, opened, told


@pytest.fixture
def shop(server_url: Any, tmp_path: Path) -> Iterator[Shop]:
    with opened(server_url, tmp_path, Shop) as shop:
        shop.execute(f"CREATE TABLE {shop.table} (id INTEGER PRIMARY KEY, name VARCHAR(20))")
        yield shop


@pytest.fixture
def audit(shop: Shop) -> Iterator[Audit]:
    metadata = sa.MetaData()
    audit = Audit(metadata, tables=[sa.Table(shop.table, metadata, autoload_with=shop.engine)])
    audit.install(shop.engine)
    yield audit
    audit.uninstall(shop.engine, drop_tables=True)


@pytest.mark.parametrize("how", [[], ["--commit-every", "2", "--jobs", "2"], ["--upsert"]])
def test_who_has_loaded_what(shop: Shop, audit: Audit, how: list[str]) -> None:
    file = shop.write("a.csv", "id,name\n" + "".join(f"{n},n{n}\n" for n in range(7)))
    is_well(shop.load(file, "--audit", *how))
    with shop.engine.connect() as connection:
        rows = connection.execute(
            sa.select(AuditLog.action, AuditLog.object_id, AuditTransaction.actor)
            .join(AuditTransaction, AuditTransaction.id == AuditLog.transaction_id)
            .order_by(sa.cast(AuditLog.object_id, sa.Integer))
        )
        assert [tuple(row) for row in rows] == [
            ("INSERT", str(n), getpass.getuser()) for n in range(7)
        ]
        reasons = set(connection.scalars(sa.select(AuditTransaction.reason)))
    assert reasons == {f"sessionwise load {file}"}


def test_a_table_without_triggers(shop: Shop) -> None:
    done = shop.load(shop.write("a.csv", "id,name\n1,n\n"), "--audit")
    assert f"{shop.table} lacks triggers" in told(done)
    assert shop.count() == 0
