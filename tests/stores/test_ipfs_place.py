"""Where an IPFS store is, who may speak to it, and the names that IPFS gives to bytes."""

import pytest

from n2s_core.errors import UsageError
from n2s_core.stores import StoreSpec, create_store, open_store
from n2s_core.stores.ipfs import IpfsStore
from n2s_core.stores.ipfs_cid import cid_text, parse_cid
from n2s_core.stores.ipfs_place import parse_place

CID = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"


@pytest.mark.parametrize("given", ["hush", "bearer:", "basic:hush", "bearer:hush\r\nHost: x"])
def test_a_secret_of_another_form_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("N2S_IPFS_AUTH", given)
    with pytest.raises(UsageError) as caught:
        IpfsStore("ipfs://127.0.0.1:5001/x")
    assert "hush" not in str(caught.value)


def test_a_secret_goes_over_the_network_by_tls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N2S_IPFS_AUTH", "bearer:abc")
    with pytest.raises(UsageError, match="in clear"):
        IpfsStore("ipfs://node.example:5001/x")
    IpfsStore("ipfs+https://node.example/x").close()
    IpfsStore("ipfs://[::1]:5001/x").close()


@pytest.mark.parametrize(
    "url",
    [
        "ipfs://",
        "ipfs:",
        "ipfs:name",
        "ipfs://127.0.0.1:5001",
        "ipfs://127.0.0.1:5001/",
        "ipfs://127.0.0.1:99999/x",
        "ipfs://127.0.0.1:x/x",
        "ipfs://me:secret@127.0.0.1/x",
        "ipfs://127.0.0.1/a/../b",
        "ipfs://127.0.0.1/a//b",
        "ipfs://127.0.0.1/a?b=c",
        "ipfs://127.0.0.1/a#b",
        "ipfs://127.0.0.1/ä",
        "ipfs://127.0.0.1/a b",
        "ipfs://127.0.0.1/ipfs",
        "ipfs://127.0.0.1/ipfs/",
        "ipfs://127.0.0.1/ipfs/nothing",
        f"ipfs://127.0.0.1/ipfs/{CID}/data",
        "ipfs+http://127.0.0.1/a",
    ],
)
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    for call in (open_store, create_store):
        with pytest.raises(UsageError) as caught:
            call(StoreSpec(url))
        assert "secret" not in str(caught.value)


def test_a_url_names_a_node_and_a_folder() -> None:
    place = parse_place("ipfs://Node.example/photos/of-ada")
    assert (place.host, place.port, place.folder) == ("node.example", 5001, "/n2s/photos/of-ada")
    assert parse_place("ipfs+https://node.example/x").port == 443
    assert parse_place("ipfs://[::1]:7/x").fixed(CID) == f"ipfs://[::1]:7/ipfs/{CID}"
    assert parse_place(f"ipfs://a/ipfs/{CID}").cid == CID


def test_two_spellings_of_one_cid_are_equal() -> None:
    """The empty folder, which every node knows."""
    spellings = {
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
        "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354",
        "f0170122059948439065f29619ef41280cbb932be52c56d99c5966b65e0111239f098bbef",
    }
    assert {cid_text(parse_cid(each)) for each in spellings} == {
        "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    }


@pytest.mark.parametrize("text", ["", "b", "Qm0", "z0OIl", "bäää", "f01zz", "baaaa", "x" * 500])
def test_what_is_no_cid_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError, match="CID"):
        parse_cid(text)
