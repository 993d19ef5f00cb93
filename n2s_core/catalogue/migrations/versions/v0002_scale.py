"""Each making of a catalogue has a name; what a changeset changed is found by an index.

By the name it is noticed when another catalogue is put in the place of one that is in use.
"""

import secrets

from alembic import op
from sqlalchemy import column, exists, literal, select, table, text

revision = "0002"
down_revision = "0001"
_BYTES = 16
_BEGUN_LATER = "valid_from > 1"
_ENDED = "valid_to < 9223372036854775807"


def upgrade() -> None:
    """The name is given if there is none."""
    properties = table("properties", column("name"), column("value"))
    given = select(literal("incarnation"), literal(secrets.token_bytes(_BYTES)))
    missing = ~exists().where(properties.c.name == "incarnation")
    op.execute(properties.insert().from_select(["name", "value"], given.where(missing)))
    _index("files_begun", "valid_from", _BEGUN_LATER)
    _index("files_ended", "valid_to", _ENDED)


def _index(name: str, of: str, where: str) -> None:
    op.create_index(
        name,
        "files",
        [of],
        if_not_exists=True,
        sqlite_where=text(where),
        postgresql_where=text(where),
    )
