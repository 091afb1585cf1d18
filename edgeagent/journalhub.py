"""Which hub a device's journal of commands was last told to: another one knows nothing of the outcomes that this one has acknowledged."""

from __future__ import annotations

from edgeagent.journal import Journal

__all__ = ["linked_to"]

#: It came later, and an older agent goes on beside it: so it is no other version of the tables.
_TABLE = "CREATE TABLE IF NOT EXISTS hub (name TEXT NOT NULL)"


def linked_to(journal: Journal, hub: str, now: float) -> bool:
    """Note where the link leads; whether it led elsewhere before.

    Then outcomes of what has not expired by ``now``, Unix seconds, are offered to this hub: it may have the commands (they were brought
    over, or devices have been here before), and would wait for ever. What it has already stays as it is there. Raises Failed.
    """
    with journal.transaction() as db:
        db.execute(_TABLE)
        before = [name for (name,) in db.execute("SELECT name FROM hub")]
        if before == [hub]:
            return False
        db.execute("DELETE FROM hub")
        db.execute("INSERT INTO hub VALUES (?)", (hub,))
        if before:
            db.execute("UPDATE commands SET settled = 0 WHERE settled = 1 AND not_after > ?", (now,))
        return bool(before)
