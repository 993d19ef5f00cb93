"""Random edits of a tree, the same for the same seed."""

from n2s_core.testing.editor import Editor

__all__ = ["Editor"]
