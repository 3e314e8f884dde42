"""What an application's own listeners record, as in the guide: ``AuditLog.create``."""
