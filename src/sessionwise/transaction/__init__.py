"""What a session knows about the transaction it is in."""
