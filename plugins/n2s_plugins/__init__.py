"""The discovery plugins that come with n2s."""

import pluggy

hookimpl = pluggy.HookimplMarker("n2s")
