"""What the tests of keys share."""

from pathlib import Path

from tests.cli.program import Program

SECOND = "a second passphrase"
CHEAP = ("--kdf-time", "0")
ENV: dict[str, str | None] = {"N2S_PASSPHRASE": SECOND}


def restored(program: Program, target: Path, *words: str, **env: str | None) -> str:
    """What a file has after a recovery with the store alone."""
    program.run(
        "recover", "--store", program.store, "--target-path", target, *words, env=env,
        cwd=program.home,
    )  # fmt: skip
    return (target / "a.txt").read_text()
