"""TLS, certificates of clients, and etcd's own accounts."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.cluster.cluster_config import EtcdAccess
from scstfs.cluster.etcd import Condition, Etcd, Put, Unreachable
from tests.support.etcd import Member, one_member
from tests.support.needs import need_programs

pytestmark = [
    pytest.mark.slow,
    # httpcore leaves the socket of a failed TLS handshake to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NAMES = "subjectAltName=IP:127.0.0.1"


class Authority:
    """A certificate authority, and a certificate that it has signed."""

    def __init__(self, directory: Path) -> None:
        self.ca, self.cert, self.key = (directory / f"{name}.pem" for name in ("ca", "c", "key"))
        ca_key, request = directory / "ca-key.pem", directory / "request.pem"
        names = directory / "names"
        names.write_text(f"{NAMES}\nextendedKeyUsage=serverAuth,clientAuth\n")
        new = ("req", "-newkey", "rsa:2048", "-nodes")
        self._openssl(*new, "-x509", "-subj", "/CN=ca", "-keyout", ca_key, "-out", self.ca)
        self._openssl(*new, "-subj", "/CN=root", "-keyout", self.key, "-out", request)
        sign = ("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key)
        self._openssl(*sign, "-CAcreateserial", "-extfile", names, "-out", self.cert)

    @property
    def tls(self) -> ssl.SSLContext:
        """What it takes to talk to a server whose certificate this is."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return context

    @staticmethod
    def _openssl(*argv: object) -> None:
        subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    need_programs("openssl")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Member]:
    options = [
        *("--cert-file", str(authority.cert), "--key-file", str(authority.key)),
        *("--trusted-ca-file", str(authority.ca), "--client-cert-auth"),
    ]
    with one_member(tmp_path_factory.mktemp("tls"), *options, tls=authority.tls) as running:
        yield running


def access(authority: Authority, url: str, **others: object) -> EtcdAccess:
    options = {"ca": authority.ca, "cert": authority.cert, "key": authority.key, **others}
    return EtcdAccess(urls=(url,), **options)  # type: ignore[arg-type]


async def put(etcd: Etcd, key: str) -> bool:
    try:
        return (await etcd.transact([Condition(key, 0)], [Put(key, "x")])).succeeded
    finally:
        await etcd.close()


async def test_a_certificate_opens(authority: Authority, member: Member) -> None:
    assert await put(Etcd(access(authority, member.url)), "/one")
    with pytest.raises(Unreachable):
        await put(Etcd(access(authority, member.url, cert=None, key=None)), "/two")


async def test_a_server_that_nobody_vouches_for_is_not_asked(
    authority: Authority, member: Member
) -> None:
    with pytest.raises(Unreachable):
        await put(Etcd(access(authority, member.url, ca=None)), "/three")


def test_files_that_cannot_be_used_are_refused(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Etcd(access(authority, "https://127.0.0.1:1", ca=tmp_path / "none"))
    with pytest.raises(OSError, match="No such file"):
        Etcd(EtcdAccess(urls=("http://127.0.0.1:1",), user="u", password_file=tmp_path / "none"))


async def test_an_account_opens(etcd: Member, tmp_path: Path) -> None:
    def etcdctl(*argv: str) -> None:
        environment = {**os.environ, "ETCDCTL_API": "3"}
        command = ["etcdctl", "--endpoints", etcd.url, *argv]
        subprocess.run(command, check=True, capture_output=True, env=environment)

    password = tmp_path / "password"
    password.write_text("secret\n")
    etcdctl("user", "add", "root:secret")
    etcdctl("user", "grant-role", "root", "root")
    etcdctl("auth", "enable")
    account = ("--user", "root:secret")
    try:
        with pytest.raises(Unreachable):
            await put(Etcd(EtcdAccess(urls=(etcd.url,))), "/four")
        known = EtcdAccess(urls=(etcd.url,), user="root", password_file=password)
        client = Etcd(known)
        # A token that etcd has forgotten is replaced.
        client._token = "nonsense.1"
        assert await put(client, "/five")
    finally:
        etcdctl(*account, "auth", "disable")
        etcdctl("user", "delete", "root")
