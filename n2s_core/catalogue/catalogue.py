"""A catalogue as a whole: its datasets, its store, its keys."""

from n2s_core.catalogue import keeping
from n2s_core.catalogue.audits import Audits
from n2s_core.catalogue.damages import Damages
from n2s_core.catalogue.database import create_database, open_database
from n2s_core.catalogue.debts import Debts
from n2s_core.catalogue.leases import Leases
from n2s_core.catalogue.pruning import Pruning
from n2s_core.catalogue.pushes import Pushes
from n2s_core.catalogue.queries import Queries
from n2s_core.catalogue.verdicts import Verdicts
from n2s_core.catalogue.versions import SCHEMA_VERSION, VERSION, require_usable
from n2s_core.catalogue_address import CatalogueAddress
from n2s_core.clock import now_ns
from n2s_core.errors import CatalogueError
from n2s_core.facts import Dataset

_DATASET = (
    "SELECT dataset_no, dataset_id, name, head_no, live_files, live_bytes, mark, mark_owner,"
    " entries_since_checkpoint, changesets_since_checkpoint, last_verify_ns FROM datasets"
)


class Catalogue:
    """The catalogue in one SQLite file, or one schema of PostgreSQL. A context manager."""

    def __init__(self, address: CatalogueAddress, *, read_only: bool = False) -> None:
        """Open it. Raises CatalogueError when it is not there, damaged, or of another version."""
        self.address = address
        self.db = open_database(address, read_only=read_only)
        try:
            self._judge()
        except CatalogueError:
            self.db.close()
            raise
        self.leases = Leases(self.db, self._judge)
        self.pushes = Pushes(self.db)
        self.queries = Queries(self.db)
        self.audits = Audits(self.db)
        self.debts = Debts(self.db)
        self.damages = Damages(self.db)
        self.verdicts = Verdicts(self.db)
        self.pruning = Pruning(self.db, self.leases)

    @classmethod
    def create(cls, address: CatalogueAddress, *, store_id: bytes, store_url: str) -> "Catalogue":
        """Make a new, empty one (mode 0600). Raises CatalogueError when there is one."""
        with create_database(address) as db:
            db.create_tables()
            with db.transaction(durable=True):
                db.execute_many(
                    "INSERT INTO properties (name, value) VALUES (?, ?)",
                    [
                        (SCHEMA_VERSION, str(VERSION).encode()),
                        ("store_id", store_id),
                        ("store_url", store_url.encode()),
                    ],
                )
                db.execute(
                    "INSERT INTO alembic_version (version_num) VALUES (?)", (f"{VERSION:04}",)
                )
        return cls(address)

    def __enter__(self) -> "Catalogue":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    def _judge(self) -> None:
        require_usable(self.db, str(self.address))

    @property
    def store_id(self) -> bytes:
        """Which store this is the catalogue of."""
        return keeping.store_id(self.db)

    # -- keys ------------------------------------------------------------------------------

    def key_objects(self) -> list[tuple[bytes, bytes]]:
        """Digest and bytes of the key objects that the store should have."""
        return keeping.key_objects(self.db)

    def remember_key(self, digest: bytes, data: bytes) -> None:
        """Keep a copy of a key object."""
        with self.db.transaction(durable=True):
            self.db.execute(
                "INSERT INTO key_objects (digest, bytes) VALUES (?, ?)"
                " ON CONFLICT (digest) DO UPDATE SET bytes = excluded.bytes",
                (digest, data),
            )

    def forget_key(self, digest: bytes) -> None:
        """Keep no copy of a key object any more; its bytes are overwritten."""
        with self.db.overwriting("key_objects"), self.db.transaction(durable=True):
            self.db.execute("DELETE FROM key_objects WHERE digest = ?", (digest,))

    # -- datasets --------------------------------------------------------------------------

    def add_dataset(self, dataset_id: bytes, name: str) -> Dataset:
        """A dataset without any changeset."""
        with self.db.transaction(durable=True):
            self.db.execute(
                "INSERT INTO datasets (dataset_no, dataset_id, name, head_no, live_files,"
                " live_bytes, entries_since_checkpoint, changesets_since_checkpoint)"
                " SELECT coalesce(max(dataset_no), 0) + 1, ?, ?, 0, 0, 0, 0, 0 FROM datasets",
                (dataset_id, name),
            )
        found = self.db.one(_DATASET + " WHERE dataset_id = ?", (dataset_id,))
        assert found is not None
        return Dataset(*found)

    def datasets(self) -> list[Dataset]:
        """All of them, by name."""
        return [Dataset(*row) for row in self.db.all(_DATASET + " ORDER BY name, dataset_no")]

    def dataset(self, dataset_id: bytes) -> Dataset:
        """One of them. Raises CatalogueError when it is not there."""
        found = self.db.one(_DATASET + " WHERE dataset_id = ?", (dataset_id,))
        if found is None:
            message = (
                f"The catalogue {self.address} does not know dataset {dataset_id.hex()[:12]};"
                " 'n2s rebuild' reads the store again."
            )
            raise CatalogueError(message)
        return Dataset(*found)

    def note_verify(self, dataset_no: int) -> None:
        """Remember that a verify of the dataset ended now."""
        with self.db.transaction():
            self.db.execute(
                "UPDATE datasets SET last_verify_ns = ? WHERE dataset_no = ?",
                (now_ns(), dataset_no),
            )
