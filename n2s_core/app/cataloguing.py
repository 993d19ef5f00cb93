"""What can be done with a catalogue as a whole: look at it, upgrade it, copy it."""

from dataclasses import dataclass
from pathlib import Path

from n2s_core import config as configuration
from n2s_core.app.answers import Json
from n2s_core.app.config_text import with_catalogue, write_text
from n2s_core.catalogue.describing import Description, describe
from n2s_core.catalogue.versions import VERSION
from n2s_core.catalogue_address import CatalogueAddress, parse_address
from n2s_core.clock import now_ns
from n2s_core.config import Config
from n2s_core.errors import UsageError
from n2s_core.model import Report


@dataclass(frozen=True, slots=True)
class CatalogueAnswer:
    """What a catalogue is; `known_version` is the version that this n2s uses."""

    address: str
    found: Description
    known_version: int = VERSION

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            "address": self.address,
            "kind": self.found.kind,
            "version": self.found.version,
            "known_version": self.known_version,
            "moved_to": self.found.moved_to,
            "rows": self.found.rows,
            "estimated": list(self.found.estimated),
            "size_bytes": self.found.size_bytes,
        }


@dataclass(frozen=True, slots=True)
class UpgradeAnswer:
    """What an upgrade did, or of a dry run would do: a sentence for each version."""

    address: str
    was_version: int
    version: int
    steps: tuple[tuple[int, str], ...]
    dry_run: bool
    seconds: float

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        found: Json = {name: getattr(self, name) for name in self.__slots__}
        found["steps"] = [{"version": number, "what": what} for number, what in self.steps]
        found["seconds"] = round(self.seconds, 3)
        return found


@dataclass(frozen=True, slots=True)
class CopyAnswer:
    """What a copy did. `switched` is the configuration that names the copy now, if one does."""

    source: str
    target: str
    rows: dict[str, int]
    changed_texts: int
    switched: Path | None
    seconds: float

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known beside the numbers, in sentences."""
        found = []
        if self.changed_texts:
            found.append(
                f"PostgreSQL cannot hold the character NUL: {self.changed_texts} texts have a"
                " replacement character in its place."
            )
        if self.switched is None:
            found.append(
                "Pushes go on with the catalogue that was copied, and the copy grows old. With"
                " --switch the configuration names the copy from now on."
            )
        return tuple(found)

    def to_json(self) -> Json:
        """The keys of docs/commands.md."""
        return {
            "source": self.source,
            "target": self.target,
            "tables": self.rows,
            "rows": sum(self.rows.values()),
            "switched": None if self.switched is None else str(self.switched),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def address_of(where: str | None, config: Path | None) -> CatalogueAddress:
    """The catalogue at an address, relative to the current directory, or of the configuration."""
    if where is None:
        return configuration.chosen(config).catalogue_address
    found = parse_address(where, Path.cwd())
    return found.parent.resolve() / found.name if isinstance(found, Path) else found


def info(where: str | None = None, config: Path | None = None) -> CatalogueAnswer:
    """Look at a catalogue, also at one of another version. Raises N2sError."""
    address = address_of(where, config)
    return CatalogueAnswer(str(address), describe(address))


def upgrade(
    where: str | None = None, config: Path | None = None, *, dry_run: bool = False
) -> UpgradeAnswer:
    """Make a catalogue one of this version, as `n2s_core.catalogue.upgrading` promises it."""
    return upgrade_at(address_of(where, config), dry_run=dry_run)


def upgrade_at(address: CatalogueAddress, *, dry_run: bool = False) -> UpgradeAnswer:
    """The same for an address."""
    from n2s_core.catalogue import upgrading  # noqa: PLC0415 - it loads SQLAlchemy and Alembic

    started_ns = now_ns()
    done = upgrading.upgrade(address, dry_run=dry_run)
    return UpgradeAnswer(
        address=str(address),
        was_version=done.was,
        version=done.was if dry_run else VERSION,
        steps=tuple(done.steps),
        dry_run=dry_run,
        seconds=(now_ns() - started_ns) / 1e9,
    )


def copy(
    source: str,
    target: str,
    config: Path | None = None,
    *,
    switch: bool = False,
    report: Report,
) -> CopyAnswer:
    """Copy a catalogue as `n2s_core.catalogue.copying` promises it.

    With `switch` the configuration, which must name the source, names the target afterwards, and
    the source is not usable any more.
    """
    from n2s_core.catalogue import copying  # noqa: PLC0415 - it loads SQLAlchemy

    started_ns = now_ns()
    addresses = address_of(source, None), address_of(target, None)
    found = _switched(configuration.chosen(config), *addresses) if switch else None
    done = copying.copy(*addresses, moving=switch, report=report)
    if found is not None:
        write_text(*found)
    return CopyAnswer(
        source=str(addresses[0]),
        target=str(addresses[1]),
        rows=done.rows,
        changed_texts=done.changed_texts,
        switched=None if found is None else found[0],
        seconds=(now_ns() - started_ns) / 1e9,
    )


def _switched(
    config: Config, source: CatalogueAddress, target: CatalogueAddress
) -> tuple[Path, str]:
    """The file of the configuration and its text with the target in the place of the source."""
    if not _is_same(config.catalogue_address, source):
        message = (
            f"The configuration {config.path} names the catalogue {config.catalogue_address}, and"
            f" --switch is for a copy of that one, not of {source}."
        )
        raise UsageError(message)
    return config.path, with_catalogue(config.path.read_text("utf-8"), str(target))


def _is_same(one: CatalogueAddress, other: CatalogueAddress) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return one.exists() and other.exists() and one.samefile(other)
    return one == other
