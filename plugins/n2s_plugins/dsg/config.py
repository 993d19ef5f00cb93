"""The configuration of a dsg repository: `.dsgconfig.yml`, of all versions."""

import yaml

from n2s_core.relpath import RelPath
from n2s_plugins.dsg.nofeed import NoFeed, read

CONFIG: RelPath = b".dsgconfig.yml"
_SECTIONS = ("repository", "ssh", "rclone", "ipfs", "zfs", "xfs")
_NAMES = ("name", "repo_name")


def repository_name(root: bytes) -> str:
    """What the repository is called; "" when its configuration does not say.

    Knows the legacy forms: everything inside of `project:`, and the name in the section of the
    transport. Raises NoFeed when the file cannot be read or is no mapping.
    """
    try:
        found = yaml.safe_load(read(root, CONFIG))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = f".dsgconfig.yml cannot be understood: {_first_line(error)}."
        raise NoFeed(message) from error
    if not isinstance(found, dict):
        message = ".dsgconfig.yml is no mapping of keys to values."
        raise NoFeed(message)
    places = [found, found.get("project")]
    places += [
        place.get(section) for place in places if isinstance(place, dict) for section in _SECTIONS
    ]
    for place in places:
        for key in _NAMES:
            if isinstance(place, dict) and isinstance(place.get(key), str):
                return str(place[key])
    return ""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
