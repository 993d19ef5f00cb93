"""Write-only clients: what is pushed with a credential is read with the key, and not without."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from n2s_core.credentials import read_credential
from n2s_core.errors import DamageError
from n2s_core.flows.commit import CHECKPOINT_AFTER
from n2s_core.sealing import HEADER_SIZE, NONCE, SEALED_PRELUDE, KeyMode, Opener, parse_header
from tests.cli.program import COMMAND, Done, Make, Program, fill
from tests.conftest import RECOVER
from tests.trees import describe, differences

LARGE = 40_000  # of large.bin, which did not change
NO_KEY: dict[str, str | None] = {"N2S_PASSPHRASE": None}
SENTENCE = "can store and not read"


@dataclass(frozen=True)
class Pair:
    """The machine with the key, one that has only a credential, and what that one stored."""

    owner: Program
    client: Program
    credential: Path

    def push(self, *words: str) -> None:
        self.client.run("push", *words, env=NO_KEY)

    def own_objects(self) -> list[Path]:
        """Objects of the client: those of key mode 1."""
        everything = [
            path for shelf in ("data", "meta", "changesets") for path in self.client.objects(shelf)
        ]
        return [path for path in everything if path.read_bytes()[7] == KeyMode.X25519]

    def recovering(self, target: Path, *words: str | Path, code: int = 0) -> Done:
        return self.owner.run(
            "recover", "--store", self.owner.store, "--target-path", target, "--dataset", "client",
            *words, cwd=self.owner.home, code=code,
        )  # fmt: skip

    def recovered(self, target: Path, *words: str | Path) -> Path:
        self.recovering(target, *words)
        return target


@pytest.fixture
def pair(make: Make, tmp_path: Path) -> Pair:
    """The owner pushed once, the client is prepared."""
    owner = make("owner")
    client = make("client", store=owner.store)
    for one in (owner, client):
        fill(one.root)
    owner.init()
    owner.run("push")
    credential = tmp_path / "credential"
    owner.run("key", "export", "--push-credential", credential)
    words = ("--store", client.store, "--push-credential", credential, "--dataset", "client")
    client.run("init", client.root, *words, env=NO_KEY, cwd=client.home)
    return Pair(owner, client, credential)


def same(pair: Pair, target: Path) -> None:
    """The recovered tree is that of the client, but for what n2s itself keeps there."""
    left = {path: one for path, one in describe(pair.client.root).items() if _is_users(path)}
    right = {path: one for path, one in describe(target).items() if _is_users(path)}
    assert differences(left, right) == []


def _is_users(path: bytes) -> bool:
    return not path.startswith(b".n2s")


def grow(root: Path) -> None:
    """What a second changeset has: changed, renamed, removed, new, of odd names, in pieces."""
    (root / "a.txt").write_text("changed\n")
    (root / "docs" / "letter.txt").rename(root / "docs" / "renamed.txt")
    (root / "link").unlink()
    (root / "in pieces").write_bytes(os.urandom(17 << 20))
    Path(os.fsdecode(os.fsencode(root) + b"/new\n\xff")).write_bytes(b"odd\n")


# -- what is stored can be had back ------------------------------------------------------------


def test_several_changesets_come_back_with_the_passphrase(pair: Pair, tmp_path: Path) -> None:
    pair.push("--changeset-name", "one")
    pair.push("--changeset-name", "nothing new")
    first = (pair.client.root / "a.txt").read_bytes()
    grow(pair.client.root)
    pair.push("--changeset-name", "two")
    assert pair.client.run("push", "a.txt", env=NO_KEY).out
    same(pair, pair.recovered(tmp_path / "newest"))
    names = {one["changeset_name"]: one for one in pair.client.json("changesets", env=NO_KEY)}
    assert set(names) == {"one", "two"}
    old = pair.recovered(tmp_path / "old", "--changeset-id", names["one"]["changeset_id"])
    assert (old / "a.txt").read_bytes() == first
    assert (old / "docs" / "letter.txt").exists()


def test_every_object_of_the_client_has_an_ephemeral_key_of_its_own(pair: Pair) -> None:
    pair.push()
    grow(pair.client.root)
    pair.push()
    preludes = [path.read_bytes()[8:SEALED_PRELUDE] for path in pair.own_objects()]
    assert len(preludes) >= 4
    assert len({one[:32] for one in preludes}) == len(preludes)
    known = pair.client.json("status", env=NO_KEY)["objects"]
    assert len(preludes) == known


def test_a_checkpoint_is_written_and_read(pair: Pair, tmp_path: Path) -> None:
    for number in range(CHECKPOINT_AFTER + 2):
        (pair.client.root / "counter").write_text(str(number))
        pair.push("counter")
    pair.push()
    assert pair.client.objects("meta")
    heads = sorted(pair.client.objects("changesets"), key=lambda path: path.stat().st_mtime_ns)
    mine = [path for path in heads if path in pair.own_objects()]
    mine[0].unlink()
    assert "thanks to its checkpoint" in pair.recovering(tmp_path / "back", code=3).err
    same(pair, tmp_path / "back")


def test_recover_py_reads_it_with_the_passphrase_and_from_records_alone(
    pair: Pair, tmp_path: Path
) -> None:
    pair.push()
    grow(pair.client.root)
    pair.push()
    for number, more in enumerate(([], ["--records-alone"])):
        target = tmp_path / str(number)
        command = [COMMAND[0], str(RECOVER), str(pair.owner.store), str(target)]
        env = pair.owner.environment()
        subprocess.run([*command, "--dataset", "client", *more], check=True, env=env)
        assert (target / "a.txt").read_text() == "changed\n"
        if not more:
            same(pair, target)


def test_the_owner_can_take_the_dataset_over(pair: Pair, tmp_path: Path) -> None:
    """A dataset of the full key continues what a client pushed, with a catalogue made anew."""
    pair.push()
    shutil.rmtree(pair.client.root / ".n2s")
    words = ("--store", pair.client.store, "--dataset", "client")
    pair.client.run("init", pair.client.root, *words, cwd=pair.client.home)
    (pair.client.root / "a.txt").write_text("more\n")
    done = pair.client.json("push")
    assert done["failed"] == 0
    assert done["bytes_read"] < LARGE > done["bytes_stored"]
    pair.client.run("verify", "--data")
    same(pair, pair.recovered(tmp_path / "back"))


def test_shared_content_is_pointed_to_without_reading_it(make: Make, pair: Pair) -> None:
    client = make("sharing", store=pair.owner.store)
    fill(client.root)
    words = (
        "--store",
        client.store,
        "--push-credential",
        pair.credential,
        "--dataset",
        "sharing",
        "--share",
    )
    client.run("init", client.root, *words, "--dataset", "sharing", env=NO_KEY, cwd=client.home)
    client.run("push", env=NO_KEY)
    shutil.copy(client.root / "large.bin", client.root / "copy.bin")
    done = client.json("push", env=NO_KEY)
    assert done["written"] > 0
    assert done["bytes_stored"] < LARGE
    target = client.root.parent / "back"
    client.run("recover", "--store", client.store, "--target-path", target, "--dataset", "sharing",
               cwd=client.home)  # fmt: skip
    assert (target / "copy.bin").read_bytes() == (client.root / "large.bin").read_bytes()


def test_of_two_datasets_with_one_name_the_id_chooses(
    make: Make, pair: Pair, tmp_path: Path
) -> None:
    """As when the catalogue of a client was lost, and it was prepared again."""
    pair.push()
    again = make("again", store=pair.client.store)
    (again.root / "only here").write_text("again")
    words = ("--store", again.store, "--push-credential", pair.credential, "--dataset", "client")
    made = again.json("init", again.root, *words, env=NO_KEY, cwd=again.home)
    again.run("push", env=NO_KEY)
    command = ("recover", "--store", again.store, "--target-path", tmp_path / "back", "--dataset")
    said = again.run(*command, "client", code=2, cwd=again.home).err
    assert made["dataset_id"] in said
    again.run(*command, made["dataset_id"], cwd=again.home)
    assert (tmp_path / "back" / "only here").read_text() == "again"


def test_what_was_interrupted_is_taken_up(pair: Pair, tmp_path: Path) -> None:
    for at in ("object-confirmed:1", "entries-stored:1", "head-sealed:1", "head-stored:1"):
        (pair.client.root / "a.txt").write_text(at)
        command = [*COMMAND, "push"]
        env = pair.client.environment(N2S_PASSPHRASE=None, N2S_CRASH_AT=at)
        subprocess.run(command, cwd=pair.client.root, env=env, capture_output=True, check=False)
    pair.push()
    same(pair, pair.recovered(tmp_path / "back"))


# -- what the client cannot do -----------------------------------------------------------------


def test_what_needs_the_key_is_refused_in_a_sentence(pair: Pair) -> None:
    """Also when somebody gives the passphrase: this machine is not meant to have it."""
    pair.push()
    before = pair.client.catalogue.read_bytes()
    for words in (
        ("pull", "--target-path", "back"),
        ("key", "add", "--new-passphrase-command", "echo x"),
        ("key", "remove", "abcd"),
        ("key", "export", "back"),
        ("key", "export", "--push-credential", "back"),
        ("key", "change-passphrase", "--new-passphrase-command", "echo x"),
        ("rebuild",),
    ):
        assert SENTENCE in pair.client.run(*words, code=2, env=NO_KEY).err
        assert SENTENCE in pair.client.run(*words, code=2).err
    assert not (pair.client.root / "back").exists()
    assert pair.client.catalogue.read_bytes() == before


def test_what_needs_no_key_works(pair: Pair) -> None:
    pair.push()
    for words in (("status",), ("changesets",), ("list",), ("search", "*.txt"), ("doctor",)):
        pair.client.run(*words, env=NO_KEY)
    listed = pair.client.json("key", "list", env=NO_KEY)
    assert [one["opens"] for one in listed["keys"]] == [None]
    done = pair.client.run("verify", "--data", env=NO_KEY)
    assert "only their hashes" in done.err
    assert "nothing damaged" in done.out
    refused = pair.client.run("reconcile", code=2, env=NO_KEY).err
    assert "can store and not read" in refused
    hurt = pair.own_objects()[0]
    hurt.write_bytes(hurt.read_bytes()[:-1])
    assert hurt.name in pair.client.run("verify", "--data", code=3, env=NO_KEY).err


def windows(content: bytes) -> Iterator[bytes]:
    """Everything in it that could be a key, and everything that is written as one in text.

    A random key with four zero bytes in a row will not be met.
    """
    for at in range(len(content) - 31):
        if b"\0\0\0\0" not in content[at : at + 32]:
            yield content[at : at + 32]
    for found in re.findall(rb"(?=([0-9a-f]{64}))", content):
        yield bytes.fromhex(found.decode())


def test_nothing_on_the_disk_of_the_client_opens_an_object(pair: Pair, tmp_path: Path) -> None:
    """Any 32 bytes there are tried as the secret, the record key and the private key."""
    (pair.client.root / "a.txt").unlink()
    pair.push()
    public = read_credential(pair.credential).store_public
    sample = pair.own_objects()[0].read_bytes()[SEALED_PRELUDE:]
    record = sample[: parse_header(sample).size]
    folder = pair.client.root / ".n2s"
    tried = 0
    for path in folder.iterdir():
        for one in set(windows(path.read_bytes())):
            tried += 1
            with pytest.raises(DamageError):
                Opener(one).open(record)
            with pytest.raises(InvalidTag):
                ChaCha20Poly1305(one).decrypt(NONCE, record[HEADER_SIZE:], record[:HEADER_SIZE])
            private = X25519PrivateKey.from_private_bytes(one)
            assert private.public_key().public_bytes_raw() != public
    assert tried > 1000
    said = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"N2SKEY" not in said
    assert b"docs/letter.txt" in said  # names it does keep, as docs/keys.md says


# -- credentials that do not fit ---------------------------------------------------------------


def test_a_credential_for_another_store_is_refused(make: Make, pair: Pair, tmp_path: Path) -> None:
    other = make("other")
    other.init()
    made = tmp_path / "made"
    other.run("key", "export", "--push-credential", made)
    text = pair.client.config.read_text()
    mine, theirs = (path.read_text().strip() for path in (pair.credential, made))
    pair.client.config.write_text(text.replace(mine, theirs))
    assert "another store" in pair.client.run("push", code=2, env=NO_KEY).err
    pair.client.config.write_text(text.replace(mine, mine[:-1] + "x"))
    assert "push credential" in pair.client.run("push", code=2, env=NO_KEY).err


def test_a_store_without_keys_gets_nothing(pair: Pair) -> None:
    shutil.rmtree(pair.client.store / "keys")
    before = pair.client.objects("data")
    assert "no key object" in pair.client.run("push", code=2, env=NO_KEY).err
    assert pair.client.objects("data") == before


def test_a_file_that_is_no_credential_prepares_nothing(make: Make, tmp_path: Path) -> None:
    client = make()
    (tmp_path / "wrong").write_text("n2s-push-1:00")
    words = ("--store", client.store, "--push-credential", tmp_path / "wrong")
    done = client.run("init", client.root, *words, code=2, env=NO_KEY, cwd=client.home)
    assert "no push credential" in done.err
    assert not client.config.exists()
    assert not client.store.exists()
