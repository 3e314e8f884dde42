"""``Database`` and ``AsyncDatabase``: engines, sessions, units of work that end by themselves."""

from sessionwise.database.asynchronous import AsyncDatabase
from sessionwise.database.blocking import Database
from sessionwise.database.health import Health
from sessionwise.database.units import Nested

__all__ = ["AsyncDatabase", "Database", "Health", "Nested"]
