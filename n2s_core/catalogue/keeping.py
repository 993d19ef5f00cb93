"""What a catalogue keeps of its store's key: copies of the key objects, and the store's id."""

from n2s_core.catalogue.database import Database


def key_objects(db: Database) -> list[tuple[bytes, bytes]]:
    """Digest and bytes of the key objects that the store should have."""
    rows = db.all("SELECT digest, bytes FROM key_objects ORDER BY digest")
    return [(bytes(digest), bytes(data)) for digest, data in rows]


def store_id(db: Database) -> bytes:
    """Which store this is the catalogue of; empty when it does not say."""
    row = db.one("SELECT value FROM properties WHERE name = 'store_id'")
    return b"" if row is None else bytes(row[0])
