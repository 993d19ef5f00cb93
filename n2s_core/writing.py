"""Writing below a target directory, never through a symlink and never outside of it."""

import contextlib
import errno
import os
import stat as statlib
from collections import OrderedDict
from collections.abc import Iterator

from n2s_core.errors import TargetError
from n2s_core.reading import OPEN_DIRECTORY, describe
from n2s_core.relpath import ROOT, RelPath, is_below, show, split

PRIVATE_DIRECTORY = 0o700
_MAKE = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_UNSUPPORTED = (errno.ENOTSUP, errno.EINVAL, errno.EISDIR, errno.ENOENT)
_SET_IDS = 0o6000
_STORED = (b"user.", b"system.posix_acl_", b"security.capability")


class Target:
    """A directory that is restored into. A context manager."""

    def __init__(self, root: bytes, *, replace: bool, keep: int = 64) -> None:
        """`root` exists; with `replace` what is in the way of something is removed."""
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: OrderedDict[RelPath, int] = OrderedDict()
        self._keep = keep
        self.replace = replace
        self._is_root = os.geteuid() == 0
        self._user, self._group = os.geteuid(), os.getegid()

    def __enter__(self) -> "Target":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every descriptor."""
        while self._open:
            os.close(self._open.popitem()[1])
        os.close(self._root)

    # -- directories -----------------------------------------------------------------------------

    def directory(self, path: RelPath, *, make: bool = True) -> int:
        """A descriptor of a directory, valid until the next call; missing ones are made (0700).

        Raises TargetError when something that is no directory is in the way.
        """
        if not path:
            return self._root
        found = self._open.get(path)
        if found is not None:
            self._open.move_to_end(path)
            return found
        kept = self._kept_above(path)
        above = self._open[kept] if kept else self._root
        names = path[len(kept) :].lstrip(b"/").split(b"/")
        end, passed = len(kept), None
        try:
            for left, name in zip(range(len(names), 0, -1), names, strict=True):
                end += len(name) + (1 if end else 0)
                above = self._enter(above, name, path, end, make=make)
                if passed is not None:
                    os.close(passed)
                passed = above if left > self._keep // 2 else None
                if passed is None:
                    self._keep_open(path[:end], above)
        except BaseException:
            if passed is not None:
                os.close(passed)
            raise
        return above

    def _kept_above(self, path: RelPath) -> RelPath:
        """The deepest directory above `path` that is open; a path may have any depth."""
        parent = split(path)[0]
        if parent not in self._open:
            above = [kept for kept in self._open if is_below(path, kept)]
            parent = max(above, key=len, default=ROOT)
        if parent:
            self._open.move_to_end(parent)
        return parent

    def _keep_open(self, path: RelPath, descriptor: int) -> None:
        if len(self._open) >= self._keep:
            os.close(self._open.popitem(last=False)[1])
        self._open[path] = descriptor

    def _enter(self, above: int, name: bytes, path: RelPath, end: int, *, make: bool) -> int:
        """Open `path[:end]`, which is `name` in the directory `above`."""
        try:
            return os.open(name, OPEN_DIRECTORY, dir_fd=above)
        except OSError as error:
            if error.errno == errno.ENOENT and make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, PRIVATE_DIRECTORY, dir_fd=above)
                return self._enter(above, name, path, end, make=False)
            if error.errno not in (errno.ENOTDIR, errno.ELOOP) or not make:
                raise TargetError(describe(error)) from error
        if not self.replace:
            message = f"{show(path[:end])} is in the way and no directory; --force replaces it"
            raise TargetError(message)
        os.unlink(name, dir_fd=above)
        return self._enter(above, name, path, end, make=True)

    def forget(self) -> None:
        """Close the kept descriptors."""
        while self._open:
            os.close(self._open.popitem()[1])

    # -- looking -----------------------------------------------------------------------------------

    def lstat(self, path: RelPath) -> os.stat_result | None:
        """Of what is there; None for nothing. Raises TargetError."""
        if not path:
            return os.fstat(self._root)
        parent, name = split(path)
        try:
            return os.stat(name, dir_fd=self.directory(parent), follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TargetError(describe(error)) from error

    def open_existing(self, path: RelPath) -> int:
        """A descriptor for reading a file that is there. Raises OSError."""
        parent, name = split(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(name, flags, dir_fd=self.directory(parent))

    def readlink(self, path: RelPath) -> bytes:
        """The target of a symlink that is there. Raises OSError."""
        parent, name = split(path)
        return os.readlink(name, dir_fd=self.directory(parent))

    # -- making ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def new_file(self, path: RelPath) -> Iterator[int]:
        """A descriptor of a file that gets its name when the context ends well, and not before.

        What had the name is replaced only then. Where the filesystem can, the file has no name
        at all until it is whole, so that a killed restore leaves nothing behind.
        """
        parent, name = split(path)
        above = self.directory(parent)
        temporary = None
        try:
            fd = os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=above)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            temporary = _temporary_name()
            fd = os.open(temporary, _MAKE, 0o600, dir_fd=above)
        try:
            yield fd
            if temporary is None:
                temporary = self._link(fd, name, above)
            if temporary is not None:
                self._rename(temporary, name, above)
        except BaseException:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=above)
            raise
        finally:
            os.close(fd)

    def _link(self, fd: int, name: bytes, above: int) -> bytes | None:
        """Give an unnamed file its name; or a temporary one, when the name is taken."""
        source = b"/proc/self/fd/%d" % fd
        try:
            os.link(source, name, dst_dir_fd=above, follow_symlinks=True)
        except FileExistsError:
            temporary = _temporary_name()
            os.link(source, temporary, dst_dir_fd=above, follow_symlinks=True)
            return temporary
        return None

    def _rename(self, temporary: bytes, name: bytes, above: int) -> None:
        try:
            os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            if not self.replace:
                message = "something is there already; --force replaces it"
                raise TargetError(message)
        try:
            os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)
        except IsADirectoryError:
            os.rmdir(name, dir_fd=above)
            os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)

    def make_way(self, path: RelPath) -> None:
        """Remove what is at `path`: a file, or an empty directory. Raises OSError."""
        parent, name = split(path)
        above = self.directory(parent)
        try:
            os.unlink(name, dir_fd=above)
        except (IsADirectoryError, PermissionError):
            self.forget()
            os.rmdir(name, dir_fd=self.directory(parent))

    def symlink(self, path: RelPath, target: bytes) -> None:
        """Raises OSError."""
        parent, name = split(path)
        os.symlink(target, name, dir_fd=self.directory(parent))

    def special(self, path: RelPath, kind: int, device: tuple[int, int]) -> None:
        """A FIFO, device or socket; `kind` is one of the S_IF constants. Raises OSError."""
        parent, name = split(path)
        os.mknod(name, kind | 0o600, os.makedev(*device), dir_fd=self.directory(parent))

    def link(self, existing: RelPath, path: RelPath) -> None:
        """One more name for a file that was restored. Raises OSError."""
        old_parent, old_name = split(existing)
        parent, name = split(path)
        source = os.dup(self.directory(old_parent))
        try:
            os.link(
                old_name,
                name,
                src_dir_fd=source,
                dst_dir_fd=self.directory(parent),
                follow_symlinks=False,
            )
        finally:
            os.close(source)

    # -- metadata --------------------------------------------------------------------------------

    def describe_file(
        self, fd: int, *, mode: int, uid: int, gid: int, mtime_ns: int, xattrs: dict[bytes, bytes]
    ) -> str | None:
        """Owner, attributes, mode and time of an open file or directory; what could not be set.

        In this order, because changing the owner clears set-id bits and capabilities, and an
        ACL changes the mode.
        """
        if not self._own(fd, uid, gid):
            mode &= ~_SET_IDS
        problem = _set_xattrs(fd, xattrs)
        os.fchmod(fd, mode)
        os.utime(fd, ns=(mtime_ns, mtime_ns))
        return problem

    def _own(self, fd: int, uid: int, gid: int) -> bool:
        if uid == self._user and gid == self._group and self._is_root:
            return True
        if self._is_root:
            os.fchown(fd, uid, gid)
            return True
        stat = os.fstat(fd)
        return stat.st_uid == uid and stat.st_gid == gid

    def describe_path(
        self,
        path: RelPath,
        *,
        mode: int | None,
        uid: int,
        gid: int,
        mtime_ns: int,
        xattrs: dict[bytes, bytes],
    ) -> str | None:
        """The same for what cannot be opened: symlinks (mode None), FIFOs, devices, sockets."""
        parent, name = split(path)
        above = self.directory(parent)
        if self._is_root:
            os.chown(name, uid, gid, dir_fd=above, follow_symlinks=False)
        problem = _set_xattrs(b"/proc/self/fd/%d/%s" % (above, name), xattrs)
        if mode is not None and not statlib.S_ISLNK(
            os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
        ):
            os.chmod(name, mode, dir_fd=above)
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=above, follow_symlinks=False)
        return problem


def _temporary_name() -> bytes:
    return b".n2s-%s.part" % os.urandom(8).hex().encode()


def _set_xattrs(target: int | bytes, xattrs: dict[bytes, bytes]) -> str | None:
    """Give these attributes and no others, such as an ACL that came from a directory's default."""
    follow = isinstance(target, int)
    problem = None
    for name in _others(target, xattrs):
        try:
            os.removexattr(target, name, follow_symlinks=follow)
        except OSError as error:
            problem = f"its attribute {show(name)} cannot be removed: {describe(error)}"
    for name, value in sorted(xattrs.items()):
        try:
            os.setxattr(target, name, value, follow_symlinks=follow)
        except OSError as error:
            problem = f"its attribute {show(name)} cannot be set: {describe(error)}"
    return problem


def _others(target: int | bytes, xattrs: dict[bytes, bytes]) -> list[bytes]:
    """Attributes that are there and were not stored; labels of the system itself do not count."""
    try:
        names = os.listxattr(target, follow_symlinks=isinstance(target, int))
    except OSError:
        return []
    found = [os.fsencode(name) for name in names]
    return [name for name in found if name.startswith(_STORED) and name not in xattrs]
