#!/usr/bin/env bash
# A small tree goes into a store in .demo/, changes, goes again, comes back as it was both times;
# then the store is damaged, and at last it is read without n2s. Needs n2s and python on the PATH:
# `make demo` sees to that.
set -euo pipefail
cd "$(dirname "$0")/.."

contrib=$PWD/contrib
demo=$PWD/.demo
tree=$demo/tree
store=$demo/store

say() { printf '\n== %s\n' "$*"; }
describe() { python "$contrib/demo_tree.py" describe "$1" >"$2"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

same() { # RESTORED EXPECTED: compares every path, byte, time, mode, link, hole and attribute
    describe "$1" "$demo/found.txt"
    diff "$2" "$demo/found.txt" || fail "$1 differs from what was pushed (< pushed, > restored)"
    printf '%s: %s paths, all identical\n' "${1#"$demo"/}" "$(wc -l <"$2")"
}

unset N2S_CONFIG N2S_PASSPHRASE_FILE
export N2S_PASSPHRASE='correct horse battery staple'
if [ -e "$demo" ]; then chmod -R u+rwX "$demo"; rm -rf "$demo"; fi
mkdir "$demo"

say 'A tree with odd names, hard links, symlinks, a sparse file, a FIFO, extended attributes'
python "$contrib/demo_tree.py" make "$tree"
n2s init "$tree" --store "$store" --dataset demo
cd "$tree"
describe "$tree" "$demo/first.txt"

say 'First push'
n2s push --changeset-name first

say 'Edited, renamed, deleted, added; second push'
python "$contrib/demo_tree.py" change "$tree"
describe "$tree" "$demo/second.txt"
n2s push --changeset-name second

say 'Third push: nothing changed'
n2s push

say 'What is stored'
n2s status
n2s changesets
ids=$(n2s --json changesets | python -c '
import json, sys
print(*(one["changeset_id"] for one in reversed(json.load(sys.stdin))))')
read -r first second <<<"$ids"

say 'What differs between the two'
n2s diff "$first" "$second"

say 'Both come back'
n2s pull --changeset-id "$first" --target-path "$demo/first"
same "$demo/first" "$demo/first.txt"
n2s pull --changeset-id "$second" --target-path "$demo/second"
same "$demo/second" "$demo/second.txt"

say 'Verify: every object is read, hashed and opened'
n2s verify --data

say 'One flipped bit in a copy of the store'
mv "$store" "$demo/good"
cp -a "$demo/good" "$store"
object=$(python "$contrib/demo_tree.py" damage "$store")
echo "flipped a bit in $object"
status=0
n2s verify --data >"$demo/verify.txt" 2>&1 || status=$?
grep -v '^affected' "$demo/verify.txt" || true
grep '^affected' "$demo/verify.txt" | sed -n '1,3p;$s/.*/... (all of them are in .demo\/verify.txt)/p' || true
[ "$status" -eq 3 ] || fail "verify ended with $status instead of 3"
grep -q "$(basename "$object" | cut -c1-16)" "$demo/verify.txt" || fail "verify did not name $object"
rm -rf "$store"
mv "$demo/good" "$store"

say 'Without n2s, its catalogue or its configuration: contrib/recover.py, the store and the passphrase'
cd "$demo"
rm -rf "$tree/.n2s"
python -P "$contrib/recover.py" "$store" "$demo/recovered"
same "$demo/recovered" "$demo/second.txt"

say 'All identical. Look around in .demo/, or remove it with: make clean'
