"""Datasets on several remotes, for tests."""

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from n2s_core.app.api import store
from n2s_core.app.preparing import InitOrder, init
from n2s_core.app.storing import StoreAnswer
from tests.conftest import Dataset, quiet


@dataclass(frozen=True)
class Several(Dataset):
    """`store` is a folder with one folder for each remote."""

    table: str = ""

    def remote(self, number: int) -> Path:
        return self.store / f"r{number}"

    def act(self, action: str, remote: str | None = None, percent: float = 0.0) -> StoreAnswer:
        return store(action, config=self.config, remote=remote, percent=percent)

    def owed(self) -> dict[str, int]:
        with self.space() as space:
            return space.catalogue.debts.counts()


def a_set(folder: Path, count: int, *, groups: int = 0, urls: dict[int, str] | None = None) -> str:
    """The list of remotes in TOML."""
    lines = []
    for at in range(count):
        url = (urls or {}).get(at, str(folder / f"r{at}"))
        lines += ["[[remotes]]", f'name = "r{at}"', f'url = "{url}"', f"priority = {at}"]
        if groups:
            lines.append(f'group = "g{at % groups}"')
    return "\n".join(lines) + "\n"


def make(base: Path, head: str, count: int, **how: Any) -> Several:
    """A prepared dataset with a tree; `head` are the keys above the list of remotes."""
    (base / "root").mkdir(parents=True)
    (base / "stores").mkdir()
    table = base / "set.toml"
    table.write_text(head + "\n" + a_set(base / "stores", count, **how))
    config = base / "config" / "config.toml"
    made = Several(base, base / "root", base / "stores", config, table=str(table))
    init(
        InitOrder(root=made.root, store_url=f"set:{table}", config=config, pack_size=20_000), quiet
    )
    fill(made.root, 1)
    return made


def fill(root: Path, seed: int) -> None:
    """New files, some of bytes that are no text and with names that are none."""
    chance = random.Random(seed)
    for number in range(12):
        name = os.fsencode(root) + b"/%d-\xff\n-%d" % (seed, number)
        with open(name, "wb") as file:
            file.write(chance.randbytes(chance.choice([0, 10, 5000, 30_000])))
