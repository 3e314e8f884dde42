"""Rows that cannot be stored: found, put aside with the reason, and the others stored."""
