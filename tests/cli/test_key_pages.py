"""`n2s key export` and `import`: key files and key pages, as users have them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.keys import CHEAP, ENV, restored
from tests.cli.program import COMMAND, Program
from tests.conftest import RECOVER


def test_an_exported_key_file_opens_without_a_passphrase(victim: Program, tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert victim.json("key", "export", file)["files"] == [str(file)]
    assert file.stat().st_mode & 0o777 == 0o600
    restored(victim, tmp_path / "back", "--words", str(file), N2S_PASSPHRASE=None)
    text = victim.config.read_text() + f'\n[key]\nkey_file = "{file}"\n'
    victim.config.write_text(text)
    victim.run("push", env={"N2S_PASSPHRASE": None})
    assert "File exists" in victim.run("key", "export", file, code=2).err


def test_who_has_a_key_file_goes_on_when_all_passphrases_were_changed_elsewhere(
    victim: Program, new: tuple[str, str], tmp_path: Path
) -> None:
    other = victim.copy(tmp_path / "other")
    other.config.write_text(
        other.config.read_text().replace(str(other.store), str(victim.store))
        + f'\n[key]\nkey_file = "{tmp_path / "key"}"\n'
    )
    victim.run("key", "export", tmp_path / "key")
    victim.run("key", "change-passphrase", *new)
    (other.root / "more").write_text("more")
    other.run("push", env={"N2S_PASSPHRASE": None})
    assert len(victim.objects("keys")) == 1


@pytest.mark.parametrize("form", ["key file", "page", "words"])
def test_import_makes_a_key_when_all_key_objects_are_lost(
    victim: Program, new: tuple[str, str], tmp_path: Path, form: str
) -> None:
    file = tmp_path / "key"
    victim.run("key", "export", *(("--paper", file) if form != "key file" else (file,)))
    if form == "words":
        page = file.read_text().partition("The key in words:")[2].partition("The same")[0]
        file.write_text(page)
    shutil.rmtree(victim.store / "keys")
    shutil.rmtree(victim.root / ".n2s")
    nothing = ("recover", "--store", victim.store, "--target-path", tmp_path / "none")
    assert "has no key objects" in victim.run(*nothing, code=2, cwd=victim.home).err
    words = ("key", "import", file, "--store", victim.store, *new, *CHEAP)
    added = victim.json(*words, cwd=victim.home)["added"]
    assert [path.name for path in victim.objects("keys")] == [added]
    restored(victim, tmp_path / "back", **ENV)


def test_import_works_where_the_dataset_is_and_its_passphrase_is_forgotten(
    victim: Program, new: tuple[str, str], tmp_path: Path
) -> None:
    victim.run("key", "export", tmp_path / "key")
    without: dict[str, str | None] = {"N2S_PASSPHRASE": None}
    victim.run("key", "import", tmp_path / "key", *new, *CHEAP, env=without)
    victim.run("push", env=ENV)


def test_the_key_of_another_store_is_not_imported(
    victim: Program, new: tuple[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text(f"n2s-key-1:{bytes(32).hex()}\n")
    before = victim.objects("keys")
    for more in ((), ("--store", str(victim.store))):
        said = victim.run("key", "import", other, *new, *CHEAP, *more, code=2).err
        assert "another store" in said
    assert victim.objects("keys") == before


@pytest.mark.parametrize("list_of_words", [True, False])
def test_recover_py_restores_with_a_page(
    victim: Program, tmp_path: Path, *, list_of_words: bool
) -> None:
    from mnemonic import Mnemonic  # noqa: PLC0415 - the list that a stranger would look for

    victim.run("key", "export", "--paper", tmp_path / "page")
    page, more = (tmp_path / "page").read_text(), []
    if list_of_words:
        page = page.partition("The key in words:")[2].partition("The same")[0]
        (tmp_path / "list").write_text("\n".join(Mnemonic("english").wordlist))
        more = ["--word-list", str(tmp_path / "list")]
    (tmp_path / "typed").write_text(page)
    command = [COMMAND[0], str(RECOVER), str(victim.store), str(tmp_path / "back")]
    env = victim.environment(N2S_PASSPHRASE=None)
    subprocess.run([*command, "--words", str(tmp_path / "typed"), *more], check=True, env=env)
    assert (tmp_path / "back" / "a.txt").read_text() == (victim.root / "a.txt").read_text()
