"""Promise: the discovery plugins that come with n2s keep the contract for discovery plugins."""

from n2s_core.testing import DiscovererContract
from n2s_plugins.find import Find


class TestFind(DiscovererContract):
    works_everywhere = True
    tells_changes = False
    wrong_options = ({"newer-than": "yesterday"},)

    def discoverer(self) -> Find:
        return Find()
