"""Inode numbers that use all 64 bits, as some network filesystems give them, are ordinary."""

import os

from n2s_core.facts import LiveStat
from n2s_core.flows.compare import is_same
from n2s_core.reading import inode_number

HUGE = (1 << 64) - 5


def stat_with_inode(number: int) -> os.stat_result:
    return os.stat_result((0o100644, number, 1, 1, 0, 0, 7, 0, 0, 0))


def test_a_huge_inode_number_fits_into_the_catalogue() -> None:
    assert inode_number(stat_with_inode(HUGE)) == -5
    assert inode_number(stat_with_inode(12)) == 12
    assert -(1 << 63) <= inode_number(stat_with_inode(1 << 63)) < 1 << 63


def test_a_file_with_a_huge_inode_number_is_unchanged_the_next_time() -> None:
    stat = stat_with_inode(HUGE)
    live = LiveStat(b"a", 1, 0o644, 7, stat.st_mtime_ns, stat.st_ctime_ns, -5, 0, 0)
    assert is_same(stat, live)
    assert not is_same(stat, live._replace(inode=-6))
