"""Which catalogues this n2s can use. It is asked at every opening, so it needs no library."""

from n2s_core.catalogue.database import Database
from n2s_core.errors import CatalogueError, Outgrown, Unfit

VERSION = 2
"""The version of the tables; `n2s_core.catalogue.migrations` has a module for each."""
SCHEMA_VERSION = "schema_version"
MOVED_TO = "moved_to"
_DIGITS = 9


def version_in(db: Database, where: str) -> int:
    """The version of a catalogue that lies at `where`. Raises CatalogueError when it says none."""
    row = db.one("SELECT value FROM properties WHERE name = ?", (SCHEMA_VERSION,))
    if row is None:
        message = (
            f"What lies at {where} is no whole catalogue: it does not say its version. If a copy"
            " into it was interrupted, run 'n2s catalogue copy' again; if not, move it away and"
            " run 'n2s rebuild'."
        )
        raise CatalogueError(message)
    text = bytes(row[0])
    if not (text.isdigit() and len(text) <= _DIGITS):
        message = (
            f"The catalogue {where} says that its version is {text!r}, which is none. It is"
            " damaged; move it away and run 'n2s rebuild'."
        )
        raise CatalogueError(message)
    return int(text)


def require_known(db: Database, where: str) -> int:
    """The version of a catalogue that is in use and not newer than this n2s. Raises Unfit.

    One that was moved is not in use any more.
    """
    found = version_in(db, where)
    moved = db.one("SELECT value FROM properties WHERE name = ?", (MOVED_TO,))
    if moved is not None:
        message = (
            f"The catalogue {where} was moved to {bytes(moved[0]).decode(errors='replace')}, and is"
            " not kept up to date since. Write that into [catalogue] url of the configuration."
        )
        raise Unfit(message)
    if found > VERSION:
        message = (
            f"The catalogue {where} is of version {found}, and this n2s knows none above {VERSION}."
            " Another n2s upgraded it; install that one here, or a newer one."
        )
        raise Unfit(message)
    return found


def require_usable(db: Database, where: str) -> None:
    """It is in use, and of this version. Raises CatalogueError; Outgrown when it is older."""
    found = require_known(db, where)
    if found < VERSION:
        message = (
            f"The catalogue {where} is of version {found}, and this n2s uses {VERSION}. Run"
            " 'n2s catalogue upgrade'; an older n2s does not open it any more then."
        )
        raise Outgrown(message)
