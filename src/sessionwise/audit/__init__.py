"""Technique 2: who has changed what, when and why, recorded in the same transaction."""

from sessionwise.audit.asking.change import Change
from sessionwise.audit.asking.decode import Redacted
from sessionwise.audit.audit import Audit
from sessionwise.audit.context import Actor, actor
from sessionwise.audit.listening.net import get_changes
from sessionwise.audit.log import AuditLog, AuditTransaction
from sessionwise.audit.triggers.doctor import Finding

__all__ = [
    "Actor",
    "Audit",
    "AuditLog",
    "AuditTransaction",
    "Change",
    "Finding",
    "Redacted",
    "actor",
    "get_changes",
]
