"""Promise: while `n2s watch` runs, what changes is stored by itself; nothing is left out."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from n2s_core.catalogue.catalogue import Catalogue
from tests.cli.program import fill
from tests.conftest import missing
from tests.edits import Editor
from tests.plugins.watch.watched import PATIENCE_S, QUICK, Watching, until

NEVER = "1h"


def test_what_changes_is_stored_by_itself(watching: Watching) -> None:
    fill(watching.root)
    watching.start()
    first = watching.caught_up()
    assert (first["complete"], first["fallback"]) == (True, None)
    (watching.root / "new/deep").mkdir(parents=True)
    (watching.root / "new/deep/f").write_text("1")
    (watching.root / "docs").rename(watching.root / "papers")
    (watching.root / "a.txt").unlink()
    watching.until_stored("new/deep/f")
    watching.push()
    watching.assert_restores()
    assert {one["fallback"] for one in watching.pushes[1:]} == {None}
    assert not any(one["complete"] for one in watching.pushes[1:])
    watching.send(signal.SIGTERM)
    assert watching.ended() == 0


def test_without_a_change_nothing_is_pushed(watching: Watching) -> None:
    """What is excluded counts as none."""
    watching.program.config.write_text(
        watching.program.config.read_text().replace(
            "[dataset]", '[dataset]\nexclude = ["*.log", "cache/"]'
        )
    )
    (watching.root / "cache").mkdir()
    (watching.root / "a.log").touch()
    watching.start("--once", delay=NEVER)
    watching.caught_up()
    watching.kill()
    watching.start()
    watching.caught_up()
    for number in range(20):
        (watching.root / "cache" / str(number)).touch()
        with (watching.root / "a.log").open("a") as log:
            log.write("line\n")
    (watching.root / "real").touch()
    watching.until_stored("real")
    watching.send(signal.SIGTERM)
    assert watching.ended() == 0
    assert sum(one["changeset_id"] is not None for one in watching.pushes[1:]) == 1


def test_killed_between_a_change_and_its_push_nothing_is_left_out(watching: Watching) -> None:
    (watching.root / "f").write_text("1")
    watching.start(delay=NEVER)
    watching.caught_up()
    (watching.root / "f").write_text("changed, not pushed")
    (watching.root / "g").write_text("new, not pushed")
    watching.kill()
    (watching.root / "h").write_text("new while nobody recorded")
    watching.start("--once")
    assert watching.ended() == 0
    assert watching.pushes[0]["complete"]
    assert "cut off" in watching.pushes[0]["fallback"]
    watching.assert_restores()


def test_a_file_that_is_written_slowly_is_stored_as_it_is_at_last(watching: Watching) -> None:
    watching.start("--longest-delay", "1s")
    watching.caught_up()
    with (watching.root / "slow").open("wb", 0) as file:
        file.write(b"begun\n")
        watching.until_stored("slow")
        for number in range(50):
            before = len(watching.pushes)
            file.write(b"%d\n" % number)
            if number % 25 == 0:
                until(lambda before=before: len(watching.pushes) > before, "a push meanwhile")  # type: ignore[misc]
    size = (watching.root / "slow").stat().st_size

    def is_stored() -> bool:
        found = {one["path"]: one["size"] for one in watching.program.json("list")}
        return bool(found["slow"] == size)

    until(is_stored, "the last line is stored")
    watching.assert_restores()


def test_a_second_watch_is_refused(watching: Watching) -> None:
    watching.start(delay=NEVER)
    refused = watching.program.run("watch", code=2)
    assert "being recorded already" in refused.err
    watching.send(signal.SIGINT)
    assert watching.ended() == 0


def test_a_push_by_hand_reads_the_same_journal(watching: Watching) -> None:
    fill(watching.root)
    watching.start(delay=NEVER)
    watching.caught_up()
    (watching.root / "a.txt").write_text("by hand")
    found = watching.push()
    assert (found["complete"], found["fallback"]) == (False, None)
    assert found["written"] == 2  # both of its names
    watching.kill()
    assert "'n2s watch'" in watching.push()["fallback"]


def test_a_store_that_is_away_is_tried_again_until_it_is_back(watching: Watching) -> None:
    (watching.root / "f").write_text("1")
    watching.start()
    watching.caught_up()
    away = watching.base / "away"
    watching.store.rename(away)
    watching.store.write_text("no folder")
    (watching.root / "f").write_text("while it was away")
    (watching.root / "later").write_text("2")
    until(lambda: watching.said("tried again"), "a retry")
    watching.store.unlink()
    away.rename(watching.store)
    watching.until_stored("later")
    watching.assert_restores()
    assert {one["fallback"] for one in watching.pushes[1:]} == {None}


def test_a_lease_that_is_held_is_waited_for(watching: Watching) -> None:
    (watching.root / "f").write_text("1")
    watching.push()
    with Catalogue(watching.program.catalogue) as catalogue:
        lease = catalogue.leases.acquire(1)
        watching.start("--once")
        until(lambda: watching.said("Another push of this dataset is running"), "it waits")
        catalogue.leases.release(lease)
    assert watching.ended() == 0


def test_a_catalogue_that_was_moved_ends_it_and_the_next_one_goes_on(watching: Watching) -> None:
    (watching.root / "f").write_text("1")
    watching.start()
    watching.caught_up()
    program = watching.program
    words = ("catalogue", "copy", program.catalogue, watching.base / "new.db", "--switch")
    program.run(*words)
    (watching.root / "f").write_text("after it was moved")
    assert watching.ended() == 2
    assert watching.said("was moved to")
    watching.start("--once")
    assert watching.ended() == 0
    watching.assert_restores()


def test_a_stop_breaks_off_a_push_that_does_not_end(watching: Watching) -> None:
    with (watching.root / "endless").open("wb") as file:
        file.truncate(1 << 42)
    watching.start()
    until((watching.store / "data").is_dir, "the push has begun")
    watching.send(signal.SIGTERM)
    assert watching.ended() == 0
    (watching.root / "endless").unlink()
    (watching.root / "f").write_text("1")
    watching.push()
    watching.assert_restores()


def test_a_stop_lets_a_short_push_finish(watching: Watching) -> None:
    (watching.root / "f").write_text("1")
    watching.start()
    watching.send(signal.SIGTERM)
    assert watching.ended() == 0
    if watching.pushes:  # it had begun
        watching.assert_restores()
    watching.start("--once")
    assert watching.ended() == 0
    watching.assert_restores()


def test_a_rescan_walks_and_says_so(watching: Watching) -> None:
    (watching.root / "f").write_text("1")
    watching.start("--rescan", "1s", delay=NEVER)
    until(lambda: len(watching.pushes) > 1, "a rescan")
    assert watching.pushes[1]["complete"]
    assert "--rescan" in watching.pushes[1]["fallback"]


def test_systemd_hears_when_it_records_and_when_it_stops(watching: Watching) -> None:
    address = watching.base / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(address))
        heard.settimeout(PATIENCE_S)
        watching.start(NOTIFY_SOCKET=str(address))
        assert heard.recv(4096).startswith(b"READY=1")
        watching.caught_up()
        assert heard.recv(4096).startswith(b"STATUS=")
        watching.send(signal.SIGTERM)
        assert watching.ended() == 0
        while heard.recv(4096) != b"STOPPING=1":
            pass


def test_too_few_watches_of_the_kernel_are_said_and_the_tree_is_pushed(watching: Watching) -> None:
    """The limit is that of a user namespace of its own, so that nobody else meets it."""
    if shutil.which("unshare") is None:
        missing("This test needs unshare of util-linux.")
    for number in range(30):
        (watching.root / f"{number}").mkdir()
        (watching.root / f"{number}/f").touch()
    script = 'echo 10 > /proc/sys/user/max_inotify_watches && exec "$@"'
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    probe = subprocess.run([*limited, "true"], check=False, capture_output=True)
    if probe.returncode:
        missing(f"This test needs user namespaces, which are not allowed: {probe.stderr!r}")
    command = [*limited, sys.executable, "-c", QUICK, "watch", "--once", "--delay", "1s"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=watching.root,
        env=watching.program.environment(),
    )  # fmt: skip
    assert "31 directories to watch" in done.stderr
    assert "sysctl fs.inotify.max_user_watches=" in done.stderr
    watching.assert_restores()


@pytest.mark.parametrize("seed", range(int(os.environ.get("N2S_TEST_SEEDS", "1"))))
def test_after_a_storm_everything_is_stored_and_no_feed_missed_anything(
    watching: Watching, seed: int
) -> None:
    parts = [watching.root / name for name in ("one", "two", "three")]
    for part in parts:
        part.mkdir()
    Editor(parts[0], seed).edit(40)
    watching.start("--longest-delay", "2s")
    threads = [
        threading.Thread(target=Editor(parts[0], 10 * seed + 1).edit, args=(150,)),
        threading.Thread(target=Editor(parts[1], 10 * seed + 2).edit, args=(150,)),
        threading.Thread(target=nest, args=(parts[2], watching)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = watching.push()
    assert (done["complete"], done["fallback"], done["audit_misses"]) == (False, None, 0)
    watching.assert_restores()
    watching.send(signal.SIGTERM)
    assert watching.ended() == 0
    assert not watching.pushes[0]["fallback"]
    walks = [one["fallback"] for one in watching.pushes[1:] if one["fallback"]]
    assert walks == []
    assert watching.program.json("push", "--using", "find")["written"] == 0


def nest(root: Path, watching: Watching) -> None:
    """Trees that are made, renamed and removed at once, until there were three pushes."""
    number = 0
    while len(watching.pushes) < 3 or number < 300:
        number += 1
        time.sleep(0.002)  # more paths than a walk is worth would be a walk
        folder = root / f"{number % 17}/{number % 5}"
        with suppress(OSError):
            folder.mkdir(parents=True)
        (folder / f"f{number}").write_text(str(number))
        (root / f"{number % 17}").rename(root / f"moved-{number}")
        if number % 3:
            shutil.rmtree(root / f"moved-{number}")
