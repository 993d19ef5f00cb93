#!/bin/sh
# Install those of the named Debian packages that are missing.
# usage: contrib/setup/debian.sh PACKAGE[:COMMAND]...
# With a COMMAND, the package is missing when that command is; without, when dpkg does not know it.
# As root they are installed; else they are named, and the exit status is 1.
set -eu

export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
missing=
for wanted in "$@"; do
    package=${wanted%%:*}
    if [ "$package" != "$wanted" ]; then
        command -v "${wanted#*:}" >/dev/null 2>&1 && continue
    elif dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed; then
        continue
    fi
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    printf 'Missing here:%s. Please install what provides them, then try again.\n' "$missing" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    printf 'Missing here. As root: apt-get install%s\n' "$missing" >&2
    exit 1
fi
printf 'Installing%s\n' "$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update >&2
# shellcheck disable=SC2086 # a list of words
apt-get -qq install --no-install-recommends --yes $missing >/dev/null
