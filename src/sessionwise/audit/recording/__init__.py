"""Capture by the session: what goes through sessions is recorded, without triggers."""
