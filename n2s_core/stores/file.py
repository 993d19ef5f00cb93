"""A store in a folder."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from n2s_core.errors import Missing, Refused, StoreError, Unavailable
from n2s_core.faults import crash_point
from n2s_core.layout import Shelf, parse_name
from n2s_core.model import ObjectStat
from n2s_core.stores.naming import judge_folder, judge_name, wrong_length

BATCH_BYTES = 4 << 20
BATCH_CHUNKS = 512
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700

_REFUSED = {
    errno.ENOSPC: "is full: free space on its disk, or remove old backups from it",
    errno.EDQUOT: "is over its quota: free space, or have the quota raised",
    errno.EROFS: "is mounted read-only: mount it for writing",
    errno.EACCES: "does not let this user in: give the user that runs n2s its files and folders",
    errno.EPERM: "does not let this user in: give the user that runs n2s its files and folders",
    errno.EFBIG: "cannot hold a file of this size: use another file system",
    errno.ENOTDIR: "has a file where a folder should be: look at it, and move the file away",
    errno.EISDIR: "has a folder where an object should be: look at it, and move the folder away",
    errno.EEXIST: "has a file where a folder should be: look at it, and move the file away",
    errno.ELOOP: "has a symbolic link that leads in a circle: look at it",
    errno.ENAMETOOLONG: "has too long a path: use a shorter one",
    errno.EINVAL: "does not take this call",
}


class FileStore:
    """Objects as files below one folder, 0600 in folders of 0700, whatever the umask.

    An object is written beside its place under a temporary name, synced and renamed; one that
    is there already is replaced, which heals a damaged one. The folder counts as there as long
    as one of the four shelves is; without them (a disk that is not mounted) every call but
    `create` raises Unavailable, and nothing is made in its place. Holds no resources.
    """

    def __init__(self, path: Path, *, url: str) -> None:
        self.url = url
        self._base = os.fspath(path.absolute())

    def create(self) -> None:
        """Make the folder and its shelves; those that exist are left as they are."""
        with self._sorted():
            self._make_folder(self._base)
            for shelf in Shelf:
                self._make_folder(f"{self._base}/{shelf.value}")

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        """Store `size` bytes under `name`; when it returns, a power failure cannot undo it.

        An error that `data` raises passes through as it is.
        """
        final = f"{self._base}/{judge_name(name)}"
        folder = final.rpartition("/")[0]
        temporary = f"{folder}/.tmp-{os.urandom(8).hex()}"
        with self._sorted(name):
            descriptor = self._open_new(temporary, folder)
        try:
            try:
                self._write(descriptor, name, data, size)
                with self._sorted(name):
                    os.fsync(descriptor)
                crash_point("store-put-written")
            finally:
                with self._sorted(name):
                    os.close(descriptor)
            with self._sorted(name):
                os.rename(temporary, final)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        crash_point("store-put-renamed")
        with self._sorted(name):
            _sync_folder(folder)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes of a range, cut at the end of the object."""
        with self._sorted(judge_name(name)):
            descriptor = os.open(f"{self._base}/{name}", os.O_RDONLY)
            try:
                rest = max(0, os.fstat(descriptor).st_size - offset)
                return _read(descriptor, offset, rest if length is None else min(rest, length))
            finally:
                os.close(descriptor)

    def stat(self, name: str) -> ObjectStat:
        """Size of an object."""
        with self._sorted(judge_name(name)):
            found = os.stat(f"{self._base}/{name}")
        if not stat.S_ISREG(found.st_mode):
            message = f"{name} in {self._base} is not a file; look at it, and move it away."
            raise Refused(message)
        return ObjectStat(name, found.st_size)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Objects in one folder, as the file system gives them; the first `next` may raise."""
        judge_folder(prefix)
        with self._sorted():
            try:
                entries = os.scandir(f"{self._base}/{prefix}")
            except FileNotFoundError:
                self._require_base()
                return
        with entries:
            while True:
                with self._sorted():
                    entry = next(entries, None)
                    if entry is None:
                        return
                    found = self._stat_entry(prefix, entry)
                if found is not None:
                    yield found

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        with self._sorted(judge_name(name)):
            try:
                os.unlink(f"{self._base}/{name}")
            except FileNotFoundError:
                self._require_base()

    def free_bytes(self) -> int:
        """What its disk has left for this user. Raises StoreError."""
        with self._sorted():
            self._require_base()
            found = os.statvfs(self._base)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Nothing is held."""

    @contextmanager
    def _sorted(self, name: str | None = None) -> Iterator[None]:
        """Turn an OSError of the block into the StoreError that tells who must act."""
        try:
            yield
        except OSError as error:
            raise self._judged(error, name) from error

    def _judged(self, error: OSError, name: str | None) -> StoreError:
        if error.errno == errno.ENOENT and name is not None:
            if self._is_there():
                return Missing(f"{name} is not in the store {self._base}.")
            return self._not_mounted()
        advice = _REFUSED.get(error.errno or 0)
        if advice is not None:
            return Refused(f"The store {self._base} {advice} ({error.strerror}).")
        return Unavailable(f"The store {self._base} does not answer: {error.strerror or error}.")

    def _is_there(self) -> bool:
        return any(os.path.isdir(f"{self._base}/{shelf.value}") for shelf in Shelf)

    def _require_base(self) -> None:
        if not self._is_there():
            raise self._not_mounted()

    def _not_mounted(self) -> Unavailable:
        return Unavailable(f"The store folder {self._base} is not there; is it mounted?")

    def _stat_entry(self, prefix: str, entry: os.DirEntry[str]) -> ObjectStat | None:
        name = f"{prefix}/{entry.name}"
        if parse_name(name) is None:
            return None
        try:
            found = entry.stat()
        except FileNotFoundError:
            return None
        return ObjectStat(name, found.st_size) if stat.S_ISREG(found.st_mode) else None

    def _open_new(self, path: str, folder: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            descriptor = os.open(path, flags, _FILE_MODE)
        except FileNotFoundError:
            self._require_base()
            self._make_folder(folder)
            descriptor = os.open(path, flags, _FILE_MODE)
        os.fchmod(descriptor, _FILE_MODE)
        return descriptor

    def _make_folder(self, folder: str) -> None:
        """Make a folder and those above it, each synced into its parent."""
        if os.path.isdir(folder):
            return
        parent = os.path.dirname(folder)
        if parent != folder:
            self._make_folder(parent)
        try:
            os.mkdir(folder, _FOLDER_MODE)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise
        else:
            os.chmod(folder, _FOLDER_MODE)
        _sync_folder(parent)

    def _write(self, descriptor: int, name: str, data: Iterable[bytes], size: int) -> None:
        """Write all of `data` in few calls; raises Refused when it is not `size` bytes."""
        total = waiting = 0
        batch: list[bytes] = []
        for chunk in data:
            total += len(chunk)
            if total > size:
                break
            batch.append(chunk)
            waiting += len(chunk)
            if waiting >= BATCH_BYTES or len(batch) >= BATCH_CHUNKS:
                with self._sorted(name):
                    _write_all(descriptor, batch)
                batch, waiting = [], 0
        if total != size:
            raise wrong_length(name, total, size, "or more" if total > size else "in the stream")
        with self._sorted(name):
            _write_all(descriptor, batch)
            found = os.fstat(descriptor).st_size
        if found != size:
            raise wrong_length(name, found, size, "on the disk")


def _write_all(descriptor: int, chunks: list[bytes]) -> None:
    if not chunks:
        return
    written = os.writev(descriptor, chunks)
    if written < sum(map(len, chunks)):
        rest = memoryview(b"".join(chunks))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _read(descriptor: int, offset: int, length: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
