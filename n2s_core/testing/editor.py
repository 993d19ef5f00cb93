"""Random edits of a tree, the same for the same seed."""

import errno
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

OWN_FOLDER = ".n2s"


def takes_attributes(root: Path) -> bool:
    """Whether the filesystem keeps extended attributes of users; touches the root."""
    try:
        os.setxattr(root, "user.n2s-asks", b"")
        os.removexattr(root, "user.n2s-asks")
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return False
    return True


class Editor:
    """Edits a tree at random, in every way that a tree can be edited.

    The folder of n2s and the names `left_alone`, all directly in the root, stay as they are.
    """

    def __init__(self, root: Path, seed: int, *, left_alone: frozenset[str] = frozenset()) -> None:
        """Two editors with the same seed edit the same tree in the same way."""
        self._root = root
        self._left_alone = left_alone | {OWN_FOLDER}
        self._random = random.Random(seed)
        self._made = seed * 1000
        self._ways: list[Callable[[], None]] = [
            self.create, self.create, self.create_large, self.create_directory, self.copy,
            self.edit_in_place, self.edit_unseen, self.append, self.truncate, self.extend,
            self.rename, self.rename, self.swap, self.rename_directory, self.replace_by_directory,
            self.replace_by_file, self.link, self.link, self.unlink, self.delete_tree, self.chmod,
            self.chown, self.attribute, self.touch, self.symlink, self.retarget, self.fifo,
            self.link_special, self.insert_in_large,
        ]  # fmt: skip
        if not takes_attributes(root):
            self._ways.remove(self.attribute)

    def edit(self, times: int) -> None:
        """That many random edits."""
        for _ in range(times):
            self._random.choice(self._ways)()

    # -- what there is ---------------------------------------------------------------------

    def _all(self, *, kind: Callable[[int], bool]) -> list[Path]:
        found = sorted(
            path
            for top in self._root.iterdir()
            if top.name not in self._left_alone
            for path in (top, *top.rglob("*"))
        )
        return [path for path in found if kind(path.lstat().st_mode)]

    def _files(self) -> list[Path]:
        return self._all(kind=stat.S_ISREG)

    def _others(self) -> list[Path]:
        return self._all(kind=lambda mode: not stat.S_ISREG(mode) and not stat.S_ISDIR(mode))

    def _directory(self) -> Path:
        return self._random.choice([self._root, *self._all(kind=stat.S_ISDIR)])

    def _pick(self, paths: list[Path]) -> Iterator[Path]:
        if paths:
            yield self._random.choice(paths)

    def _name(self) -> Path:
        """A new one, in any directory."""
        self._made += 1
        return self._directory() / f"{self._random.choice(['n', 'm.', 'é', '-'])}{self._made}"

    def _noise(self, most: int = 20_000) -> bytes:
        return self._random.randbytes(self._random.randrange(most))

    # -- ways to edit ----------------------------------------------------------------------

    def create(self) -> None:
        self._name().write_bytes(self._noise())

    def create_large(self) -> None:
        self._name().write_bytes(self._random.randbytes(self._random.randrange(65_000, 300_000)))

    def create_directory(self) -> None:
        self._name().mkdir()

    def copy(self) -> None:
        for path in self._pick(self._files()):
            shutil.copy2(path, self._name())

    def edit_in_place(self) -> None:
        for path in self._pick(self._files()):
            with path.open("r+b") as file:
                file.seek(self._random.randrange(path.stat().st_size + 1) // 2)
                file.write(b"edited")

    def edit_unseen(self) -> None:
        """The size and the time of modification stay; only ctime tells."""
        for path in self._pick(self._files()):
            before = path.stat()
            path.write_bytes(self._random.randbytes(before.st_size))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def append(self) -> None:
        for path in self._pick(self._files()):
            with path.open("ab") as file:
                file.write(self._noise())

    def truncate(self) -> None:
        for path in self._pick(self._files()):
            os.truncate(path, path.stat().st_size // 2)

    def extend(self) -> None:
        """A hole at the end."""
        for path in self._pick(self._files()):
            os.truncate(path, path.stat().st_size + self._random.randrange(100_000))

    def insert_in_large(self) -> None:
        for path in self._pick([one for one in self._files() if one.stat().st_size > 65_536]):
            data = path.read_bytes()
            half = len(data) // 2
            path.write_bytes(data[half:] + self._noise(1000) + data[: half - 9000])

    def rename(self) -> None:
        for path in self._pick(self._files() + self._others()):
            path.rename(self._name())

    def swap(self) -> None:
        files = self._files() + self._others()
        if len(files) > 1:
            one, two = self._random.sample(files, 2)
            spare = self._name()
            one.rename(spare)
            two.rename(one)
            spare.rename(two)

    def rename_directory(self) -> None:
        for path in self._pick(self._all(kind=stat.S_ISDIR)):
            target = self._name()
            if path not in target.parents:
                path.rename(target)

    def replace_by_directory(self) -> None:
        for path in self._pick(self._files()):
            data = path.read_bytes()
            path.unlink()
            path.mkdir()
            (path / "inside").write_bytes(data)

    def replace_by_file(self) -> None:
        for path in self._pick(self._all(kind=stat.S_ISDIR)):
            shutil.rmtree(path)
            path.write_bytes(self._noise())

    def link(self) -> None:
        for path in self._pick(self._files()):
            os.link(path, self._name())

    def link_special(self) -> None:
        for path in self._pick(self._others()):
            os.link(path, self._name(), follow_symlinks=False)

    def unlink(self) -> None:
        for path in self._pick(self._files() + self._others()):
            path.unlink()

    def delete_tree(self) -> None:
        for path in self._pick(self._all(kind=stat.S_ISDIR)):
            shutil.rmtree(path)

    def chmod(self) -> None:
        for path in self._pick(self._all(kind=lambda mode: not stat.S_ISLNK(mode))):
            path.chmod(self._random.choice([0o700, 0o755, 0o1777, 0o2750]))

    def chown(self) -> None:
        owner = self._random.choice([(1, 1), (0, 3), (54321, 5)])
        for path in self._pick(self._all(kind=bool)):
            if os.geteuid() == 0:
                os.chown(path, *owner, follow_symlinks=False)

    def attribute(self) -> None:
        for path in self._pick(self._files() + self._all(kind=stat.S_ISDIR)):
            if os.listxattr(path) and self._random.random() < 0.5:
                os.removexattr(path, os.listxattr(path)[0])
            else:
                os.setxattr(path, f"user.{self._random.randrange(3)}", self._noise(100))

    def touch(self) -> None:
        for path in self._pick([self._root, *self._all(kind=bool)]):
            time_ns = self._random.randrange(-(10**18), 4 * 10**18)
            os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)

    def symlink(self) -> None:
        self._name().symlink_to(f"target-{self._random.randrange(9)}")

    def retarget(self) -> None:
        for path in self._pick(self._all(kind=stat.S_ISLNK)):
            path.unlink()
            path.symlink_to(f"other-{self._random.randrange(9)}")

    def fifo(self) -> None:
        os.mkfifo(self._name(), self._random.choice([0o600, 0o644]))
