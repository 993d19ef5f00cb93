"""Looking at paths of the source without following a symlink on the way."""

import errno
import grp
import os
import pwd
import stat as statlib
from collections import OrderedDict

from n2s_core.errors import SourceError
from n2s_core.model import FileType
from n2s_core.relpath import RelPath, split

_TYPES = {
    statlib.S_IFREG: FileType.FILE,
    statlib.S_IFDIR: FileType.DIRECTORY,
    statlib.S_IFLNK: FileType.SYMLINK,
    statlib.S_IFIFO: FileType.FIFO,
    statlib.S_IFCHR: FileType.CHARACTER_DEVICE,
    statlib.S_IFBLK: FileType.BLOCK_DEVICE,
    statlib.S_IFSOCK: FileType.SOCKET,
}
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_OPEN_QUIETLY = _OPEN_FILE | os.O_NOATIME
EARLIEST_NS = -(1 << 63)
LATEST_NS = (1 << 63) - 1
LARGEST_XATTRS = 4 << 20
"""Bytes of names and values; with them a node map stays below what the format allows."""
NO_XATTRS = (errno.ENOTSUP, errno.ENODATA, errno.ENOENT, errno.EPERM)


def file_type(mode: int) -> FileType:
    """The type in the `st_mode` of a stat result."""
    return _TYPES[statlib.S_IFMT(mode)]


def clamp_ns(time_ns: int) -> int:
    """Times outside of 64 bits (before 1677, after 2262) become the nearest that fits."""
    if EARLIEST_NS <= time_ns <= LATEST_NS:
        return time_ns
    return EARLIEST_NS if time_ns < EARLIEST_NS else LATEST_NS


def inode_number(stat: os.stat_result) -> int:
    """The inode number as a signed 64-bit integer; some filesystems use all 64 bits of it."""
    number = stat.st_ino
    return number if number <= LATEST_NS else number - (1 << 64)


class Directories:
    """Opens directories below a root, one component at a time, never through a symlink.

    The descriptors of the last few are kept. A context manager that closes them.
    """

    def __init__(self, root: bytes, *, keep: int = 32) -> None:
        """`root` is opened at once; raises OSError when it cannot be."""
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: OrderedDict[RelPath, int] = OrderedDict()
        self._keep = keep

    def __enter__(self) -> "Directories":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every descriptor."""
        self.forget()
        os.close(self._root)

    def forget(self) -> None:
        """Close all but the root."""
        while self._open:
            os.close(self._open.popitem()[1])

    def fd(self, path: RelPath) -> int:
        """A descriptor of the directory, valid until the next call. Raises OSError."""
        if not path:
            return self._root
        found = self._open.get(path)
        if found is not None:
            return found
        parent, name = split(path)
        if parent in self._open or not parent:
            opened = os.open(name, OPEN_DIRECTORY, dir_fd=self.fd(parent))
        else:
            opened = self._descend(path)
        if len(self._open) >= self._keep:
            os.close(self._open.popitem(last=False)[1])
        self._open[path] = opened
        return opened

    def _descend(self, path: RelPath) -> int:
        at = os.dup(self._root)
        for name in path.split(b"/"):
            try:
                following = os.open(name, OPEN_DIRECTORY, dir_fd=at)
            finally:
                os.close(at)
            at = following
        return at

    def lstat(self, path: RelPath) -> os.stat_result:
        """Of the path itself. Raises OSError; ENOENT and ENOTDIR mean that it is gone."""
        if not path:
            return os.fstat(self._root)
        parent, name = split(path)
        return os.stat(name, dir_fd=self.fd(parent), follow_symlinks=False)

    def open_file(self, path: RelPath) -> int:
        """A descriptor for reading a regular file. Raises OSError.

        Does not block on a FIFO and does not follow a symlink that took the file's place. Reading
        does not change when the file was last read, where its owner or root asks.
        """
        parent, _, name = path.rpartition(b"/")
        try:
            return os.open(name, _OPEN_QUIETLY, dir_fd=self.fd(parent))
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            return os.open(name, _OPEN_FILE, dir_fd=self.fd(parent))

    def readlink(self, path: RelPath) -> bytes:
        """The target of a symlink. Raises OSError."""
        parent, name = split(path)
        return os.readlink(name, dir_fd=self.fd(parent))

    def xattrs(self, path: RelPath) -> dict[bytes, bytes]:
        """Extended attributes of a path that need not be opened for it (symlinks, devices)."""
        parent, name = split(path)
        return xattrs_of(b"/proc/self/fd/%d/%s" % (self.fd(parent), name or b"."))


def xattrs_of(target: int | bytes) -> dict[bytes, bytes]:
    """Extended attributes of a descriptor or of a path that is not followed.

    Raises OSError, and SourceError when they are more than the format has room for.
    """
    follow = isinstance(target, int)
    try:
        names = os.listxattr(target, follow_symlinks=follow)
    except OSError as error:
        if error.errno in NO_XATTRS:
            return {}
        raise
    if not names:
        return {}
    found: dict[bytes, bytes] = {}
    for name in names:
        try:
            found[os.fsencode(name)] = os.getxattr(target, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno not in NO_XATTRS:
                raise
    size = sum(map(len, found)) + sum(map(len, found.values()))
    if size > LARGEST_XATTRS:
        message = f"its extended attributes have {size} bytes, more than {LARGEST_XATTRS}"
        raise SourceError(message)
    return found


class Owners:
    """Names of users and groups, each looked up once."""

    def __init__(self) -> None:
        """Empty; asks the system when first needed."""
        self._users: dict[int, str | None] = {}
        self._groups: dict[int, str | None] = {}

    def user(self, uid: int) -> str | None:
        """Name of a user id, None when it has none."""
        try:
            return self._users[uid]
        except KeyError:
            pass
        try:
            name: str | None = pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            name = None
        self._users[uid] = name
        return name

    def group(self, gid: int) -> str | None:
        """Name of a group id, None when it has none."""
        try:
            return self._groups[gid]
        except KeyError:
            pass
        try:
            name: str | None = grp.getgrgid(gid).gr_name
        except (KeyError, OverflowError):
            name = None
        self._groups[gid] = name
        return name


def is_gone(error: OSError) -> bool:
    """Whether the error says that the path does not exist (any more)."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


def describe(error: OSError) -> str:
    """The reason in words, without the path."""
    return f"{error.strerror or error} ({errno.errorcode.get(error.errno or 0, error.errno)})"


def read_whole(fd: int, size: int) -> bytes:
    """Up to `size` + 1 bytes from the start. Raises SourceError when a file under /proc lies."""
    data = os.pread(fd, size + 1, 0)
    if len(data) >= size:
        return data
    parts = [data]
    got = len(data)
    while got <= size:
        more = os.pread(fd, size + 1 - got, got)
        if not more:
            break
        parts.append(more)
        got += len(more)
    if got > size + 1:
        message = "the file grew beyond its size while it was read"
        raise SourceError(message)
    return b"".join(parts)
