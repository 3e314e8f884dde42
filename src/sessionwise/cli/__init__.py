"""The command ``sessionwise``; ``__main__`` starts it, ``app`` gathers its commands."""
