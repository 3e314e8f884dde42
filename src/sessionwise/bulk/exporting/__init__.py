"""Rows out: the query's columns, their form in each format, and where they go."""
