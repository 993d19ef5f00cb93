"""A store that spreads the shards of each object over several remotes."""

from collections.abc import Iterable, Iterator, Mapping

from n2s_core.errors import DamageError, Unavailable
from n2s_core.faults import crash_point
from n2s_core.layout import FANNED_OUT
from n2s_core.model import Debt, ObjectStat
from n2s_core.remotes import ZSTOR_SHARDS, Metadata, RemoteSet
from n2s_core.stores.fleet import WHOLE_BYTES, Fleet, Mended, Remote, address_of, joined
from n2s_core.stores.forms import is_shard, is_whole, whole_stream
from n2s_core.stores.gathering import Gathered, Gathering
from n2s_core.stores.naming import judge_folder, judge_name
from n2s_core.stores.placement import Rule, groups_of, place, rule_of
from n2s_core.stores.shards import Coding, encode, open_shard

ZSTOR = Rule(ZSTOR_SHARDS, ZSTOR_SHARDS // 2)
AT_ONCE = 32
AWAY = "It takes no objects now, or has no room."
Part = tuple[bytes | memoryview, ...]
Order = tuple[list[Remote], int]


class ErasureStore:
    """Objects of `data/` and `meta/` as shards, one on each of N remotes; the rest whole on all.

    Any M of the N shards give the object back. Keys and changesets lie whole on every remote, or
    with the zstor rule as two of four shards on the first four, which all have to take them. A put
    is done when as many remotes as are needed have confirmed it; the others owe it. Whole objects
    that are found among shards count as well, so a mirror can become this store. Owns the fleet.
    """

    def __init__(self, fleet: Fleet, wanted: RemoteSet) -> None:
        self.url = wanted.to_url()
        self.fleet = fleet
        self.form = (
            f"{wanted.mode.value} {wanted.minimal_shards} of {wanted.expected_shards},"
            f" metadata {wanted.metadata.value}"
        )
        self._wanted = wanted
        self._rule = rule_of(wanted)
        self._gathering = Gathering(fleet)
        self._everywhere = [one.name for one in fleet.remotes]

    def put(self, name: str, data: Iterable[bytes], size: int) -> None:
        """Store `size` bytes under `name`; what remotes did not take is owed."""
        judge_name(name)
        content = b"".join(whole_stream(name, data, size))
        rule, needed = self._rule_for(name), self._needed(name)
        if rule is None:
            copies = dict.fromkeys(self._everywhere, (content,))
            debts = self._send(name, copies, self._up(needed, size))
        else:
            coding = Coding(rule.m, rule.n, size)
            up = self._up(needed, coding.shard_size)
            target = self._target(name, rule, up)
            shards = dict(zip(target, encode(name, content, coding), strict=True))
            debts = self._send_shards(name, shards, up, rule)
        confirmed = (len(self._everywhere) if rule is None else rule.n) - len(debts)
        if confirmed < needed:
            message = f"{name} is on {confirmed} remotes, and {needed} have to confirm it."
            raise joined({one.remote: Unavailable(one.error) for one in debts}, message)
        self.fleet.owe(debts)

    def _needed(self, name: str) -> int:
        """Copies survive what shards survive; of shards there are as many as the user wants."""
        if name.partition("/")[0] in FANNED_OUT:
            return self._wanted.needed
        if self._wanted.metadata is Metadata.ZSTOR:
            return ZSTOR.n
        return self._rule.n - self._rule.m + 1

    def _rule_for(self, name: str) -> Rule | None:
        """How an object is cut into shards; None when it lies whole on every remote."""
        if name.partition("/")[0] in FANNED_OUT:
            return self._rule
        return ZSTOR if self._wanted.metadata is Metadata.ZSTOR else None

    def _up(self, needed: int, size: int) -> list[str]:
        """Remotes that get new objects and have room for so many bytes."""
        return [one.name for one in self.fleet.writable(at_least=needed, size=size)]

    # -- where shards go ------------------------------------------------------------------------

    def _target(self, name: str, rule: Rule, up: list[str]) -> list[str]:
        """The remotes of the shards by index: of those that are up, when these are enough."""
        if rule is ZSTOR:
            return self._everywhere[: rule.n]
        seed = name.encode()
        found = place(rule, groups_of(self._wanted, up), seed)
        found = found or place(rule, groups_of(self._wanted, self._everywhere), seed)
        assert found is not None, "judge_set found that there is a placement"
        return found

    def _swapped(self, target: list[str], old: str, new: str, rule: Rule) -> list[str] | None:
        """The same placement with one remote in the place of another, when that fits as well."""
        if rule is ZSTOR:
            return None
        swapped = [new if one == old else one for one in target]
        counts = [len(members) for members in groups_of(self._wanted, swapped).values()]
        return swapped if rule.fits(counts) else None

    def _around(self, target: list[str], kept: Iterable[str], rule: Rule) -> list[str]:
        """A placement with as many of the remotes `kept` as fit."""
        keep = set(kept)
        for remote in sorted(keep - set(target)):
            for old in target:
                swapped = None if old in keep else self._swapped(target, old, remote, rule)
                if swapped is not None:
                    target = swapped
                    break
        return target

    # -- sending --------------------------------------------------------------------------------

    def _send_shards(
        self, name: str, shards: Mapping[str, Part], up: list[str], rule: Rule
    ) -> list[Debt]:
        """Put shards to their remotes; one that is not taken goes to another that fits."""
        target = list(shards)
        by_index = list(shards.values())
        tried = set(target)
        debts = self._send(name, shards, up)
        while debts:
            again: dict[str, Part] = {}
            for debt in debts:
                for spare in up:
                    swapped = self._swapped(target, debt.remote, spare, rule)
                    if spare not in tried and swapped is not None:
                        again[spare] = by_index[target.index(debt.remote)]
                        target = swapped
                        tried.add(spare)
                        break
            if not again:
                break
            debts = [one for one in debts if one.remote in target] + self._send(name, again, up)
        return debts

    def _send(self, name: str, parts: Mapping[str, Part], up: Iterable[str]) -> list[Debt]:
        """Put the parts of remotes that are up, side by side; what was not taken, and why."""
        working = set(up)

        def put(remote: Remote) -> None:
            chunks = [bytes(part) for part in parts[remote.name]]
            remote.store.put(name, chunks, sum(map(len, chunks)))
            crash_point("remote-stored")

        self._gathering.forget(name)
        asked = [one for one in self.fleet.remotes if one.name in parts and one.name in working]
        size = max((sum(map(len, part)) for part in parts.values()), default=0)
        done = self.fleet.put(asked, put, size=size)
        return [
            Debt(one, name, str(done.errors.get(one, AWAY)))
            for one in parts
            if one not in done.values
        ]

    # -- getting --------------------------------------------------------------------------------

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes of a range; everything that is read whole is compared."""
        judge_name(name)
        order, first = self._order(name)
        if offset == 0 and length is None:
            return self._gathering.whole(name, order, first)
        return self._gathering.part(name, order, offset, length, first=first)

    def stat(self, name: str) -> ObjectStat:
        """Size of an object of which there are enough shards."""
        judge_name(name)
        order, first = self._order(name)
        return ObjectStat(name, self._gathering.size(name, order, first))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Objects in one folder of which the remotes that answer have enough; reads headers."""
        judge_folder(prefix)
        asked = self.fleet.listable()
        found = self.fleet.get(asked, lambda remote: tuple(remote.store.list(prefix)))
        if not found.values:
            raise joined(found.errors, f"No remote lists {prefix}.")
        holders: dict[str, list[Remote]] = {}
        for remote, listed in found.values.items():
            for one in listed:
                holders.setdefault(one.name, []).append(self.fleet.named(remote))
        for name, size in self._gathering.sizes(holders, at_once=AT_ONCE):
            yield ObjectStat(name, size)

    def _order(self, name: str) -> Order:
        """Remotes as they are asked for an object, its pieces first, and how many it takes."""
        rule = self._rule_for(name)
        readable = self.fleet.readable()
        if rule is None:
            return readable, 1
        rank = {one: at for at, one in enumerate(self._target(name, rule, self._everywhere))}
        readable.sort(key=lambda one: (not one.gets.may_work(), rank.get(one.name, rule.n)))
        return readable, rule.m

    def delete(self, name: str) -> None:
        """Remove an object from all remotes."""
        judge_name(name)
        self._gathering.forget(name)
        done = self.fleet.get(self.fleet.remotes, lambda remote: remote.store.delete(name))
        if done.errors:
            raise joined(done.errors, f"{name} could not be removed everywhere.")

    def address(self) -> str | None:
        """The same set with each remote as it is now, for those that say where that is."""
        return address_of(self.url, self.fleet)

    def close(self) -> None:
        """Close every remote."""
        self.fleet.close()

    # -- what a store of several remotes can do beside ------------------------------------------

    def lacking(self, name: str, size: int, holders: Mapping[str, int]) -> dict[str, str]:
        """See SetStore."""
        rule = self._rule_for(name)
        right = size if rule is None else Coding(rule.m, rule.n, size).shard_size
        found = {
            remote: f"{name} has {there} bytes instead of {right}"
            for remote, there in holders.items()
            if there != right
        }
        well = holders.keys() - found.keys()
        wanted = self._everywhere if rule is None else self._target(name, rule, self._everywhere)
        if len(well) >= len(wanted):
            return {}
        short = max(0, len(wanted) - len(well) - len(found))
        absent = [one for one in dict.fromkeys([*wanted, *self._everywhere]) if one not in holders]
        return found | dict.fromkeys(absent[:short], f"{name} is not there")

    def is_movable(self, name: str) -> bool:
        """See SetStore."""
        return self._rule_for(name) is self._rule

    def examine(self, remote: str, name: str) -> str:
        """See SetStore."""
        one = self.fleet.named(remote)
        answer = self.fleet.get([one], lambda remote: remote.store.get(name), size=WHOLE_BYTES)
        for error in answer.errors.values():
            return str(error)
        data, rule = answer.values[remote], self._rule_for(name)
        if not is_shard(data):
            if not is_whole(name, data):
                return f"{name} is damaged"
            return "" if rule is None else f"{name} lies there whole and not as a shard"
        try:
            header, _ = open_shard(data, name)
        except DamageError as error:
            return f"{name}: {error}"
        coding = header.coding
        if rule is not None and (coding.m, coding.n) == (rule.m, rule.n):
            return ""
        return f"{name} lies there as a shard of {coding.m} of {coding.n}"

    def mend(self, name: str, lacking: Iterable[str]) -> Mended:
        """See SetStore. All remotes are read, because what one should have another may hold."""
        del lacking
        found = self._gathering.everything(name)
        data = found.content()
        if data is None:
            raise found.error()
        if not is_whole(name, data):
            message = f"{name} is damaged on every remote that has it."
            raise DamageError(message)
        rule = self._rule_for(name)
        if rule is not None:
            return self._mend_shards(found, data, rule)
        parts: dict[str, Part] = {
            one: (data,) for one in self._everywhere if one not in found.copies
        }
        debts = self._send(name, parts, self._everywhere)
        written = (len(parts) - len(debts)) * len(data)
        return Mended(written, frozenset(self._everywhere), tuple(debts))

    def _mend_shards(self, found: Gathered, data: bytes, rule: Rule) -> Mended:
        """Shards of the present coding stay; the others are made anew."""
        name, coding = found.name, Coding(rule.m, rule.n, len(data))
        kept = found.holders(coding)
        up = [one for one in self._up(rule.n, coding.shard_size) if one not in found.errors_away()]
        target = self._around(self._target(name, rule, [*dict.fromkeys([*kept, *up])]), kept, rule)
        kept = {remote: index for remote, index in kept.items() if remote in target}
        indexes = [index for index in range(rule.n) if index not in kept.values()]
        remotes = [one for one in target if one not in kept]
        shards = encode(name, data, coding)
        parts = {one: shards[index] for one, index in zip(remotes, indexes, strict=True)}
        last = next((one for one in reversed(remotes) if one in up), None)
        others = {one: part for one, part in parts.items() if one != last}
        if last is not None and len(kept) < rule.m and not found.copies.get(last):
            self._keep_copy(name, data, last)
        debts = self._send(name, others, up)
        if last is not None:
            if rule.n - len(debts) >= rule.m:
                debts += self._send(name, {last: parts[last]}, up)
            else:
                debts.append(Debt(last, name, "It keeps the whole object, as shards are too few."))
        if not debts:
            debts.extend(self._clear(name, coding, target, found.holding() - set(target)))
        written = (len(parts) - len(debts)) * coding.shard_size
        return Mended(written, frozenset(self._everywhere), tuple(debts))

    def _clear(
        self, name: str, coding: Coding, target: Iterable[str], left: Iterable[str]
    ) -> tuple[Debt, ...]:
        """Remove what other remotes have of an object, once its shards were read and are whole."""
        others = [one for one in self.fleet.remotes if one.name in set(left)]
        if not others:
            return ()
        found = self._gathering.everything(name, target)
        holders, data = found.holders(coding), found.content()
        if data is None or not is_whole(name, data) or len(holders) < coding.n:
            return tuple(
                Debt(one, name, f"{name} was written and cannot be read.")
                for one in target
                if one not in holders
            )
        done = self.fleet.put(others, lambda remote: remote.store.delete(name), size=0)
        return tuple(
            Debt(remote, name, f"{name} lies there in vain and could not be removed: {error}")
            for remote, error in done.errors.items()
        )

    def _keep_copy(self, name: str, data: bytes, remote: str) -> None:
        """One whole copy, so that the object is there while shards of another coding go."""
        for debt in self._send(name, {remote: (data,)}, [remote]):
            raise Unavailable(debt.error)
