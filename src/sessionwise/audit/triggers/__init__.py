"""Capture by triggers: the database records what anybody changes, by whatever road."""
