"""Reading of records in long runs: few requests, and each object's prelude once."""

from blake3 import blake3

from n2s_core.errors import DamageError, Missing
from n2s_core.jobs import Located
from n2s_core.layout import Shelf, object_name
from n2s_core.ports import Store
from n2s_core.sealing import Opened, Opener, open_prelude

LONGEST_SPAN = 20 << 20
LARGEST_GAP = 256 << 10
PRELUDE = 88
KEPT = 3


class Spans:
    """Gives the payloads of records, reading neighbours together.

    `places` are the records that will be asked for, in about this order. Raises what the store
    raises; a record that is damaged alone raises DamageError alone.
    """

    def __init__(self, store: Store, master_key: bytes, places: list[Located]) -> None:
        self._store = store
        self._master_key = master_key
        self._span_of = _plan(places)
        self._held: dict[tuple[bytes, int], tuple[bytes | Missing, int]] = {}
        self._openers: dict[bytes, Opener] = {}
        self._whole: tuple[bytes, bytes] = (b"", b"")
        self._hopeless: set[bytes] = set()

    def payload(self, place: Located) -> bytes:
        """The decompressed payload of a record."""
        return self.opened(place).payload

    def opened(self, place: Located) -> Opened:
        """A whole record."""
        if self._whole[0] == place.digest:
            return self._opened_from_whole(place, DamageError("the rest of it was damaged"))
        start, length = self._span_of[place]
        data = self._read(place.digest, start, length)
        at = place.offset - start
        record = memoryview(data)[at : at + place.length]
        if len(record) < place.length:
            return self._opened_from_whole(place, DamageError("it is shorter than it should be"))
        try:
            return self._opener(place.digest).open(record)
        except DamageError as error:
            return self._opened_from_whole(place, error)

    def _opened_from_whole(self, place: Located, error: DamageError) -> Opened:
        """A range cannot be compared with a name; the whole object can, and perhaps is right.

        The store may have read it badly, or have another copy.
        """
        if place.digest not in self._hopeless:
            data = self._store.get(object_name(Shelf.DATA, place.digest))
            if blake3(data).digest() == place.digest:
                self._whole = (place.digest, data)
            else:
                self._hopeless.add(place.digest)
        if self._whole[0] != place.digest:
            message = f"object data/{place.digest.hex()}, offset {place.offset}: {error}"
            raise DamageError(message) from error
        data = self._whole[1]
        secret, _ = open_prelude(data[:PRELUDE], self._master_key)
        return Opener(secret).open(memoryview(data)[place.offset : place.offset + place.length])

    def _opener(self, digest: bytes) -> Opener:
        found = self._openers.get(digest)
        if found is None:
            head = self._read(digest, 0, PRELUDE)
            try:
                secret, _ = open_prelude(head, self._master_key)
            except DamageError:
                secret = self._master_key
            found = self._openers[digest] = Opener(secret)
            if len(self._openers) > 2 * KEPT:
                del self._openers[next(iter(self._openers))]
        return found

    def _read(self, digest: bytes, start: int, length: int) -> bytes:
        key = (digest, start)
        found, asked = self._held.get(key, (None, 0))
        if found is None or asked < length:
            name = object_name(Shelf.DATA, digest)
            try:
                found = self._store.get(name, start, length)
            except Missing as error:
                found = Missing(f"object {name} is not in the store")
                found.__cause__ = error
            self._held[key] = found, length
            if len(self._held) > KEPT:
                del self._held[next(iter(self._held))]
        if isinstance(found, Missing):
            raise found
        return found


def _plan(places: list[Located]) -> dict[Located, tuple[int, int]]:
    """For every record the run (offset, length) that it is read with."""
    plan: dict[Located, tuple[int, int]] = {}
    by_object: dict[bytes, list[Located]] = {}
    for place in places:
        by_object.setdefault(place.digest, []).append(place)
    for members in by_object.values():
        members.sort(key=lambda place: place.offset)
        run: list[Located] = []
        start = end = 0
        for place in members:
            first = place.offset if place.offset > PRELUDE + LARGEST_GAP else 0
            if (
                run
                and place.offset - end <= LARGEST_GAP
                and place.offset + place.length - start <= LONGEST_SPAN
            ):
                run.append(place)
                end = max(end, place.offset + place.length)
                continue
            plan.update(dict.fromkeys(run, (start, end - start)))
            run, start, end = [place], first, place.offset + place.length
        plan.update(dict.fromkeys(run, (start, end - start)))
    return plan
