"""How a catalogue of an older version becomes one of this version, on every database.

One module in `versions` for each version of the schema; revision "0002" makes version 2 out of
version 1. A revision that was released is never changed, and knows no other module of n2s, because
those go on. Statements are Alembic operations or SQL that each database understands.
`n2s_core.catalogue.upgrading` runs them.
"""
