"""The command reconcile as users run it."""

from blake3 import blake3

from tests.cli.program import Program

KEYS = {
    "dry_run", "objects", "checked", "phantoms", "affected_count", "adopted", "adopted_bytes",
    "contents", "strangers", "unjudged", "quarantined", "quarantined_count", "deleted",
    "deleted_count", "unknown_changesets", "advice", "read", "bytes", "seconds",
}  # fmt: skip


def test_all_is_well(victim: Program) -> None:
    found = victim.json("reconcile")
    assert found.keys() == KEYS
    assert (found["phantoms"], found["quarantined"], found["dry_run"]) == ([], [], False)
    assert "0 phantoms, 0 orphans" in victim.run("reconcile").out


def test_junk_is_named_and_deleted_only_when_that_is_asked_for(victim: Program) -> None:
    name = blake3(b"junk").hexdigest()
    folder = victim.store / "data" / name[:2]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"junk")
    rehearsed = victim.json("reconcile", "--dry-run", code=3)
    assert [one["object"] for one in rehearsed["quarantined"]] == [f"data/{name[:2]}/{name}"]
    said = victim.run("reconcile", "--delete-quarantined", code=3)
    assert f"quarantined: data/{name[:2]}/{name} (4 B" in said.err
    assert (folder / name).exists()
    done = victim.json("reconcile", "--delete-quarantined", "--grace", "0h")
    assert done["deleted"] == [f"data/{name[:2]}/{name}"]
    assert not (folder / name).exists()
    assert "duration" in victim.json("reconcile", "--grace", "soon", code=2)["error"].lower()


def test_a_phantom_is_named_with_what_needs_it(victim: Program) -> None:
    path = next(path for path in sorted((victim.store / "data").rglob("*")) if path.is_file())
    path.unlink()
    found = victim.json("reconcile", code=3)
    (phantom,) = found["phantoms"]
    assert phantom["object"].endswith(path.name)
    assert phantom["path_count"] > 0
    said = victim.run("reconcile", code=3)
    assert f"phantom: {phantom['object']}" in said.err
    assert "affected:" in said.err
