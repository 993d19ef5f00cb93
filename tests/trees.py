"""Trees for tests: how to describe one exactly, so that two can be compared."""

from n2s_core.testing.trees import Description, describe, differences

__all__ = ["Description", "as_json", "describe", "differences"]


def as_json(tree: Description) -> dict[str, list[str]]:
    """A description to keep in a file: without owners, which an ordinary user cannot restore."""
    kept = {}
    for path, facts in tree.items():
        kind, mode, _uid, _gid, *rest = facts
        kept[path.hex()] = [str(fact) for fact in (kind, mode, *rest)]
    return kept
