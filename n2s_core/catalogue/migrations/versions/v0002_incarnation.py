"""Each making of a catalogue has a name, so that another one in its place is noticed."""

import secrets

from alembic import op
from sqlalchemy import column, exists, literal, select, table

revision = "0002"
down_revision = "0001"
_BYTES = 16


def upgrade() -> None:
    """Give it one, if it has none."""
    properties = table("properties", column("name"), column("value"))
    given = select(literal("incarnation"), literal(secrets.token_bytes(_BYTES)))
    missing = ~exists().where(properties.c.name == "incarnation")
    op.execute(properties.insert().from_select(["name", "value"], given.where(missing)))
