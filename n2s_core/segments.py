"""Cutting of large files: content-defined segments between the holes."""

import errno
import os
from collections.abc import Iterator

LARGE = 16 << 20
SMALLEST = 512 << 10
AVERAGE = 2 << 20
LARGEST = 8 << 20
WINDOW = 32 << 20


def extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges [start, end) of the file that are no holes, in order.

    A filesystem that cannot tell gives one range. The position of `fd` is moved.
    """
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            if error.errno != errno.EINVAL:
                raise
            start, end = offset, size
        else:
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start >= size:
            return
        yield start, end
        offset = end


def has_holes(fd: int, stat: os.stat_result) -> bool:
    """Whether the file has a hole, as its filesystem says; False where that cannot tell.

    How many blocks it takes does not tell: one may hold extended attributes, or where the others
    are, and hide a hole. The position of `fd` is moved.
    """
    if not stat.st_size:
        return False
    try:
        return os.lseek(fd, 0, os.SEEK_HOLE) < stat.st_size
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENXIO):
            raise
        return False


def cut(fd: int, start: int, end: int) -> Iterator[tuple[int, memoryview]]:
    """Offset and bytes of each segment of the range; the view is valid until the next one.

    Stops early when the file ends before `end`. Where the cuts lie depends on the contents
    only, so that a change in the middle leaves the segments before and behind it as they were.
    """
    from pyfastcdc import FastCDC  # noqa: PLC0415 - its import costs more than a small push

    chunker = FastCDC(avg_size=AVERAGE, min_size=SMALLEST, max_size=LARGEST)
    buffer = bytearray(min(WINDOW, end - start))
    view = memoryview(buffer)
    held = 0
    offset = start
    while True:
        wanted = min(len(buffer) - held, end - offset - held)
        got = _fill(fd, view[held : held + wanted], offset + held)
        filled = held + got
        last = got < wanted or offset + filled >= end
        used = 0
        for chunk in chunker.cut_buf(view[:filled]):
            if not last and chunk.offset + chunk.length == filled:
                break
            yield offset + chunk.offset, view[chunk.offset : chunk.offset + chunk.length]
            used = chunk.offset + chunk.length
        if last:
            return
        held = filled - used
        buffer[:held] = buffer[used:filled]
        offset += used


def _fill(fd: int, view: memoryview, offset: int) -> int:
    got = 0
    while got < len(view):
        count = os.preadv(fd, [view[got:]], offset + got)
        if not count:
            break
        got += count
    return got
