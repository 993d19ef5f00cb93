"""What rclone's errors mean for n2s, and what of them may be shown."""

import re

from n2s_core.errors import Refused, StoreError, Unavailable

LONGEST_TEXT = 300

_BUSY = re.compile(
    r"rate.?limit|slow ?down|throttl|too many requests|status ?code: (429|50[0-6]|52\d)",
    re.IGNORECASE,
)
_ADVICE = (
    (r"didn't find section in config file", "it is not configured; see `rclone listremotes`"),
    (r"didn't find backend", "rclone has no such backend; see `rclone help backends`"),
    (r"invalid remote|quoted config value|config name contains", "its name is not well-formed"),
    (
        r"(de|un)crypt config|configuration password|wrong password",
        "rclone's configuration cannot be opened; set RCLONE_CONFIG_PASS",
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|invalid_grant|token expired|unauthorized",
        "the credentials are not accepted; renew them in rclone's configuration",
    ),
    (
        r"unable to authenticate|login incorrect|authentication fail|status ?code: 401|\b401 ",
        "the credentials are not accepted; renew them in rclone's configuration",
    ),
    (
        r"knownhosts: key",
        "the key of the server is not the known one; find out why, then correct known_hosts",
    ),
    (r"RequestTimeTooSkewed", "the clock of this machine is wrong; set it"),
    (
        r"NoSuchBucket|InvalidBucketName|bucket.{0,40}(not exist|not found)",
        "there is no such bucket; make it, or correct the URL",
    ),
    (
        r"(no|remaining disk) space|disk full|quota|insufficient storage|storage ?full|code: 507",
        "it is full; free space, or remove old backups from it",
    ),
    (r"read-only file system", "it is read-only; mount it for writing"),
    (
        r"permission denied|access ?denied|forbidden|status ?code: 403|\b403 |not permitted",
        "access is denied; check the credentials and what they allow",
    ),
    (
        r"too ?large|(?<!a file )not a directory|is a directory|name too long|status ?code: 400",
        "it does not take this object",
    ),
)
_REFUSED = tuple((re.compile(pattern, re.IGNORECASE), advice) for pattern, advice in _ADVICE)
_OPTION = re.compile(r""",\w+=("(?:[^"]|"")*"|'(?:[^']|'')*'|[^,:]*)""")
_HARMLESS = frozenset({"", "true", "false"})


def judge(text: str, remote: str) -> StoreError:
    """The error for rclone's `text` about `remote`; Unavailable when no pattern knows it."""
    name = describe(remote.removesuffix("/"))
    shown = scrub(text, remote)
    if not _BUSY.search(text):
        for pattern, advice in _REFUSED:
            if pattern.search(text):
                return Refused(f"The remote {name} refuses: {advice}. rclone says: {shown}")
    return Unavailable(f"The remote {name} does not answer now. rclone says: {shown}")


def describe(remote: str) -> str:
    """`remote` for people: options of a remote made on the fly, which may be secrets, left out."""
    bare = _OPTION.sub(lambda match: match[0].partition("=")[0] + "=", remote)
    return re.sub(r"(,\w+=)+", ",...", bare)


def scrub(text: str, remote: str) -> str:
    """`text` in one short line without option values, passwords in URLs and signed queries."""
    text = text.replace(remote, describe(remote))
    for match in _OPTION.finditer(remote):
        value = match[1]
        if value[:1] in {'"', "'"}:
            value = value[1:-1].replace(value[0] * 2, value[0])
        if value not in _HARMLESS:
            text = text.replace(value, "***")
    text = re.sub(r"//[^/@\s]+@", "//***@", text)
    text = re.sub(r"\?[^\s\"']*=[^\s\"']*", "?***", text)
    return re.sub(r"\s+", " ", text).strip()[:LONGEST_TEXT]
