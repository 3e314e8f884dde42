"""Rows from wherever they come, in chunks of columns, as the table takes them."""
