"""Whole files into a table: in one transaction, or in pieces that a killed load goes on after."""

from sessionwise.transfer.load import load
from sessionwise.transfer.options import LoadOptions, LoadProgress, LoadResult
from sessionwise.transfer.reject_columns import REJECT_COLUMNS, is_reject_file

__all__ = [
    "REJECT_COLUMNS",
    "LoadOptions",
    "LoadProgress",
    "LoadResult",
    "is_reject_file",
    "load",
]
