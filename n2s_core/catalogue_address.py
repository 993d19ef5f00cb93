"""Where a catalogue is: a file of SQLite, or a schema in a database of PostgreSQL."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from n2s_core.errors import ConfigError

FILE = "sqlite:"
SCHEMES = ("postgresql+psycopg", "postgresql", "postgres")
SCHEMA = "n2s"
_LIBPQ = "postgresql"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,30}")
_SECRETS = frozenset({"password", "sslpassword"})
_WHERE_INSTEAD = (
    "Write it into ~/.pgpass (or the file that $PGPASSFILE names), set $PGPASSWORD, or use a way"
    " without a password, such as peer authentication or a client certificate."
)


@dataclass(frozen=True, slots=True)
class PostgresqlAddress:
    """One schema of one database: `url` is for libpq, and has no password and no `schema`."""

    url: str
    schema: str = SCHEMA

    def __str__(self) -> str:
        """For messages, and for `parse_address`."""
        text = SCHEMES[0] + self.url.removeprefix(_LIBPQ)
        if self.schema == SCHEMA:
            return text
        return f"{text}{'&' if '?' in text else '?'}schema={self.schema}"

    def with_schema(self, schema: str) -> "PostgresqlAddress":
        """Another schema of the same database."""
        return PostgresqlAddress(self.url, schema)


CatalogueAddress = Path | PostgresqlAddress


def parse_address(text: str, base: Path) -> CatalogueAddress:
    """The address that a configuration in the folder `base` names.

    Raises ConfigError when it cannot be used, and when there is a password in it.
    """
    scheme, colon, _ = text.partition(":")
    if colon and scheme in SCHEMES:
        return _server(text)
    if "://" in text and not text.startswith(FILE):
        message = (
            f"There is no catalogue of the kind {scheme}: it is a file, or"
            f" {SCHEMES[0]}://USER@HOST/DATABASE?schema=NAME."
        )
        raise ConfigError(message)
    return base / text.removeprefix(FILE)


def _server(text: str) -> PostgresqlAddress:
    try:
        parts = urlsplit(text)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        message = f"The URL of the catalogue cannot be read: {error}."
        raise ConfigError(message) from error
    user, at, _ = parts.netloc.rpartition("@")
    if (at and ":" in user) or _SECRETS & {key for key, _ in query}:
        message = f"A password does not belong into the URL of the catalogue. {_WHERE_INSTEAD}"
        raise ConfigError(message)
    if not text.startswith(f"{parts.scheme}://") or not unquote(parts.path).strip("/"):
        message = (
            "The URL of the catalogue names no database; write"
            f" {SCHEMES[0]}://USER@HOST/DATABASE?schema=NAME."
        )
        raise ConfigError(message)
    schemas = [value for key, value in query if key == "schema"] or [SCHEMA]
    schema = schemas[-1]
    if not _NAME.fullmatch(schema) or schema.startswith("pg_"):
        message = (
            f"The schema of the catalogue is {schema!r}; it is a name of small letters, digits and"
            " underscores, with 31 of them at most, and does not begin with pg_."
        )
        raise ConfigError(message)
    rest = urlencode([one for one in query if one[0] != "schema"], quote_via=quote)
    url = f"{_LIBPQ}://{parts.netloc}{parts.path}"
    return PostgresqlAddress(f"{url}?{rest}" if rest else url, schema)


def files_of(address: CatalogueAddress) -> list[Path]:
    """The files of a catalogue that are its own, whether they are there or not."""
    if isinstance(address, PostgresqlAddress):
        return []
    return [address.with_name(address.name + one) for one in ("", "-wal", "-shm", "-journal")]
