"""What the user may tell rclone: bandwidth, storage class, options, its configuration."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from n2s_core import config
from n2s_core.app import api
from n2s_core.errors import ConfigError, Refused, UsageError
from n2s_core.layout import Shelf
from n2s_core.stores import StoreSpec, start
from n2s_core.stores.rclone import RcloneStore
from n2s_core.stores.rclone_process import RcloneProcess
from n2s_core.stores.rclone_program import flags_of
from n2s_core.stores.rclone_rc import RcClient
from n2s_core.stores.rclone_ways import judge_features, split_remote
from n2s_core.stores.spec import RcloneAddress, RcloneOptions
from tests.conftest import MakeDataset
from tests.contracts.store import CONTENT, NAME, name_of
from tests.servers import rclones
from tests.stores.conftest import Servers

ages = pytest.mark.parametrize("age", ["newest", "old"])


@pytest.fixture(autouse=True)
def _rclone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "age" in request.fixturenames:
        is_new = request.getfixturevalue("age") == "newest"
        monkeypatch.setenv("N2S_RCLONE", rclones.newest() if is_new else rclones.old())


def ask(address: RcloneAddress, method: str) -> Mapping[str, object]:
    client = RcClient(address)
    answer = client.call(method, {}, limit_s=9).json()
    client.close()
    return answer


@ages
def test_a_bandwidth_may_follow_a_timetable(age: str) -> None:
    with RcloneProcess(RcloneOptions(bwlimit="00:00,512k 12:00,512k")) as address:
        assert ask(address, "core/bwlimit")["bytesPerSecond"] == 512 << 10


@ages
def test_options_reach_rclone(age: str) -> None:
    flags = (("tpslimit", "7"), ("buffer-size", "1M"), ("s3-chunk-size", "8M"))
    with RcloneProcess(RcloneOptions(flags=flags)) as address:
        found = ask(address, "options/get")["main"]
        assert isinstance(found, dict)
        assert (found["TPSLimit"], found["BufferSize"]) == (7, 1 << 20)


@pytest.mark.parametrize("age", ["newest"])
def test_init_and_recover_go_by_the_options_that_they_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: str
) -> None:
    flags: list[tuple[tuple[str, str], ...]] = []

    def noted(options: RcloneOptions) -> list[str]:
        flags.append((("bwlimit", options.bwlimit), *options.flags))
        return flags_of(options)

    monkeypatch.setattr("n2s_core.stores.rclone_process.flags_of", noted)
    root, url = tmp_path / "root", f"rclone::local:{tmp_path / 'store'}"
    root.mkdir()
    (root / "file").write_bytes(CONTENT)
    given = {"bwlimit": "10M", "flags.tpslimit": "70"}
    config_path = tmp_path / "config.toml"
    api.init(root, url, config=config_path, store_options=given)
    api.push(config=config_path)
    api.recover(url, tmp_path / "back", store_options=given)
    assert flags == [(("bwlimit", "10M"), ("tpslimit", "70"))] * 3
    assert (tmp_path / "back" / "file").read_bytes() == CONTENT


@ages
@pytest.mark.parametrize(
    "options",
    [
        RcloneOptions(bwlimit="some"),
        RcloneOptions(flags=(("s3-nonsense", "1"),)),
        RcloneOptions(flags=(("tpslimit", "many"),)),
    ],
)
def test_an_option_that_rclone_does_not_take_is_an_error_that_names_it(
    age: str, options: RcloneOptions
) -> None:
    word = options.flags[0][0] if options.flags else "bwlimit"
    with pytest.raises(UsageError, match=word), RcloneProcess(options):
        pass


@pytest.mark.parametrize(
    "name",
    ["dry-run", "max-size", "immutable", "rc-no-auth", "rc-addr", "ignore-size", "suffix",
     "backup-dir", "config", "log-file", "-v", "tpslimit=1 --dry-run", "S3-CHUNK-SIZE"],
)  # fmt: skip
def test_an_option_that_could_change_what_is_stored_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="could change what is stored"):
        flags_of(RcloneOptions(flags=((name, "1"),)))


@pytest.mark.parametrize(
    "name",
    ["sftp-pass", "s3-secret-access-key", "s3-access-key-id", "webdav-bearer-token", "b2-key",
     "crypt-password2", "s3-sse-customer-key", "gcs-service-account-credentials"],
)  # fmt: skip
def test_a_secret_is_no_option_because_all_users_see_arguments(name: str) -> None:
    with pytest.raises(UsageError, match="may hold a secret"):
        flags_of(RcloneOptions(flags=((name, "1"),)))


def test_a_folder_takes_no_options_of_rclone(tmp_path: Path) -> None:
    spec = StoreSpec(str(tmp_path), rclone_options=RcloneOptions(bwlimit="1M"))
    with pytest.raises(UsageError, match="no rclone remote"), start(spec):
        pass


def test_the_configuration_reaches_the_store(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("N2S_RCLONE", rclones.newest())
    dataset = make_dataset(store=Path(f"rclone::local:{tmp_path}/remote"))
    with dataset.config.open("a") as file:
        file.write("\n[workers]\ncount = 1\n")
    text = dataset.config.read_text().replace(
        "[store]\n", '[store]\nbwlimit = "100M"\ntransfers = 3\nflags = { tpslimit = "900" }\n'
    )
    dataset.config.write_text(text)
    (dataset.root / "file").write_bytes(CONTENT)
    dataset.push()
    dataset.assert_restores()
    with dataset.space() as space:
        assert space.spec.rclone_options == RcloneOptions("100M", "", (("tpslimit", "900"),))
        assert space.spec.rclone_address is not None
        assert ask(space.spec.rclone_address, "core/bwlimit")["bytesPerSecond"] == 100 << 20


def test_transfers_is_a_number_from_one(make_dataset: MakeDataset) -> None:
    dataset = make_dataset()
    text = dataset.config.read_text().replace("[store]\n", "[store]\ntransfers = 0\n")
    dataset.config.write_text(text)
    with pytest.raises(ConfigError, match="transfers"):
        config.read(dataset.config)


@ages
def test_the_storage_class_is_for_content_alone(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, age: str
) -> None:
    monkeypatch.setenv("RCLONE_CONFIG", str(servers.configuration))
    folder = os.urandom(8).hex()
    meta = name_of(CONTENT, Shelf.META)
    with RcloneProcess() as address:
        store = RcloneStore(f"s3:classes/{folder}", address, storage_class="STANDARD_IA")
        for name in (NAME, meta):
            store.put(name, [CONTENT], len(CONTENT))
            assert store.get(name) == CONTENT
    client = servers.s3.client()
    classes = [
        client.head_object(Bucket="classes", Key=f"{folder}/{name}").get("StorageClass", "STANDARD")
        for name in (NAME, meta)
    ]
    assert classes == ["STANDARD_IA", "STANDARD"]


def test_a_remote_without_storage_classes_is_not_given_one(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCLONE_CONFIG", str(servers.configuration))
    with RcloneProcess() as address:
        for remote in (f":local:{tmp_path}", "crypt:x"):
            store = RcloneStore(remote, address, storage_class="COLD")
            with pytest.raises(UsageError, match="no storage class"):
                store.put(NAME, [CONTENT], len(CONTENT))


@ages
def test_an_encrypted_configuration_opens_with_its_password_and_not_without(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: str
) -> None:
    path = tmp_path / "rclone.conf"
    path.write_bytes(servers.configuration.read_bytes())
    command = ("config", "encryption", "set", "--config", str(path))
    rclones.run(rclones.newest(), *command, "--password-command", "echo a secret word")
    assert b"secret_access_key" not in path.read_bytes()
    monkeypatch.setenv("RCLONE_CONFIG", str(path))
    remote = f"s3:encrypted/{os.urandom(8).hex()}"
    monkeypatch.setenv("RCLONE_CONFIG_PASS", "a secret word")
    with RcloneProcess() as address:
        store = RcloneStore(remote, address)
        store.put(NAME, [CONTENT], len(CONTENT))
        assert store.get(NAME) == CONTENT
    for wrong in ("", "another word"):
        monkeypatch.setenv("RCLONE_CONFIG_PASS", wrong)
        with pytest.raises(Refused, match="RCLONE_CONFIG_PASS"), RcloneProcess() as address:
            RcloneStore(remote, address).get(NAME)


def test_where_nothing_can_be_renamed_a_put_is_refused() -> None:
    with pytest.raises(Refused, match="cannot rename"):
        judge_features({"BucketBased": False, "Move": False}, "odd:")


@pytest.mark.parametrize(
    ("remote", "parts"),
    [
        ("nas:a/b:c", ("nas", "", "a/b:c")),
        ("nas,x=1:a", ("nas", ",x=1", "a")),
        (':s3,a="b:c""d",e=\'f:g\',h:i', (":s3", ',a="b:c""d",e=\'f:g\',h', "i")),
        (":local:/x", (":local", "", "/x")),
    ],
)
def test_a_remote_falls_into_name_options_and_path(
    remote: str, parts: tuple[str, str, str]
) -> None:
    assert split_remote(remote) == parts


def test_rclones_own_report_of_its_version_is_understood() -> None:
    report = rclones.run(rclones.newest(), "rc", "--loopback", "core/version")
    assert rclones.version_of(rclones.newest()) == tuple(json.loads(report)["decomposed"])
