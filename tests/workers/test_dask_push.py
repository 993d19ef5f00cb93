"""Workers on other machines: what they seal is what this machine would have sealed."""

import os
import random
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from n2s_core.app import dask_probe
from n2s_core.app.examining import Probe, Verdict, examine
from n2s_core.errors import WorkersError
from n2s_core.flows.push import Outcome
from n2s_core.version import __version__
from tests.conftest import Dataset, MakeDataset
from tests.stored import confirmed, records
from tests.workers.cluster import OTHER_VERSION, Cluster, WorkerProcess, until, use

ODD_NAMES = (b"odd \xff\xfe", b"new\nline", b"-dash", b"\xc3\xa9", b"a" * 255, b"\x01\x7f")


def fill(root: Path, folders: int = 8, files: int = 30) -> None:
    """Several batches, with all that is odd in trees, and links between the batches."""
    chance = random.Random(5)
    base = os.fsencode(root)
    for folder in range(folders):
        name = ODD_NAMES[folder % len(ODD_NAMES)]
        at = base + b"/%d-" % folder + name[:200]
        os.mkdir(at)
        for number in range(files):
            with open(at + b"/%d-" % number + name[:200], "wb") as file:
                file.write(chance.randbytes(chance.randrange(4000)))
        os.link(at + b"/0-" + name[:200], base + b"/link-%d" % folder)
        os.symlink(name, at + b"/symlink")
        os.mkfifo(at + b"/fifo")
    os.setxattr(base + b"/link-0", "user.note", b"\0kept")
    with open(base + b"/sparse", "wb") as file:
        file.truncate(1 << 20)
        file.seek(500_000)
        file.write(b"x")


@pytest.fixture
def filled(dataset: Dataset) -> Dataset:
    fill(dataset.root)
    return dataset


def assert_well(dataset: Dataset) -> None:
    """Everything that the catalogue says is in the store, is whole, and gives the tree back."""
    findings = dataset.verify()
    assert (findings.missing, findings.damaged) == ({}, {})
    dataset.assert_restores()
    assert dataset.push().changeset_id is None
    with dataset.space() as space:
        assert space.catalogue.pushes.pending(space.dataset.dataset_no) is None
        rows = space.catalogue.db.all(
            "SELECT path FROM files WHERE valid_to = ? GROUP BY path HAVING count(*) > 1",
            ((1 << 63) - 1,),
        )
    assert rows == []


class Pushing:
    """A push in another thread."""

    def __init__(self, dataset: Dataset) -> None:
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(dataset,))
        self._thread.start()

    def _run(self, dataset: Dataset) -> None:
        try:
            self.outcome = dataset.push()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def end(self) -> Outcome:
        self._thread.join()
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome


def some_objects(dataset: Dataset, count: int = 3) -> Callable[[], bool]:
    return lambda: len(dataset.objects("data")) >= count


def test_workers_seal_what_this_machine_would_have_sealed(filled: Dataset, made: Cluster) -> None:
    use(filled, made)
    first, second = (made.worker(filled.config, "--processes", "1") for _ in range(2))
    outcome = filled.push()
    assert (outcome.failures, outcome.notes) == ([], ())
    assert first.said("accepted")
    assert second.said("accepted")
    assert_well(filled)
    filled.rebuild_from_store()
    filled.assert_restores()
    assert first.end() == second.end() == 0
    assert first.errors() == second.errors() == ""


def test_a_killed_and_a_stopped_worker_lose_nothing_and_store_nothing_twice(
    make_dataset: MakeDataset, made: Cluster
) -> None:
    dataset = make_dataset(pack_size=20_000)
    fill(dataset.root, folders=40)
    use(dataset, made, patience="2s")
    killed, stopped = (made.worker(dataset.config, "--processes", "1") for _ in range(2))
    push = Pushing(dataset)
    until(some_objects(dataset), "the first objects")
    stopped.give_all(signal.SIGSTOP)
    killed.give(signal.SIGKILL)
    made.worker(dataset.config, "--processes", "1")
    outcome = push.end()
    stopped.give_all(signal.SIGCONT)
    assert outcome.failures == []
    before = known(dataset)
    stopped.end()
    assert known(dataset) == before
    assert_well(dataset)
    files = [path for path in dataset.root.rglob("*") if path.is_file() and path.stat().st_size]
    with sqlite3.connect(dataset.catalogue) as db:
        blobs = db.execute(
            "SELECT count(*) FROM files WHERE content IS NULL AND type = 1 AND size > 0"
        ).fetchone()
    db.close()
    assert blobs[0] == len({path.stat().st_ino for path in files})


def known(dataset: Dataset) -> set[str]:
    """Names of the objects that the catalogue has; each of them is in the store."""
    with sqlite3.connect(dataset.catalogue) as db:
        found = {row[0].hex() for row in db.execute("SELECT digest FROM objects")}
    db.close()
    stored = {path.name for path in dataset.objects().values()}
    assert found <= stored
    return found


def test_a_process_that_seals_may_be_killed(filled: Dataset, made: Cluster) -> None:
    use(filled, made)
    worker = made.worker(filled.config, "--processes", "1")
    push = Pushing(filled)
    until(some_objects(filled, 2), "the first objects")
    os.kill(worker.sealing()[0], signal.SIGKILL)
    outcome = push.end()
    (note,) = outcome.notes
    assert "A worker process died" in note
    assert worker.said("warning")
    assert outcome.failures == []
    assert_well(filled)


def test_a_process_that_seals_may_stand_still(filled: Dataset, made: Cluster) -> None:
    use(filled, made, patience="2s")
    made.worker(
        filled.config,
        "--processes", "1",
        N2S_CRASH_AT="object-confirmed:2", N2S_CRASH_WITH="SIGSTOP",
    )  # fmt: skip
    made.worker(filled.config, "--processes", "1")
    outcome = filled.push()
    (note,) = outcome.notes
    assert "has said nothing for 2s" in note
    assert outcome.failures == []
    assert_well(filled)


def test_what_a_worker_cannot_read_is_named_and_stored_when_one_can(
    filled: Dataset, made: Cluster, as_root: None
) -> None:
    locked = filled.root / "locked"
    locked.write_bytes(b"not for everybody")
    locked.chmod(0)
    use(filled, made)
    few = "-dac_override,-dac_read_search"
    mortal = made.worker(
        filled.config,
        "--processes", "1",
        prefix=["setpriv", "--bounding-set", few, "--inh-caps", few],
    )  # fmt: skip
    (failure,) = filled.push().failures
    assert failure.path == b"locked"
    assert "it cannot be read: Permission denied" in failure.error
    assert mortal.end() == 0
    made.worker(filled.config, "--processes", "1")
    (filled.root / "more").mkdir()
    fill(filled.root / "more")
    assert filled.push().failures == []
    assert_well(filled)


def refused(worker: WorkerProcess) -> str:
    return worker.wait_for("refused")


def test_a_worker_of_another_version_is_refused_on_both_sides(
    filled: Dataset, made: Cluster
) -> None:
    use(filled, made)
    other = made.worker(filled.config, "--name", "gamma", program=OTHER_VERSION)
    made.worker(filled.config, "--name", "beta", "--processes", "2")
    found = workers_probe(filled)
    here = f"on {os.uname().nodename} (n2s"
    assert found.verdict is Verdict.WARN
    assert f"Workers: beta {here} {__version__}, 2 process(es)" in found.text
    assert f"Of another version, which a push refuses: gamma {here} 99.0" in found.text
    (note,) = filled.push().notes
    for said in (note, refused(other)):
        assert "n2s 99.0 is installed on" in said
        assert "install the same version" in said
    assert_well(filled)


def workers_probe(dataset: Dataset) -> Probe:
    (found,) = (one for one in examine(None, dataset.config).probes if one.name == "workers")
    return found


def test_a_worker_that_sees_another_tree_is_refused_before_it_reads(
    filled: Dataset, made: Cluster, tmp_path: Path
) -> None:
    """Also a copy of the tree is another one: its inode numbers are not those of the catalogue."""
    subprocess.run(["cp", "-a", filled.root, tmp_path / "copy"], check=True)
    (tmp_path / "empty").mkdir()
    use(filled, made)
    words = ("--processes", "1", "--root")
    wrong = [made.worker(filled.config, *words, str(tmp_path / one)) for one in ("copy", "empty")]
    made.worker(filled.config, "--processes", "1")
    outcome = filled.push()
    assert (outcome.removed, outcome.failures, len(outcome.notes)) == (0, [], 2)
    for note in outcome.notes:
        assert "it sees another tree below its root" in note
    for one in wrong:
        assert "Refused a batch" in refused(one)
    assert_well(filled)


def test_a_worker_of_another_store_is_refused(
    filled: Dataset, made: Cluster, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    """Another store has another key; a copy of the store has the same one, and is another place."""
    use(filled, made)
    subprocess.run(["cp", "-a", filled.store, tmp_path / "copied"], check=True)
    stores = [make_dataset("other").store, tmp_path / "copied"]
    for number, store in enumerate(stores):
        config = tmp_path / f"config-{number}" / "config.toml"
        config.parent.mkdir()
        config.write_text(filled.config.read_text().replace(str(filled.store), str(store)))
        made.worker(config, "--processes", "1")
    made.worker(filled.config, "--processes", "1")
    first, second = sorted(filled.push().notes, key=lambda note: "is not in file:" in note)
    assert f"the store file:{stores[0]}, as " in first
    assert f"is not in file:{filled.store}." in second
    assert_well(filled)


def test_a_push_without_workers_says_so_and_can_go_on_alone(filled: Dataset, made: Cluster) -> None:
    use(filled, made, patience="1s")
    with pytest.raises(WorkersError, match=r"No worker of this dataset .* for 1s\. Start"):
        filled.push()
    use(filled, made, patience="1s", fallback=True)
    outcome = filled.push()
    (note,) = outcome.notes
    assert "This machine sealed by itself" in note
    assert_well(filled)


@pytest.mark.parametrize("fallback", [False, True])
def test_a_push_whose_scheduler_dies_is_finished_by_the_next(
    filled: Dataset, mortal: Cluster, fallback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = mortal
    (filled.root / "more").mkdir()
    fill(filled.root / "more", folders=30)
    use(filled, made, patience="2s", fallback=fallback)
    worker = made.worker(filled.config, "--processes", "1")
    push = Pushing(filled)
    until(some_objects(filled), "the first objects")
    made.stop()
    if fallback:
        assert "This machine sealed by itself" in " ".join(push.end().notes)
    else:
        with pytest.raises(WorkersError, match=r"The scheduler tcp://.* cannot be used"):
            push.end()
    worker.wait_for("lost")
    monkeypatch.setattr(dask_probe, "REACH_S", 0.5)
    assert workers_probe(filled).verdict is Verdict.FAIL
    kept, before = confirmed(filled), records(filled)
    made.start()
    until(lambda: len(worker.said("ready")) > 1, "the worker's return")
    assert filled.push().failures == []
    after = records(filled)
    assert {one for one in kept if after[one] != before[one]} == set()
    assert_well(filled)


def test_pieces_of_a_huge_file_are_not_stored_twice_when_its_worker_dies(
    make_dataset: MakeDataset, made: Cluster
) -> None:
    dataset = make_dataset(pack_size=4 << 20)
    (dataset.root / "huge").write_bytes(random.Random(3).randbytes(80 << 20))
    use(dataset, made)
    first = made.worker(
        dataset.config,
        "--processes", "1",
        N2S_CRASH_AT="object-confirmed:5", N2S_CRASH_WITH="SIGSTOP",
    )  # fmt: skip
    push = Pushing(dataset)

    def is_recorded() -> bool:
        with sqlite3.connect(dataset.catalogue) as db:
            found = db.execute("SELECT count(*) FROM loose_segments").fetchone()[0]
        db.close()
        return bool(found)

    until(is_recorded, "that its first pieces are recorded")
    kept = confirmed(dataset)
    first.give_all(signal.SIGKILL)
    made.worker(dataset.config, "--processes", "1")
    assert push.end().failures == []
    after = records(dataset)
    assert kept
    assert {one for one in kept if after[one] != 1} == set()
    assert_well(dataset)


def test_of_two_workers_with_one_name_the_second_is_told(filled: Dataset, made: Cluster) -> None:
    made.worker(filled.config, "--name", "beta", "--processes", "1")
    second = made.worker(filled.config, "--name", "beta", "--processes", "1", wait=False)
    assert second.process.wait() == 2
    assert "does not take this worker" in second.output.read_text()
    assert "name taken" in second.output.read_text()
