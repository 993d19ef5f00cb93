"""For the tests of plugins: what a discoverer promises. Needs pytest (`pip install n2s[test]`)."""

import pytest

pytest.register_assert_rewrite(
    "n2s_core.testing.discoverer", "n2s_core.testing.pushed", "n2s_core.testing.trial"
)

from n2s_core.testing.discoverer import DiscovererContract  # noqa: E402 - after the line above
from n2s_core.testing.editor import Editor  # noqa: E402
from n2s_core.testing.trees import describe, differences  # noqa: E402

__all__ = ["DiscovererContract", "Editor", "describe", "differences"]
