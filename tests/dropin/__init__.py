"""SQLAlchemy's own ORM tests with our Session in place: ``python -m tests.dropin``."""
