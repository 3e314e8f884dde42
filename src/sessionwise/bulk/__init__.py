"""Technique 3: rows in and out at the driver's speed, inside the session's transaction."""

from sessionwise.bulk.export import CopyResult
from sessionwise.bulk.reading.sources import read
from sessionwise.bulk.result import BulkProgress, BulkResult, Rejected
from sessionwise.bulk.upsert import excluded

__all__ = ["BulkProgress", "BulkResult", "CopyResult", "Rejected", "excluded", "read"]
