"""`make torture`: hurts n2s in every way for some minutes and counts what was lost."""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests import crashing
from tests.conftest import PASSPHRASE
from tests.torture import model
from tests.torture.damage import Damage
from tests.torture.disks import Disks
from tests.torture.faulty import Faults
from tests.torture.kills import AnyMoment, Kills
from tests.torture.races import Races
from tests.torture.report import table, write
from tests.torture.trying import Ground, Tally

EXAMPLES = 10
MODEL = "the random model: "


class Model:
    """Runs of the state machine of `model`, a new seed each time."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._template = model.prepared(ground.base / "template")

    def step(self) -> None:
        number = self._ground.dice.randrange(10**9)
        tally = self._ground.tally
        try:
            counts = model.run(self._template, number, examples=EXAMPLES)
        except Exception:
            tally.row(f"{MODEL}runs").lost += 1
            tally.findings.append(f"{MODEL}seed {number}")
            raise
        tally.row(f"{MODEL}runs").tried += EXAMPLES
        for name, count in counts.items():
            tally.row(f"{MODEL}{name}").tried += count


PARTS: dict[str, Callable[[Ground], "Part"]] = {
    "kills": Kills,
    "moments": AnyMoment,
    "faults": Faults,
    "disks": Disks,
    "damage": Damage,
    "races": Races,
    "model": Model,
}
Part = Kills | AnyMoment | Faults | Disks | Damage | Races | Model


def main() -> int:
    """Exit code 1 when anything was lost, stored twice or not noticed."""
    wish = _wish()
    os.environ["N2S_PASSPHRASE"] = PASSPHRASE
    crashing.seal_here(setattr)
    tally = Tally()
    base = Path(tempfile.mkdtemp(prefix="n2s-torture-"))
    try:
        with ExitStack() as stack:
            torture(wish, base, tally, stack)
    finally:
        shutil.rmtree(base)
    print(table(tally.rows))
    print(*tally.findings, sep="\n", file=sys.stderr)
    if wish.report is not None and not wish.only:
        write(wish.report, tally.rows, minutes=wish.minutes, seed=wish.seed)
    return 1 if tally.findings else 0


def torture(wish: argparse.Namespace, base: Path, tally: Tally, stack: ExitStack) -> None:
    """Steps of all parts, so that each gets the same share of the time."""
    parts: dict[str, Part] = {}
    for name in wish.only or PARTS:
        (base / name).mkdir()
        dice = random.Random(f"{wish.seed} {name}")
        try:
            parts[name] = PARTS[name](Ground(base / name, dice, tally))
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"Not tried here: {name}, {error}", file=sys.stderr)
    disks = parts.get("disks")
    if isinstance(disks, Disks):
        stack.callback(disks.close)
    spent = dict.fromkeys(parts, 0.0)
    end = time.monotonic() + 60 * wish.minutes
    while time.monotonic() < end:
        name = min(spent, key=lambda one: spent[one])
        begun = time.monotonic()
        try:
            parts[name].step()
        except Exception:  # noqa: BLE001 - it is a finding, whatever it is, and the rest goes on
            tally.findings.append(f"{name} broke: {traceback.format_exc()}")
        spent[name] += time.monotonic() - begun


def _wish() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="write the table into this page")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part, several times")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
