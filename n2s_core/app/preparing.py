"""`init`: a store gets its key, a dataset its configuration and catalogue."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from n2s_core import config as configuration
from n2s_core.app import secrets
from n2s_core.app.answers import Json
from n2s_core.app.config_text import to_toml
from n2s_core.app.costing import measured
from n2s_core.app.opening import OpenedStore, opened, spec_from
from n2s_core.app.rebuilding import rebuild_into, survey
from n2s_core.app.replacing import alone_in
from n2s_core.catalogue.catalogue import Catalogue
from n2s_core.catalogue.database import incarnation
from n2s_core.catalogue_address import (
    CatalogueAddress,
    PostgresqlAddress,
    files_of,
    parse_address,
)
from n2s_core.clock import now_ns
from n2s_core.config import KeyTable, StoreTable, absolute_url, shown_url, store_options
from n2s_core.credentials import PushCredential, read_credential
from n2s_core.errors import CatalogueError, UsageError
from n2s_core.flows.rebuild import Line
from n2s_core.keys import KdfCost, new_master_key, store_id, wrap
from n2s_core.layout import Shelf, object_name
from n2s_core.model import Progress, Report
from n2s_core.plugins import Host
from n2s_core.ports import Store
from n2s_core.remotes import PREFIX, RemoteSet
from n2s_core.stores import create_store, start
from n2s_core.stores.spec import StoreSpec


@dataclass(frozen=True, slots=True)
class InitOrder:
    """What the user wants to prepare; None means the default.

    `store_options` are keys of `[store]` and hold from now on.
    """

    root: Path
    store_url: str
    dataset: str | None = None
    using: str = "find"
    options: Mapping[str, str] | None = None
    exclude: tuple[str, ...] = ()
    exclude_if_present: tuple[str, ...] = ()
    exclude_caches: bool = False
    one_file_system: bool = False
    catalogue: str | None = None
    share: bool = False
    pack_size: int | None = None
    store_options: Mapping[str, str] = field(default_factory=dict)
    push_credential: Path | None = None
    kdf_s: float | None = None
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `init` made. `joined`: the store existed; `adopted`: so did the dataset.

    `problems` name what of an adopted dataset is missing or damaged in the store.
    """

    config: Path
    dataset: str
    dataset_id: bytes
    store_id: bytes
    store_url: str
    joined: bool
    adopted: bool
    problems: tuple[str, ...] = ()

    @property
    def shown_store(self) -> str:
        """The store for people."""
        return shown_url(self.store_url)

    def to_json(self) -> Json:
        """The fields by name, ids in hexadecimal."""
        return {
            "config": str(self.config),
            "dataset": self.dataset,
            "dataset_id": self.dataset_id.hex(),
            "store": self.store_url,
            "store_id": self.store_id.hex(),
            "joined": self.joined,
            "adopted": self.adopted,
            "problems": list(self.problems),
        }


def init(order: InitOrder, report: Report) -> Prepared:
    """Prepare a dataset. Raises N2sError; a dataset that is prepared already is refused."""
    root = Path(os.path.abspath(order.root))
    if not root.is_dir():
        message = f"The root {root} is not a directory."
        raise UsageError(message)
    path = (order.config or root / configuration.FOLDER / configuration.NAME).absolute()
    if path.exists():
        message = f"{root} is prepared already; its configuration is {path}."
        raise UsageError(message)
    if order.catalogue:
        _refuse_catalogue(parse_address(order.catalogue, path.parent))
    Host().discoverer(order.using)
    url = absolute_url(order.store_url, Path.cwd())
    wished = spec_from(url, StoreTable(url, **store_options(order.store_options)))
    if order.push_credential is not None:
        credential = read_credential(order.push_credential)
        return _prepare_write_only(order, root, path, wished, credential)
    cost = measured(order.kdf_s or 0)
    secret = secrets.passphrase(KeyTable(), confirm=True)
    with start(wished) as spec:
        create_store(spec)
        store = opened(spec)
        try:
            return _prepare(
                order, root, path, store, url=url, secret=secret, cost=cost, report=report
            )
        finally:
            store.close()


def _prepare(
    order: InitOrder,
    root: Path,
    path: Path,
    store: OpenedStore,
    *,
    url: str,
    secret: str,
    cost: KdfCost,
    report: Report,
) -> Prepared:
    whole, damaged = secrets.key_objects(store)
    joined = bool(whole or damaged)
    if joined:
        master = secrets.unlock(whole, damaged, secret, where=f"the store {shown_url(url)}")
    else:
        _refuse_strange(store, url)
        master = new_master_key()
        data = wrap(master, secret, created_ns=now_ns(), label=os.uname().nodename, cost=cost)
        digest = blake3(data).digest()
        store.put(object_name(Shelf.KEYS, digest), [data], len(data))
        whole = [(digest, data)]
    lines = survey(store, master, report) if joined else []
    names = _names_known(order, path, store_id(master))
    name, known = _choose_name(order, root, lines, names)
    dataset_id = known.dataset_id if known is not None else os.urandom(16)
    _write_config(path, _tables(order, root, path, url=url, name=name, dataset_id=dataset_id))
    with _new_catalogue(path, store_id(master), url) as catalogue:
        for digest, data in whole:
            catalogue.remember_key(digest, data)
        if store.several is not None and not joined:
            catalogue.debts.note_form(store.several.form)
        problems = _add_dataset(
            catalogue, store, master, dataset_id, name, known=known, report=report
        )
    return Prepared(
        path, name, dataset_id, store_id(master), url, joined, known is not None, tuple(problems)
    )


def _new_catalogue(path: Path, identity: bytes, url: str) -> Catalogue:
    """The catalogue of the configuration at `path`, in the place of a file that was left over.

    On a server it may be there: machines share that of a store.
    """
    at = configuration.read(path).catalogue_address
    try:
        if isinstance(at, PostgresqlAddress) and incarnation(at) is not None:
            return Catalogue(at)
        for own in files_of(at):
            own.unlink(missing_ok=True)
        return Catalogue.create(at, store_id=identity, store_url=url)
    except CatalogueError:  # so that the dataset is not half prepared
        path.unlink()
        raise


def _names_known(order: InitOrder, path: Path, identity: bytes) -> set[str]:
    """What datasets are called that share the catalogue; that of another store is refused."""
    at = parse_address(order.catalogue or "", path.parent)
    if not isinstance(at, PostgresqlAddress) or incarnation(at) is None:
        return set()
    with Catalogue(at) as found:
        if found.store_id != identity:
            message = f"{at} is the catalogue of another store; name another schema (?schema=NAME)."
            raise UsageError(message)
        return {one.name for one in found.datasets()}


def _add_dataset(
    catalogue: Catalogue, store: Store, master: bytes, dataset_id: bytes, name: str,
    *, known: Line | None, report: Report,
) -> list[str]:  # fmt: skip
    """Have the dataset in the catalogue, with what the store has of it; what is missing of that."""
    if any(one.dataset_id == dataset_id for one in catalogue.datasets()):
        return []
    if known is None:
        catalogue.add_dataset(dataset_id, name)
        return []
    with alone_in(catalogue) as keep:

        def keep_leases(progress: Progress) -> None:
            keep()
            report(progress)

        return rebuild_into(catalogue, store, master, [known], keep_leases)


def _prepare_write_only(
    order: InitOrder, root: Path, path: Path, wished: StoreSpec, credential: PushCredential
) -> Prepared:
    """A dataset that is pushed with a credential: what the store holds cannot be looked at."""
    url = wished.url
    name = order.dataset or _name_of(root)
    dataset_id = os.urandom(16)
    tables = _tables(order, root, path, url=url, name=name, dataset_id=dataset_id)
    tables["key"] = {"push_credential": credential.text()}
    with start(wished) as spec, contextlib.closing(opened(spec)) as store:
        if not any(True for _ in store.list(Shelf.KEYS.value)):
            message = (
                f"The store {shown_url(url)} has no key object: it is another store than that of"
                " the push credential, or it lost its keys."
            )
            raise UsageError(message)
    _names_known(order, path, credential.store_id)
    _write_config(path, tables)
    with _new_catalogue(path, credential.store_id, url) as catalogue:
        catalogue.add_dataset(dataset_id, name)
    return Prepared(path, name, dataset_id, credential.store_id, url, joined=True, adopted=False)


def _refuse_catalogue(catalogue: CatalogueAddress) -> None:
    """A file must be a new one; a server must answer, and may have the catalogue of the store."""
    if isinstance(catalogue, PostgresqlAddress):
        incarnation(catalogue)
    elif catalogue.exists():
        message = f"There is a file at {catalogue} already; name another place for the catalogue."
        raise UsageError(message)


def _refuse_strange(store: Store, url: str) -> None:
    """A store that lost its keys must not get new ones: nothing in it could be read any more."""
    for _ in store.list(Shelf.CHANGESETS.value):
        message = (
            f"{shown_url(url)} holds changesets but no key object. Bring back its keys/ folder, or"
            " use another store; a new key could not open what is there."
        )
        raise UsageError(message)


def _choose_name(
    order: InitOrder, root: Path, lines: list[Line], names: set[str]
) -> tuple[str, Line | None]:
    """Name of the dataset, and the line of changesets in the store that it continues.

    A name that was given continues the line of that name. The default name continues one only
    when it is of this same root on this same host; otherwise the name gets a number.
    """
    if order.dataset is not None:
        same = [line for line in lines if line.name == order.dataset]
        if len(same) > 1:
            message = (
                f"The store holds {len(same)} datasets called {order.dataset!r};"
                " choose another name."
            )
            raise UsageError(message)
        return order.dataset, same[0] if same else None
    host, here = os.uname().nodename, os.fsencode(root)
    for line in lines:
        tip = line.tip
        if tip is not None and tip.host == host and tip.root == here:
            return line.name, line
    base = _name_of(root)
    taken = names | {line.name for line in lines}
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name, None


def _name_of(root: Path) -> str:
    """What a dataset is called when nobody says so."""
    return os.fsencode(root.name).decode("utf-8", "replace") or "root"


def _tables(
    order: InitOrder, root: Path, path: Path, *, url: str, name: str, dataset_id: bytes
) -> dict[str, dict[str, object]]:
    """The configuration: what is not the default."""
    dataset: dict[str, object] = {"id": dataset_id.hex(), "name": name, "using": order.using}
    if path != root / configuration.FOLDER / configuration.NAME:
        dataset["root"] = os.fspath(root)
    if order.exclude:
        dataset["exclude"] = list(order.exclude)
    if order.exclude_if_present:
        dataset["exclude_if_present"] = list(order.exclude_if_present)
    if order.exclude_caches:
        dataset["exclude_caches"] = True
    if order.one_file_system:
        dataset["one_file_system"] = True
    if order.options:
        dataset["options"] = dict(order.options)
    store = _store_table(url) | store_options(order.store_options)
    if order.share:
        store["share"] = True
    if order.pack_size is not None:
        store["pack_size"] = order.pack_size
    tables: dict[str, dict[str, object]] = {"dataset": dataset, "store": store}
    if order.catalogue:
        tables["catalogue"] = {"url": order.catalogue}
    return tables


def _store_table(url: str) -> dict[str, object]:
    """The keys that say which store it is."""
    return RemoteSet.from_url(url).to_table() if url.startswith(PREFIX) else {"url": url}


def _write_config(path: Path, tables: dict[str, dict[str, object]]) -> None:
    try:
        text = to_toml(tables).encode()
    except UnicodeEncodeError as error:
        message = (
            "A configuration is UTF-8 text and cannot name a path that is not. Prepare the dataset"
            " without --config, so that its root need not be named, and with a store in UTF-8."
        )
        raise UsageError(message) from error
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
