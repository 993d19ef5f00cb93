"""What the user does not want stored: gitignore patterns over bytes, tags, markers."""

import os
import re
from dataclasses import dataclass, field

from n2s_core.errors import ConfigError
from n2s_core.relpath import RelPath, split

CACHEDIR_TAG = b"CACHEDIR.TAG"
CACHEDIR_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"


@dataclass(frozen=True, slots=True)
class Excludes:
    """Rules of one dataset.

    `patterns` are those of gitignore (the last that matches decides, `!` takes back). A
    directory with a valid CACHEDIR.TAG (`caches`) or with one of `markers` in it is stored with
    that file only. `hidden` are paths that belong to n2s itself, as does `own_folder`: of it only
    `own_shown` is stored, and not the folder itself, whose times change with every run. With
    `one_filesystem` the contents of mount points are left out. `plain`: only the entries of the
    directories in `places` have to be asked about.
    """

    patterns: tuple[str, ...] = ()
    markers: tuple[bytes, ...] = ()
    caches: bool = False
    one_filesystem: bool = False
    hidden: frozenset[RelPath] = frozenset()
    own_folder: RelPath | None = None
    own_shown: frozenset[RelPath] = frozenset()
    _rules: tuple[tuple[bool, re.Pattern[bytes]], ...] = field(init=False, repr=False)
    plain: bool = field(init=False, repr=False)
    places: frozenset[RelPath] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Compile the patterns. Raises ConfigError for one that is none."""
        rules = _compile(self.patterns)
        object.__setattr__(self, "_rules", rules)
        object.__setattr__(self, "plain", not (rules or self.markers or self.caches))
        own = () if self.own_folder is None else (self.own_folder, split(self.own_folder)[0])
        places = frozenset((*own, *(split(path)[0] for path in self.hidden)))
        object.__setattr__(self, "places", places)

    def leaves_out(self, path: RelPath, *, directory: bool) -> bool:
        """Whether `path` is not to be stored (asked from the root downwards)."""
        if path in self.hidden:
            return True
        own = self.own_folder
        if own is not None and (path == own or path.startswith(own + b"/")):
            return path not in self.own_shown
        if not self._rules:
            return False
        name = path + b"/" if directory else path
        verdict = False
        for include, rule in self._rules:
            if rule.match(name) is not None:
                verdict = include
        return verdict

    def enters(self, path: RelPath) -> bool:
        """Whether something below is stored of a directory that is itself left out."""
        return path == self.own_folder and bool(self.own_shown)

    @property
    def tags(self) -> frozenset[bytes]:
        """Names that may mark a directory."""
        return frozenset((*self.markers, *([CACHEDIR_TAG] if self.caches else [])))

    def only_tag(self, names: frozenset[bytes], directory: bytes) -> bytes | None:
        """The one name that is stored of a tagged directory, None for an ordinary one."""
        for marker in self.markers:
            if marker in names:
                return marker
        if self.caches and CACHEDIR_TAG in names and _is_cache(directory + b"/" + CACHEDIR_TAG):
            return CACHEDIR_TAG
        return None


def _is_cache(tag: bytes) -> bool:
    try:
        fd = os.open(tag, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(fd, len(CACHEDIR_SIGNATURE)) == CACHEDIR_SIGNATURE
    except OSError:
        return False
    finally:
        os.close(fd)


def _compile(patterns: tuple[str, ...]) -> tuple[tuple[bool, re.Pattern[bytes]], ...]:
    if not patterns:
        return ()
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # noqa: PLC0415 - only for users with patterns, it costs start-up time

    rules = []
    for pattern in patterns:
        try:
            expression, include = GitIgnoreSpecPattern.pattern_to_regex(os.fsencode(pattern))
        except ValueError as error:
            message = f"The exclude pattern {pattern!r} cannot be understood: {error}."
            raise ConfigError(message) from error
        if expression is not None and include is not None:
            rules.append((include, re.compile(expression)))
    return tuple(rules)


NOTHING = Excludes()
