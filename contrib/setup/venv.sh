#!/bin/sh
# Make the virtual environment .venv of this tree anew, with n2s in it as an editable install.
# usage: contrib/setup/venv.sh   (from the top of the tree; $PYTHON chooses the interpreter)
set -eu

python=${PYTHON:-python3}
here=$(dirname "$0")

say() { printf '%s\n' "$*" >&2; }

if ! command -v "$python" >/dev/null; then
    say "There is no $python. Install Python 3.11 or later (apt-get install python3)."
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "n2s needs Python 3.11 or later; $("$python" --version) is too old. Try: make PYTHON=python3.12"
    exit 1
fi

# Debian splits ensurepip from the interpreter; without it a venv has no pip.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    "$here/debian.sh" "$package"
fi

rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install -qq --editable .
pwd >.venv/where
