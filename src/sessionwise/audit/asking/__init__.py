"""What can be asked of the audit: what was recorded, as the values that the ORM would load."""
