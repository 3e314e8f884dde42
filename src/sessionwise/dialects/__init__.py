"""What each database needs of us."""
