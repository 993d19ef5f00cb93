"""What goes over the scheduler, who may use it, and what it is refused for."""

import datetime as dt
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from n2s_core.app.dask_parts import exposure
from n2s_core.app.dask_pool import DaskPool
from n2s_core.errors import ConfigError, WorkersError
from tests.conftest import PASSPHRASE, Dataset, MakeDataset, environment
from tests.several import make as make_several
from tests.workers.cluster import PROGRAM, Cluster, cluster, use
from tests.workers.test_dask_push import assert_well, fill, known


@contextmanager
def listening(port: int, heard: bytearray) -> Iterator[int]:
    """A port that leads to `port`, and hears everything on the way."""

    def carry(source: socket.socket, target: socket.socket) -> None:
        with source:
            while data := source.recv(1 << 16):
                heard.extend(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        while True:
            try:
                one, _ = server.accept()
            except OSError:  # it is over
                return
            other = socket.create_connection(("127.0.0.1", port))
            for pair in ((one, other), (other, one)):
                threading.Thread(target=quietly, args=pair, daemon=True).start()

    def quietly(source: socket.socket, target: socket.socket) -> None:
        try:
            carry(source, target)
        except OSError:  # a side is gone
            return

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_no_secret_goes_over_the_scheduler(dataset: Dataset, made: Cluster) -> None:
    fill(dataset.root, folders=4)
    (dataset.root / "known name").write_bytes(b"content that is known")
    heard = bytearray()
    with listening(made.port, heard) as port:
        use(dataset, made)
        address = f"tcp://127.0.0.1:{port}"
        text = dataset.config.read_text().replace(made.address, address)
        dataset.config.write_text(text)
        worker = made.worker(dataset.config, "--scheduler", address)
        assert dataset.push().failures == []
        worker.end()
    said = bytes(heard)
    assert b"known name" in said
    assert b"content that is known" not in said
    secrets = [PASSPHRASE.encode(), dataset.master_key(), os.fsencode(dataset.store)]
    assert [secret for secret in secrets if secret in said] == []
    assert_well(dataset)


def test_a_worker_with_a_push_credential_needs_no_passphrase(
    dataset: Dataset, made: Cluster, tmp_path: Path
) -> None:
    fill(dataset.root, folders=4)
    use(dataset, made)
    page = tmp_path / "credential"
    command = [*PROGRAM, "--config", str(dataset.config), "key", "export", "--push-credential"]
    subprocess.run([*command, str(page)], check=True)
    text, _, workers = dataset.config.read_text().partition("\n[workers]")
    config = tmp_path / "worker" / "config.toml"
    config.parent.mkdir()
    credential = page.read_text().strip().splitlines()[-1]
    config.write_text(f'{text}\n[key]\npush_credential = "{credential}"\n[workers]{workers}')
    made.worker(config, N2S_PASSPHRASE="")
    outcome = dataset.push()
    assert (outcome.failures, outcome.notes) == ([], ())
    assert_well(dataset)


def test_a_catalogue_of_one_machine_is_refused_with_share(
    make_dataset: MakeDataset, made: Cluster
) -> None:
    dataset = make_dataset(share=True)
    fill(dataset.root, folders=2)
    use(dataset, made)
    with pytest.raises(ConfigError, match=r"With share = true .* use a PostgreSQL catalogue"):
        dataset.push()


def test_a_store_on_several_remotes_owes_what_a_worker_could_not_store(
    tmp_path: Path, made: Cluster
) -> None:
    dataset = make_several(tmp_path / "several", 'mode = "mirror"\nminimum = 1', 2)
    fill(dataset.root, folders=4)
    use(dataset, made)
    worker = made.worker(dataset.config)
    shutil.move(dataset.remote(1), tmp_path / "away")
    outcome = dataset.push()
    assert (outcome.failures, outcome.notes) == ([], ())
    assert outcome.requests["put"] >= len(known(dataset))
    assert dataset.owed()["r1"] == outcome.debts > 0
    shutil.move(tmp_path / "away", dataset.remote(1))
    assert dataset.act("sync").exit_code == 0
    assert dataset.owed() == {}
    worker.end()
    dataset.assert_restores()


@pytest.fixture
def slow(make_dataset: MakeDataset) -> Dataset:
    """A store that takes 64 MB a second."""
    dataset = make_dataset(pack_size=1 << 20)
    text = dataset.config.read_text()
    slow = text.replace(f'url = "file:{dataset.store}"', f'url = "rclone::local:{dataset.store}"')
    assert slow != text
    dataset.config.write_text(slow.replace("[store]", '[store]\nbwlimit = "64M"'))
    return dataset


def test_no_more_is_under_way_than_there_are_processes(
    slow: Dataset, made: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is slower than the readers slows them; nothing is read in advance.

    A worker stays for many pushes; its rclone, or what it thinks of a remote, need not.
    """
    write(slow.root, 1000)
    use(slow, made)
    worker = made.worker(slow.config, "--processes", "1")
    under_way: list[int] = [0]
    submit = DaskPool.submit

    def counted(pool: DaskPool, *args: Any) -> "Future[Any]":
        future = submit(pool, *args)
        under_way.append(under_way[-1] + 1)
        future.add_done_callback(lambda _: under_way.append(under_way[-1] - 1))
        return future

    monkeypatch.setattr(DaskPool, "submit", counted)
    assert slow.push().failures == []
    assert max(under_way) <= 3  # one is sealed, the next one is ready, and the last comes besides
    (sealing,) = (pid for pid in worker.sealing() if b"n2s_core.app.worker" in cmdline(pid))
    assert peak_bytes(sealing) < 90_000_000  # 100 MB were read
    assert peak_bytes(worker.process.pid) < 400_000_000
    (rclone,) = (pid for pid in worker.sealing() if b"rclone" in cmdline(pid))
    os.kill(rclone, signal.SIGKILL)
    write(slow.root, 100)
    outcome = slow.push()
    assert (outcome.failures, outcome.notes) == ([], ())
    slow.assert_restores()


def write(root: Path, files: int) -> None:
    for number in range(files):
        (root / f"file-{number}").write_bytes(os.urandom(100_000))


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


# -- TLS -------------------------------------------------------------------------------------------


def certificates(folder: Path) -> dict[str, str]:
    """An authority, and one certificate of it that every side uses."""
    folder.mkdir()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "n2s test")])
    now = dt.datetime.now(dt.UTC)

    def made(key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        hosts = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = x509.CertificateBuilder(issuer_name=name, public_key=key.public_key())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a machine")])
        builder = builder.subject_name(name if authority else subject)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1))
        builder = builder.not_valid_after(now + dt.timedelta(days=1))
        basic = x509.BasicConstraints(ca=authority, path_length=None)
        builder = builder.add_extension(basic, critical=True)
        if not authority:
            builder = builder.add_extension(hosts, critical=False)
        return builder.sign(roots, hashes.SHA256())

    roots = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    files = {
        "ca": made(roots, authority=True).public_bytes(pem),
        "cert": made(key, authority=False).public_bytes(pem),
        "key": key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    for what, data in files.items():
        (folder / what).write_bytes(data)
    return {what: str(folder / what) for what in files}


def test_over_tls_only_those_with_a_certificate_are_let_in(
    dataset: Dataset, tmp_path: Path
) -> None:
    fill(dataset.root, folders=2)
    found = certificates(tmp_path / "tls")
    options = ["--protocol", "tls"]
    for what, word in (("ca", "--tls-ca-file"), ("cert", "--tls-cert"), ("key", "--tls-key")):
        options += [word, found[what]]
    tls = {f"tls_{what}": path for what, path in found.items()}
    with cluster(tmp_path / "cluster", options=options) as made:
        assert made.address.startswith("tls://")
        use(dataset, made, **tls)
        made.worker(dataset.config)
        outcome = dataset.push()
        assert (outcome.failures, outcome.notes) == ([], ())
        assert_well(dataset)
        (dataset.root / "0-odd \udcff\udcfe" / "more").write_bytes(bytes(33 << 20))
        stranger = certificates(tmp_path / "stranger")
        use(dataset, made, patience="2s", **{f"tls_{what}": stranger[what] for what in stranger})
        with pytest.raises(WorkersError, match="cannot be used"):
            dataset.push()


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheduler", "warned"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://10.1.2.3:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://8.8.8.8:8786", True),
        ("tls://8.8.8.8:8786", False),
    ],
)
def test_a_scheduler_that_anybody_reaches_is_warned_of(scheduler: str, warned: bool) -> None:
    assert bool(exposure(scheduler)) is warned


def test_without_dask_a_sentence_says_how_to_install_it(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "distributed.py").write_text(
        "raise ModuleNotFoundError(name='distributed')"
    )
    command = [*PROGRAM, "--config", str(dataset.config), "worker", "--scheduler", "tcp://h:1"]
    path = os.pathsep.join([str(tmp_path / "without"), *sys.path])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 2
    assert "pip install 'n2s[dask]'" in done.stderr


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('executor = "ray"', 'executor is "processes" or "dask"'),
        ('executor = "dask"', "scheduler is missing"),
        ('scheduler = "http://h:1"', "begins with tcp:// or tls://"),
        ('scheduler = "tls://h:1"', "are for a scheduler at tls://"),
        ('scheduler = "tls://h:1"\ntls_ca = "ca"', "belong together"),
        ('patience = "soon"', "'soon' is no age"),
        ('patience = "0s"', "at least 1s"),
    ],
)
def test_what_cannot_be_meant_is_refused(dataset: Dataset, lines: str, said: str) -> None:
    dataset.config.write_text(f"{dataset.config.read_text()}\n[workers]\n{lines}\n")
    with pytest.raises(ConfigError, match=said):
        dataset.space()


def test_a_small_push_does_not_look_for_workers(dataset: Dataset) -> None:
    """One batch is sealed before a worker is found; Dask is not even imported."""
    (dataset.root / "file").write_bytes(b"1")
    lines = '[workers]\nexecutor = "dask"\nscheduler = "tcp://127.0.0.1:1"\n'
    dataset.config.write_text(f"{dataset.config.read_text()}\n{lines}")
    code = (
        "import sys; from n2s_core import push; done = push(config=sys.argv[1]);"
        " assert done.written == 2, done; assert 'distributed' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(dataset.config)]
    subprocess.run(command, env=environment(), check=True)
    dataset.assert_restores()
