"""Two machines, as far as one can be two: network namespaces, and the tree mounted elsewhere."""

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import PASSPHRASE, Dataset, MakeDataset, environment, missing
from tests.workers.cluster import PROGRAM, START_S, cluster, until, use
from tests.workers.test_dask_push import assert_well, fill

HERE, THERE = "10.213.7.1", "10.213.7.2"


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"This test needs network namespaces: ip {' '.join(words)}: {done.stderr}")


@pytest.fixture
def machines(as_root: None) -> Iterator[tuple[str, str]]:
    """Names of two network namespaces with one cable between them."""
    here, there = (f"n2s-{os.getpid()}-{name}" for name in ("here", "there"))
    made: list[str] = []
    try:
        for name in (here, there):
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", "n2s-0", "netns", here, "type", "veth", "peer", "n2s-1", "netns", there)
        for name, link, address in ((here, "n2s-0", HERE), (there, "n2s-1", THERE)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield here, there
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=True)


def on(machine: str) -> list[str]:
    return ["ip", "netns", "exec", machine]


def with_tree_at(machine: str, tree: Path, place: Path) -> list[str]:
    """On that machine the tree is mounted at `place`, and nowhere else is it to be seen."""
    script = (
        f"mount --bind {shlex.quote(str(tree))} {shlex.quote(str(place))} &&"
        f' mount -t tmpfs none {shlex.quote(str(tree))} && exec "$@"'
    )
    return [*on(machine), "unshare", "--mount", "--", "sh", "-c", script, "sh"]


def test_workers_on_another_machine_with_the_tree_at_another_path(
    machines: tuple[str, str], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    """One is killed, one stands still, a third does the rest; the push is a program too."""
    here, there = machines
    dataset = make_dataset(pack_size=100_000)
    fill(dataset.root, folders=8)
    for number in range(9000):
        (dataset.root / "1-new\nline" / f"small-{number}").write_bytes(b"%d" % number)
    place = tmp_path / "mounted elsewhere"
    place.mkdir()
    mounted = with_tree_at(there, dataset.root, place)
    with cluster(tmp_path / "cluster", host=HERE, prefix=on(here)) as made:
        use(dataset, made, patience="2s")
        words = ("--root", str(place), "--processes", "1")
        killed, stopped = (made.worker(dataset.config, *words, prefix=mounted) for _ in range(2))
        push = start_push(here, dataset)
        until(lambda: bool(dataset.objects("data")), "the first objects")
        stopped.give_all(signal.SIGSTOP)
        killed.give_all(signal.SIGKILL)
        made.worker(dataset.config, *words, prefix=mounted)
        out, err = push.communicate(timeout=START_S)
        stopped.give_all(signal.SIGCONT)
        assert (push.returncode, out.count("written")) == (0, 1), (out, err)
        made.workers[-1].wait_for("accepted")
        assert stopped.end() == 0
    assert_well(dataset)


def start_push(machine: str, dataset: Dataset) -> "subprocess.Popen[str]":
    command = [*on(machine), *PROGRAM, "--config", str(dataset.config), "push"]
    return subprocess.Popen(
        command,
        env=environment(N2S_PASSPHRASE=PASSPHRASE),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_filesystem_that_the_worker_does_not_mount_is_not_taken_for_empty(
    machines: tuple[str, str], dataset: Dataset, tmp_path: Path, tmpfs: Callable[[str], Path]
) -> None:
    """What lies in it is sealed by the machine that sees it."""
    here, there = machines
    fill(dataset.root, folders=6)
    inner = dataset.root / "inner"
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(inner)], check=True)
    try:
        for number in range(60):
            (inner / f"file-{number}").write_bytes(b"%d" % number)
        place = tmp_path / "elsewhere"
        place.mkdir()
        with cluster(tmp_path / "cluster", host=HERE, prefix=on(here)) as made:
            use(dataset, made, patience="10s")
            made.worker(
                dataset.config, "--root", str(place),
                prefix=with_tree_at(there, dataset.root, place),
            )  # fmt: skip
            push = start_push(here, dataset)
            out, err = push.communicate(timeout=START_S)
            assert push.returncode == 0, (out, err)
            (inner / "file-0").write_bytes(b"changed")
            (inner / "file-1").unlink()
            push = start_push(here, dataset)
            out, err = push.communicate(timeout=START_S)
            assert push.returncode == 0, (out, err)
        dataset.assert_restores()
    finally:
        subprocess.run(["umount", str(inner)], check=True)
