"""What many tests share: a dataset to push and pull, and what to do when a part is missing."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from n2s_core.app.preparing import InitOrder, Prepared, init
from n2s_core.app.pulling import pull, source_of
from n2s_core.app.pushing import PushOrder, push
from n2s_core.app.rebuilding import RebuildAnswer, rebuild
from n2s_core.app.verifying import ObjectsView
from n2s_core.app.workspace import Workspace
from n2s_core.catalogue_address import CatalogueAddress, parse_address
from n2s_core.facts import Changeset
from n2s_core.facts import Dataset as DatasetFacts
from n2s_core.flows.pull import PullWish
from n2s_core.flows.push import Outcome
from n2s_core.flows.restore import RestoreResult
from n2s_core.flows.verify import Findings, Verify, VerifyWish
from n2s_core.model import Progress
from tests import catalogues
from tests.cheap_keys import make_cheap
from tests.trees import describe, differences

if TYPE_CHECKING:
    from tests.servers.postgresql import Postgresql

PASSPHRASE = "a passphrase for tests"
REPOSITORY = Path(__file__).resolve().parents[1]
RECOVER = REPOSITORY / "contrib" / "recover.py"
KINDS = ("sqlite", "postgresql")
SHELVES = ("data", "meta", "changesets", "keys")
_KIND = os.environ.get("N2S_TEST_CATALOGUE", "")
_NUMBERS = count(1)
_KEYS: dict[Path, bytes] = {}


def quiet(_progress: Progress) -> None:
    """A report that nobody hears."""


def missing(sentence: str) -> NoReturn:
    """A part of the machine is missing: said by name; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


@pytest.fixture(autouse=True, scope="session")
def _cheap_keys() -> Iterator[None]:
    """Stores that tests prepare in this process are opened at little cost, by all who open them."""
    with pytest.MonkeyPatch.context() as patch:
        make_cheap(patch.setattr)
        yield


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's own n2s is seen, and everybody knows the passphrase."""
    for name in list(os.environ):
        if name.startswith("N2S_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("N2S_PASSPHRASE", PASSPHRASE)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is marked `on_both` runs with each kind of catalogue, unless one is chosen for all."""
    both = metafunc.definition.get_closest_marker("on_both") is not None
    if both and not _KIND and "catalogue_kind" in metafunc.fixturenames:
        metafunc.parametrize("catalogue_kind", KINDS, indirect=True)


@pytest.fixture
def catalogue_kind(request: pytest.FixtureRequest) -> str:
    """Of the catalogues of a test: sqlite or postgresql."""
    found: str = getattr(request, "param", _KIND or KINDS[0])
    return found


@pytest.fixture
def on_sqlite(catalogue_kind: str) -> None:
    """For tests of what only SQLite does."""
    if catalogue_kind != KINDS[0]:
        pytest.skip("This test is about SQLite.")


@pytest.fixture(scope="session")
def postgresql() -> "Iterator[Postgresql]":
    """One server for each process of the tests, when one of them asks for it."""
    from tests.servers import postgresql as servers  # noqa: PLC0415 - psycopg

    with servers.postgresql() as server:
        yield server


@pytest.fixture
def catalogue_url(
    catalogue_kind: str, request: pytest.FixtureRequest
) -> "Callable[[], str | None]":
    """Gives what `init --catalogue` takes for a new catalogue; None for the usual file."""
    if catalogue_kind == KINDS[0]:
        return lambda: None
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.url


@pytest.fixture(scope="session")
def chosen_url(request: pytest.FixtureRequest) -> "Callable[[], str | None]":
    """The same for what many tests share: by what is chosen for all of them."""
    if _KIND in ("", KINDS[0]):
        return lambda: None
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.url


@pytest.fixture
def as_root() -> None:
    """For what only root may do."""
    if os.geteuid() != 0:
        missing("This test makes what only root can make; run it as root.")


@pytest.fixture
def tmpfs(tmp_path: Path, as_root: None) -> Iterator["Mount"]:
    """Mounts a small tmpfs: `tmpfs("size=4m")` is its folder."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"mount-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "n2s-test", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            missing(f"This test needs to mount a tmpfs, which is not allowed here: {done.stderr}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def environment(**extra: str) -> dict[str, str]:
    """For programs that a test starts: they find this repository."""
    folders = [str(REPOSITORY), str(REPOSITORY / "plugins")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders), **extra}


@dataclass(frozen=True)
class Dataset:
    """A tree with its store and its configuration, in folders of one test."""

    base: Path
    root: Path
    store: Path
    config: Path
    share: bool = False
    pack_size: int | None = None
    url: str | None = None

    def init(self) -> Prepared:
        """Prepare it (again: its configuration must be away)."""
        order = InitOrder(
            root=self.root,
            store_url=str(self.store),
            config=self.config,
            share=self.share,
            pack_size=self.pack_size,
            catalogue=self.url,
        )
        return init(order, quiet)

    @property
    def catalogue(self) -> Path:
        """For tests that are about the file itself."""
        if self.url is not None:
            pytest.skip("This test is about the file of SQLite.")
        return self.config.parent / "catalogue.db"

    @property
    def address(self) -> CatalogueAddress:
        return parse_address(self.url or "catalogue.db", self.config.parent)

    def space(self) -> Workspace:
        return Workspace.find(self.config)

    def push(
        self, *, paths: list[bytes] | None = None, name: str = "", full: bool = False
    ) -> Outcome:
        with self.space() as space:
            order = PushOrder(changeset_name=name, paths=paths, full=full)
            return push(space, order, quiet)[0]

    def try_pull(
        self,
        changeset: str = "latest",
        *,
        paths: tuple[bytes, ...] = (),
        force: bool = False,
        delete: bool = False,
        target: Path | None = None,
    ) -> tuple[Path, RestoreResult]:
        target = target or self.new_folder("pull")
        wish = PullWish(os.fsencode(target), paths=paths, force=force, delete=delete)
        with self.space() as space:
            found = space.catalogue.queries.changeset(space.dataset, changeset)
            return target, pull(source_of(space, found), wish, quiet)[0]

    def pull(self, changeset: str = "latest", **how: object) -> Path:
        """Restore into a new folder; anything that is not whole is a failure of the test."""
        target, result = self.try_pull(changeset, **how)  # type: ignore[arg-type]
        assert not result.failures, result.failures[:5]
        assert not result.damaged
        return target

    def try_recover(self, *options: str) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
        target = self.new_folder("recover")
        command = [sys.executable, str(RECOVER), str(self.store), str(target), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return target, done

    def recover_py(self, *options: str) -> Path:
        """What contrib/recover.py gives back, which knows the format page alone."""
        target, done = self.try_recover(*options)
        assert done.returncode == 0, done.stderr
        return target

    def master_key(self) -> bytes:
        """Derived once for each configuration, because that is slow on purpose."""
        found = _KEYS.get(self.config)
        if found is None:
            with self.space() as space:
                found = _KEYS[self.config] = space.master_key()
        return found

    def rebuild(self) -> RebuildAnswer:
        with self.space() as space:
            return rebuild(space, quiet)

    def forget_catalogue(self) -> None:
        catalogues.remove(self.address)

    def rebuild_from_store(self) -> None:
        """A catalogue from the store alone, without any problem."""
        self.forget_catalogue()
        assert self.rebuild().problems == ()

    def verify(self) -> Findings:
        """Read every object."""
        with self.space() as space:
            view, wish = ObjectsView(space.catalogue), VerifyWish(percent=100)
            return Verify(view, space.store, self.master_key(), wish, quiet).run()

    def facts(self) -> DatasetFacts:
        with self.space() as space:
            return space.dataset

    def changesets(self) -> list[Changeset]:
        """Newest first."""
        with self.space() as space:
            return space.catalogue.queries.changesets(space.dataset.dataset_no)

    def objects(self, shelf: str = "") -> dict[str, Path]:
        """Names and files of what lies in the store."""
        folder = self.store / shelf if shelf else self.store
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.store)): path for path in files}

    def new_folder(self, what: str) -> Path:
        folder = self.base / f"{what}-{next(_NUMBERS)}"
        folder.mkdir(mode=0o700)
        return folder

    def assert_restores(self, *others: Path) -> None:
        """A pull of the latest changeset, and each of `others`, is the tree as it is now."""
        wanted = describe(self.root)
        for restored in others or (self.pull(),):
            assert differences(wanted, describe(restored)) == []


def round_trip(dataset: Dataset) -> None:
    """Push, and restore in every way that there is; a second push has nothing to do."""
    outcome = dataset.push()
    assert outcome.failures == []
    assert outcome.changeset_id is not None
    dataset.assert_restores(
        dataset.pull(), dataset.recover_py(), dataset.recover_py("--records-alone")
    )
    dataset.rebuild_from_store()
    dataset.assert_restores()
    again = dataset.push()
    assert (again.changeset_id, again.objects_stored, again.failures) == (None, 0, [])


MakeDataset = Callable[..., Dataset]
Mount = Callable[[str], Path]


@pytest.fixture
def make_dataset(tmp_path: Path, catalogue_url: Callable[[], str | None]) -> MakeDataset:
    """Makes prepared datasets with an empty root."""

    def make(
        name: str = "dataset",
        *,
        share: bool = False,
        pack_size: int | None = None,
        store: Path | None = None,
        prepare: bool = True,
    ) -> Dataset:
        base = tmp_path / name
        (base / "root").mkdir(parents=True)
        made = Dataset(
            base=base,
            root=base / "root",
            store=store or base / "store",
            config=base / "config" / "config.toml",
            share=share,
            pack_size=pack_size,
            url=catalogue_url(),
        )
        if prepare:
            made.init()
        return made

    return make


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> Dataset:
    return make_dataset()
