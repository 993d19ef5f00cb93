"""What every store promises.

A test class inherits StoreContract and gives two fixtures: `store`, empty and ready, and
`plant`, a function (path, content) that puts a foreign file where the store keeps its objects.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from n2s_core.errors import Missing, Refused, SourceError, StoreError
from n2s_core.layout import Shelf, object_name
from n2s_core.model import ObjectStat
from n2s_core.ports import Store

Plant = Callable[[str, bytes], None]
CONTENT = bytes(range(256)) * 40
LARGE = 32 << 20


def name_of(content: bytes, shelf: Shelf = Shelf.DATA) -> str:
    """A name of the layout for `content` (stores do not look at the hash)."""
    return object_name(shelf, hashlib.blake2b(content, digest_size=32).digest())


NAME = name_of(CONTENT)
FOLDER = NAME.rpartition("/")[0]


class StoreContract:
    """The suite; `store` comes from the class that inherits it."""

    @pytest.mark.parametrize("shelf", list(Shelf))
    def test_what_was_put_is_what_one_gets(self, store: Store, shelf: Shelf) -> None:
        name = name_of(CONTENT, shelf)
        store.put(name, [CONTENT], len(CONTENT))
        assert store.get(name) == CONTENT
        assert store.stat(name) == ObjectStat(name, len(CONTENT))

    def test_an_object_may_come_in_many_chunks_some_of_them_empty(self, store: Store) -> None:
        chunks = [b"", *(CONTENT[at : at + 7] for at in range(0, len(CONTENT), 7)), b""]
        store.put(NAME, iter(chunks), len(CONTENT))
        assert store.get(NAME) == CONTENT

    def test_an_object_may_be_empty(self, store: Store) -> None:
        store.put(NAME, [], 0)
        assert store.get(NAME) == b""
        assert store.stat(NAME).size == 0

    def test_32_mib_come_back_byte_for_byte(self, store: Store) -> None:
        block = hashlib.shake_256(b"n2s").digest(1 << 20)
        chunks = [bytes([number]) + block[1:] for number in range(LARGE >> 20)]
        store.put(NAME, iter(chunks), LARGE)
        assert hashlib.sha256(store.get(NAME)).digest() == hashlib.sha256(b"".join(chunks)).digest()
        assert store.get(NAME, (5 << 20) - 1, 2) == block[-1:] + b"\x05"

    def test_put_twice_is_put_once(self, store: Store) -> None:
        store.put(NAME, [CONTENT], len(CONTENT))
        store.put(NAME, [CONTENT], len(CONTENT))
        assert store.get(NAME) == CONTENT
        assert list(store.list(FOLDER)) == [ObjectStat(NAME, len(CONTENT))]

    @pytest.mark.parametrize("damage", [CONTENT[:-1], b"\xff" + CONTENT[1:], b""])
    def test_putting_again_heals_a_damaged_object(
        self, store: Store, plant: Plant, damage: bytes
    ) -> None:
        store.put(NAME, [CONTENT], len(CONTENT))
        plant(NAME, damage)
        store.put(NAME, [CONTENT], len(CONTENT))
        assert store.get(NAME) == CONTENT

    @pytest.mark.parametrize("size", [0, 1, len(CONTENT) - 1, len(CONTENT) + 1])
    def test_a_stream_of_another_length_becomes_no_object(self, store: Store, size: int) -> None:
        with pytest.raises(StoreError):
            store.put(NAME, [CONTENT[:100], CONTENT[100:]], size)
        with pytest.raises(Missing):
            store.stat(NAME)
        assert list(store.list(FOLDER)) == []

    def test_a_stream_that_breaks_becomes_no_object_and_its_error_passes(
        self, store: Store
    ) -> None:
        with pytest.raises(SourceError):
            store.put(NAME, _breaking(), len(CONTENT))
        with pytest.raises(Missing):
            store.get(NAME)
        assert list(store.list(FOLDER)) == []

    def test_a_failed_put_leaves_the_object_of_before(self, store: Store) -> None:
        store.put(NAME, [CONTENT], len(CONTENT))
        with pytest.raises(SourceError):
            store.put(NAME, _breaking(), len(CONTENT))
        with pytest.raises(StoreError):
            store.put(NAME, [b"short"], len(CONTENT))
        assert store.get(NAME) == CONTENT

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, None),
            (0, 1),
            (0, len(CONTENT)),
            (0, len(CONTENT) + 5),
            (3, 10),
            (100, None),
            (len(CONTENT) - 1, None),
            (len(CONTENT) - 1, 100),
            (len(CONTENT), None),
            (len(CONTENT), 10),
            (len(CONTENT) + 1, 10),
            (len(CONTENT) + 1, None),
            (5, 0),
            (len(CONTENT) + 1, 0),
        ],
    )
    def test_a_range_is_a_slice(self, store: Store, offset: int, length: int | None) -> None:
        store.put(NAME, [CONTENT], len(CONTENT))
        end = None if length is None else offset + length
        assert store.get(NAME, offset, length) == CONTENT[offset:end]

    @pytest.mark.parametrize(("offset", "length"), [(0, None), (0, 0), (0, 5), (9, None), (9, 5)])
    def test_getting_what_is_not_there_raises_missing(
        self, store: Store, offset: int, length: int | None
    ) -> None:
        with pytest.raises(Missing):
            store.get(NAME, offset, length)

    def test_stat_of_what_is_not_there_raises_missing(self, store: Store) -> None:
        with pytest.raises(Missing):
            store.stat(NAME)

    def test_a_deleted_object_is_gone(self, store: Store) -> None:
        store.put(NAME, [CONTENT], len(CONTENT))
        store.delete(NAME)
        with pytest.raises(Missing):
            store.get(NAME)
        assert list(store.list(FOLDER)) == []

    def test_deleting_what_is_not_there_is_no_error(self, store: Store) -> None:
        store.delete(NAME)
        store.put(NAME, [CONTENT], len(CONTENT))
        store.delete(NAME)
        store.delete(NAME)

    @pytest.mark.parametrize("prefix", ["keys", "changesets", "data/ab", "meta/00"])
    def test_a_folder_that_is_not_there_lists_nothing(self, store: Store, prefix: str) -> None:
        assert list(store.list(prefix)) == []

    def test_a_listing_has_every_object_of_its_folder_and_no_other(self, store: Store) -> None:
        inside = {object_name(Shelf.META, bytes([0xAB, number]) * 16) for number in range(30)}
        outside = {
            object_name(Shelf.META, b"\xac" * 32),
            object_name(Shelf.DATA, b"\xab" * 32),
            object_name(Shelf.KEYS, b"\xab" * 32),
        }
        for name in inside | outside:
            store.put(name, [name.encode()], len(name))
        found = list(store.list("meta/ab"))
        assert sorted(found, key=lambda each: each.name) == [
            ObjectStat(name, len(name)) for name in sorted(inside)
        ]

    def test_a_listing_ignores_temporary_and_foreign_files(
        self, store: Store, plant: Plant
    ) -> None:
        store.put(NAME, [CONTENT], len(CONTENT))
        plant(f"{FOLDER}/.tmp-0123456789abcdef", b"half")
        plant(f"{NAME}.abcd1234.partial", b"half")
        plant(f"{FOLDER}/lost+found", b"")
        plant(f"{FOLDER}/{'0' * 64 if not FOLDER.endswith('/00') else '1' * 64}", b"misplaced")
        assert list(store.list(FOLDER)) == [ObjectStat(NAME, len(CONTENT))]

    def test_eight_threads_may_put_the_same_name(self, store: Store) -> None:
        content = CONTENT * 100

        def put_and_get(_: int) -> bool:
            store.put(NAME, [content[:999], content[999:]], len(content))
            return store.get(NAME) == content

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(put_and_get, range(24)))
        assert list(store.list(FOLDER)) == [ObjectStat(NAME, len(content))]

    @pytest.mark.parametrize(
        "name",
        ["", "x", "../" + NAME, "/" + NAME, NAME + "\n", NAME[5:], NAME.upper(), "data/ab/x"],
    )
    def test_names_of_another_layout_are_refused(self, store: Store, name: str) -> None:
        for call in (
            lambda: store.put(name, [b""], 0),
            lambda: store.get(name),
            lambda: store.stat(name),
            lambda: store.delete(name),
        ):
            with pytest.raises(Refused):
                call()

    @pytest.mark.parametrize("prefix", ["", "data", "..", "data/../keys", "/etc", "data/ab/"])
    def test_folders_of_another_layout_are_refused(self, store: Store, prefix: str) -> None:
        with pytest.raises(Refused):
            list(store.list(prefix))


def _breaking() -> Iterator[bytes]:
    yield CONTENT[:5000]
    message = "The file could not be read."
    raise SourceError(message)
