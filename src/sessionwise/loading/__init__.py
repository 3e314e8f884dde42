"""Loading many at once what SQLAlchemy loads one by one."""
