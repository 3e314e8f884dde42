"""Django's ``bulk_create`` on the table of the bulk cases; imported where Django is there."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.db import connections, models
from sqlalchemy import URL

settings.configure(DATABASES={}, INSTALLED_APPS=[], USE_TZ=False)
django.setup()

ENGINES = {"sqlite": "sqlite3", "postgresql": "postgresql", "mariadb": "mysql"}


class Flight(models.Model):
    id = models.AutoField(primary_key=True)
    year = models.IntegerField()
    month = models.IntegerField()
    day = models.IntegerField()
    dep_time = models.IntegerField(null=True)
    sched_dep_time = models.IntegerField()
    dep_delay = models.IntegerField(null=True)
    arr_time = models.IntegerField(null=True)
    sched_arr_time = models.IntegerField()
    arr_delay = models.IntegerField(null=True)
    carrier = models.CharField(max_length=2)
    flight = models.IntegerField()
    tailnum = models.CharField(max_length=6, null=True)
    origin = models.CharField(max_length=3)
    dest = models.CharField(max_length=3)
    air_time = models.IntegerField(null=True)
    distance = models.IntegerField()
    hour = models.IntegerField()
    minute = models.IntegerField()
    time_hour = models.DateTimeField()

    class Meta:  # noqa: D106 - of Django's own
        app_label = "benchmarks"
        db_table = "bulk_flight"
        managed = False


def bulk_create(url: URL, rows: list[dict[str, Any]], batch_size: int) -> None:
    _connect(url)
    try:
        Flight.objects.bulk_create([Flight(**row) for row in rows], batch_size=batch_size)
    finally:
        connections["default"].close()


def _connect(url: URL) -> None:
    backend = url.get_backend_name()
    options: dict[str, Any] = {}
    if backend == "sqlite":
        options = {"init_command": "PRAGMA synchronous = OFF"}
    elif backend == "mariadb":
        _pymysql_as_mysqlclient()
    settings_of_it = {
        "ENGINE": f"django.db.backends.{ENGINES[backend]}",
        "NAME": url.database,
        "USER": url.username or "",
        "PASSWORD": url.password or "",
        "HOST": url.host or url.query.get("host", ""),
        "PORT": url.port or "",
        "OPTIONS": options,
    }
    connections.settings = connections.configure_settings({"default": settings_of_it})
    if hasattr(connections._connections, "default"):
        del connections["default"]


def _pymysql_as_mysqlclient() -> None:
    import pymysql

    pymysql.version_info = (2, 2, 7, "final", 0)  # Django asks for that of mysqlclient
    pymysql.install_as_MySQLdb()
