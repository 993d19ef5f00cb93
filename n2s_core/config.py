"""The configuration of a dataset: one TOML file, judged when it is read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from n2s_core.catalogue_address import CatalogueAddress, parse_address
from n2s_core.clock import SECOND_NS, parse_age
from n2s_core.errors import ConfigError, UsageError
from n2s_core.prices import PriceTable
from n2s_core.remotes import KEYS as KEYS_OF_SETS
from n2s_core.remotes import PREFIX, RemoteSet, names_in
from n2s_core.sizes import parse_size
from n2s_core.workers import WorkersTable

FOLDER = ".n2s"
NAME = "config.toml"
PACK_SIZE = 16 << 20
NEVER = "never"
FLAGS = "flags"


@dataclass(frozen=True, slots=True)
class DatasetTable:
    """`[dataset]`: what is kept. `root` is relative to the folder that holds `.n2s`."""

    id: str
    name: str
    root: str = "."
    using: str = "find"
    options: Mapping[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    exclude_if_present: tuple[str, ...] = ()
    exclude_caches: bool = False
    one_file_system: bool = False


@dataclass(frozen=True, slots=True)
class StoreTable:
    """`[store]`: where it goes. Sizes in bytes; `compression` is the zstd level, 0 for none.

    `transfers` objects of one worker are under way at a time. `bwlimit`, `storage_class` and
    `flags` are for rclone. Nobody waits longer than `timeout` for a remote that says nothing; what
    a remote had that stays away longer than `rebuild_after` is made anew on others by a repair.
    The keys of `n2s_core.remotes.RemoteSet` may stand in the place of `url`, which then is theirs.
    """

    url: str
    pack_size: int = PACK_SIZE
    share: bool = False
    compression: int = 1
    transfers: int = 2
    timeout: str = "2m"
    rebuild_after: str = "7d"
    bwlimit: str = ""
    storage_class: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)

    @property
    def timeout_s(self) -> float:
        """`timeout` in seconds. Raises ConfigError."""
        found = _age_ns("timeout", self.timeout) / SECOND_NS
        if not found:
            message = "[store] timeout must be at least 1s."
            raise ConfigError(message)
        return found

    @property
    def rebuild_after_ns(self) -> int | None:
        """`rebuild_after` in nanoseconds, None for never. Raises ConfigError."""
        never = self.rebuild_after == NEVER
        return None if never else _age_ns("rebuild_after", self.rebuild_after)

    def problem(self) -> str:
        """What cannot be used, in words; empty when all can."""
        if self.pack_size < 0 or not -7 <= self.compression <= 19:  # noqa: PLR2004 - zstd's levels
            return "pack_size must not be negative, compression is a level from -7 to 19."
        if self.transfers < 1:
            return "[store] transfers must be at least 1."
        try:
            _ = self.timeout_s, self.rebuild_after_ns
        except ConfigError as error:
            return str(error)
        return ""


def _age_ns(key: str, text: str) -> int:
    try:
        return parse_age(text)
    except UsageError as error:
        message = f"[store] {key}: {error}"
        raise ConfigError(message) from error


@dataclass(frozen=True, slots=True)
class CatalogueTable:
    """`[catalogue]`: a path relative to the folder of the config, or a URL of PostgreSQL."""

    url: str = "catalogue.db"


@dataclass(frozen=True, slots=True)
class KeyTable:
    """`[key]`: where the passphrase or the master key comes from; never the secret itself.

    `keyring` is the name of the entry of the service n2s. `push_credential` is the text of one,
    in the place of all the others: such a dataset is pushed and not read.
    """

    passphrase_command: str = ""
    passphrase_file: str = ""
    key_file: str = ""
    keyring: str = ""
    push_credential: str = ""


@dataclass(frozen=True, slots=True)
class RetentionTable:
    """`[retention]`: which changesets `n2s forget` keeps, and how long `n2s prune` waits.

    Numbers of changesets may be "unlimited"; durations are such as 14d or 1y6m.
    """

    keep_last: int | str = 0
    keep_hourly: int | str = 0
    keep_daily: int | str = 0
    keep_weekly: int | str = 0
    keep_monthly: int | str = 0
    keep_yearly: int | str = 0
    keep_within: str = ""
    keep_within_hourly: str = ""
    keep_within_daily: str = ""
    keep_within_weekly: str = ""
    keep_within_monthly: str = ""
    keep_within_yearly: str = ""
    keep_tag: tuple[str, ...] = ()
    grace: str = "24h"


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration, and the file that it came from."""

    path: Path
    dataset: DatasetTable
    store: StoreTable
    catalogue: CatalogueTable
    key: KeyTable
    workers: WorkersTable
    retention: RetentionTable = field(default_factory=RetentionTable)
    prices: PriceTable | None = None

    @property
    def root(self) -> Path:
        """Absolute path of the tree."""
        base = self.path.parent
        if base.name == FOLDER:
            base = base.parent
        return Path(os.path.normpath(base / self.dataset.root))

    @property
    def catalogue_address(self) -> CatalogueAddress:
        """Where the catalogue is. Raises ConfigError."""
        return parse_address(self.catalogue.url, self.path.parent)

    @property
    def store_url(self) -> str:
        """The URL with a relative folder made absolute, from where the configuration lies."""
        return absolute_url(self.store.url, self.path.parent)


OPTIONS = ("bwlimit", "storage_class", "timeout", "transfers", "rebuild_after")
_TABLES = {
    "dataset": DatasetTable,
    "store": StoreTable,
    "catalogue": CatalogueTable,
    "key": KeyTable,
    "workers": WorkersTable,
    "retention": RetentionTable,
}


def find(start: Path, environment: Mapping[str, str], wanted: Path | None = None) -> Path:
    """The file to use: `wanted`, $N2S_CONFIG, the nearest `.n2s` upwards, the user's, the host's.

    Raises ConfigError when there is none.
    """
    chosen = wanted or (Path(environment["N2S_CONFIG"]) if environment.get("N2S_CONFIG") else None)
    if chosen is not None:
        if chosen.is_dir():
            chosen = chosen / FOLDER / NAME if (chosen / FOLDER / NAME).exists() else chosen / NAME
        if not chosen.is_file():
            message = f"There is no configuration at {chosen}."
            raise ConfigError(message)
        return chosen.absolute()
    start = start.absolute()
    places = [folder / FOLDER / NAME for folder in (start, *start.parents)]
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(
        environment.get("HOME", "/"), ".config"
    )
    places += [Path(home) / "n2s" / NAME, Path("/etc/n2s") / NAME]
    for place in places:
        if place.is_file():
            return place
    message = (
        "There is no n2s configuration here or above. Prepare a directory with"
        " 'n2s init ROOT --store URL', or name one with --config or $N2S_CONFIG."
    )
    raise ConfigError(message)


def chosen(wanted: Path | None) -> Config:
    """The configuration that is meant here and now. Raises ConfigError."""
    return read(find(Path.cwd(), os.environ, wanted))


def read(path: Path) -> Config:
    """Read and judge a file. Raises ConfigError naming the file and the key."""
    import tomllib  # noqa: PLC0415 - the writer needs none

    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        message = f"The configuration {path} cannot be read: {error.strerror}."
        raise ConfigError(message) from error
    except (ValueError, RecursionError) as error:
        message = f"The configuration {path} is not TOML: {error}."
        raise ConfigError(message) from error
    prices = found.pop("prices", None)
    for name in found:
        if name not in _TABLES:
            message = f"{path}: there is no table [{name}]; there are {', '.join(_TABLES)}."
            raise ConfigError(message)
    if isinstance(found.get("store"), dict):
        found["store"] = _with_set_url(f"{path}: [store]", found["store"])
    tables = {name: _table(path, name, kind, found.get(name, {})) for name, kind in _TABLES.items()}
    config = Config(path=path, **tables)
    if prices is not None:
        judged = PriceTable.judged(prices, f"{path}: [prices]", names_in(config.store_url))
        config = replace(config, prices=judged)
    problem = config.store.problem() or config.workers.problem()
    if problem:
        message = f"{path}: {problem}"
        raise ConfigError(message)
    try:
        _ = config.catalogue_address
    except ConfigError as error:
        message = f"{path}: [catalogue] url: {error}"
        raise ConfigError(message) from error
    try:
        bytes.fromhex(config.dataset.id)
    except ValueError:
        message = f"{path}: [dataset] id is not the hexadecimal id that 'n2s init' wrote."
        raise ConfigError(message) from None
    return config


def _with_set_url(where: str, table: dict[str, Any]) -> dict[str, Any]:
    """The table with one URL in the place of the keys that describe several remotes."""
    mine = {key: value for key, value in table.items() if key in KEYS_OF_SETS}
    if not mine:
        return table
    if "url" in table:
        message = f"{where} has a url and {', '.join(mine)}; it is one store, or several remotes."
        raise ConfigError(message)
    rest = {key: value for key, value in table.items() if key not in KEYS_OF_SETS}
    return {**rest, "url": RemoteSet.judged(mine, where).to_url()}


def _read_set(text: str, base: Path) -> tuple[RemoteSet, Path]:
    """The set in a URL without its scheme, JSON or the path of a TOML file; whence paths count."""
    import tomllib  # noqa: PLC0415 - the writer needs none

    if text.startswith("{"):
        return RemoteSet.from_url(PREFIX + text), base
    path = base / os.path.expanduser(text)
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        message = f"The set of remotes {path} cannot be read: {error.strerror}."
        raise ConfigError(message) from error
    except (ValueError, RecursionError) as error:
        message = f"The set of remotes {path} is not TOML: {error}."
        raise ConfigError(message) from error
    inner = found.get("store", found)
    mine = {key: value for key, value in inner.items() if key in KEYS_OF_SETS or inner is found}
    return RemoteSet.judged(mine, str(path)), path.parent


def _table(path: Path, name: str, kind: type, found: object) -> Any:
    if not isinstance(found, dict):
        message = f"{path}: [{name}] must be a table."
        raise ConfigError(message)
    known = {one.name: one for one in fields(kind)}
    values = {}
    for key, value in found.items():
        if key not in known:
            message = f"{path}: [{name}] has no key {key!r}; it has {', '.join(known)}."
            raise ConfigError(message)
        values[key] = _value(f"{path}: [{name}] {key}", known[key].type, value)
    try:
        return kind(**values)
    except TypeError:
        missing = [one for one in ("id", "name", "url") if one in known and one not in values]
        message = f"{path}: [{name}] lacks {', '.join(missing)}."
        raise ConfigError(message) from None


def _value(where: str, kind: Any, value: object) -> object:
    if kind is int and isinstance(value, str):
        return parse_size(value, where=where)
    if kind == int | str:
        if type(value) not in (int, str):
            message = f"{where} must be a number or a string."
            raise ConfigError(message)
        return value
    if kind in (str, bool, int):
        if type(value) is not kind:
            message = f"{where} must be of type {kind.__name__}."
            raise ConfigError(message)
        return value
    if kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            message = f"{where} must be a list of strings."
            raise ConfigError(message)
        return tuple(value)
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        message = f"{where} must be a table of strings."
        raise ConfigError(message)
    return dict(value)


def store_options(given: Mapping[str, str]) -> dict[str, Any]:
    """Keys of `[store]` from words such as `timeout`, `flags.tpslimit`. Raises ConfigError."""
    kinds = {one.name: one.type for one in fields(StoreTable) if one.name in OPTIONS}
    found: dict[str, Any] = {}
    for word, text in given.items():
        key, dot, name = word.partition(".")
        if dot and key == FLAGS and name:
            found.setdefault(FLAGS, {})[name] = text
        elif not dot and key in kinds:
            found[key] = _value(f"the store option {key}", kinds[key], text)
        else:
            message = (
                f"There is no store option {word!r}; there are {', '.join(OPTIONS)} and"
                f" {FLAGS}.NAME, an option of rclone."
            )
            raise ConfigError(message)
    problem = StoreTable("", **found).problem()
    if problem:
        raise ConfigError(problem)
    return found


def absolute_url(url: str, base: Path) -> str:
    """A store URL that means the same from every directory; a relative one counts from `base`.

    `set:` and the path of a TOML file becomes the URL of the set that the file describes.
    """
    if url.startswith(PREFIX):
        found, base = _read_set(url.removeprefix(PREFIX), base)
        return found.with_urls(lambda one: absolute_url(one, base)).to_url()
    scheme, colon, rest = url.partition(":")
    if colon and scheme != "file":
        return url
    path = rest if colon else url
    if path.startswith("///"):
        path = path[2:]
    if path.startswith("~"):
        path = os.path.expanduser(path)
    return "file:" + os.path.normpath(base / path)


def shown_url(url: str) -> str:
    """A store URL for people: of several remotes their names."""
    return str(RemoteSet.from_url(url)) if url.startswith(PREFIX) else url


def folders_of(url: str) -> list[str]:
    """The folders of this machine that a store, whose URL is absolute, lies in."""
    one = [url]
    if url.startswith(PREFIX):
        one = [remote.url for remote in RemoteSet.from_url(url).remotes]
    return [os.path.normpath(at.removeprefix("file:")) for at in one if at.startswith("file:")]
