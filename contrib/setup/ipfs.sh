#!/bin/sh
# Install the IPFS node that the tests talk to (js-ipfs), exactly as its lock file says.
# usage: contrib/setup/ipfs.sh
set -eu

here=$(dirname "$0")
cd "$here/../.."
contrib/setup/debian.sh nodejs:node npm:npm

cd tests/servers/js-ipfs
if cmp -s package-lock.json node_modules/installed; then
    exit 0
fi
printf 'Installing js-ipfs\n' >&2
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
cp package-lock.json node_modules/installed
