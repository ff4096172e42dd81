"""`scstfs exporter` of a mounted tree: metrics, and who may ask for them."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scstfs.errors import ExitStatus
from tests.interop.test_status import ENVIRONMENT
from tests.support.exported import Exported, exported, named
from tests.support.initiator import Initiator
from tests.support.iscsi_login import LoginError
from tests.support.mounted import REPOSITORY, Mounted
from tests.support.needs import need_mounts, need_programs
from tests.support.served import DIRECTORY, HOST, TARGET, Served, served

pytestmark = pytest.mark.slow

READ = "28000000000000000800"
WRITE = "2a000000000000000400"
BAD_LBA = "2800ffffff0000000100"
RESERVE = "160000000000"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as daemon:
        daemon.add_target(size=1 << 20, luns=2)
        yield daemon


@pytest.fixture(scope="module")
def exporter(daemon: Served) -> Iterator[Exported]:
    with exported(daemon) as exporter:
        yield exporter


def eventually(look: Any, seconds: float = 10.0) -> Any:
    """The result of *look* when it is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def sample(name: str, **labels: str) -> str:
    """As `Exported.metrics` names it."""
    return named(name, labels)


def test_metrics_of_what_an_initiator_does(daemon: Served, exporter: Exported) -> None:
    with daemon.log_in() as initiator:
        for _ in range(5):
            initiator.command(READ, expect=8 * 512)
        initiator.command(WRITE, data_out=bytes(4 * 512))
        initiator.command(BAD_LBA, expect=512)
        time.sleep(0.5)
        found = exporter.metrics()
        (session,) = os.listdir(daemon.path / DIRECTORY / "sessions")
        target = {"driver": "iscsi", "target": TARGET}
        of = {**target, "session": session}
        read = {"operation": "read", "device": "disk0"}
        command = "scst_device_command_seconds"
        for name, value in (
            ("scst_up", 1),
            (sample("scst_sessions", **target), 1),
            (sample("scst_session_commands_total", **of, direction="read"), 5),
            (sample("scst_session_bytes_total", **of, direction="read"), 5 * 8 * 512),
            (sample("scst_session_bytes_total", **of, direction="write"), 4 * 512),
            (sample("scst_lun_command_seconds_count", **of, lun="0", **read), 5),
            (sample(f"{command}_count", **read), 5),
            (sample(f"{command}_bucket", **read, le="+Inf"), 5),
            (sample("scst_device_errors_total", device="disk0", sense_key="illegal_request"), 1),
            (sample("scst_device_size_bytes", device="disk1"), 1 << 20),
        ):
            assert found[name] == value, name
        assert 0 < found[sample(f"{command}_sum", **read)] < 60
        assert found["scst_process_cpu_seconds_total"] > 0
        initiator.command(RESERVE)
        time.sleep(0.5)
        reserved = sample("scst_device_reserved", device="disk0", type="reserve")
        assert exporter.metrics()[reserved] == 1
    eventually(lambda: not os.listdir(daemon.path / DIRECTORY / "sessions"))


def test_counters_of_a_device_never_fall(daemon: Served, exporter: Exported) -> None:
    name = 'scst_device_command_seconds_count{device="disk0",operation="read"}'
    with daemon.log_in() as initiator:
        initiator.command(READ, expect=8 * 512)
        time.sleep(0.5)
        before = exporter.metrics()[name]
    eventually(lambda: not os.listdir(daemon.path / DIRECTORY / "sessions"))
    time.sleep(0.5)
    assert exporter.metrics()[name] >= before > 0


def test_refused_logins_are_counted_by_reason(daemon: Served, exporter: Exported) -> None:
    stranger = Initiator.connect(HOST, daemon.port)
    with pytest.raises(LoginError):
        stranger.login("iqn.no.such.target")
    stranger.close()
    time.sleep(0.5)
    assert exporter.metrics()['scst_logins_refused_total{reason="not_found"}'] >= 1


def test_promtool_likes_the_metrics(daemon: Served, exporter: Exported) -> None:
    need_programs("promtool")
    with daemon.log_in() as initiator:
        initiator.command(READ, expect=8 * 512)
        time.sleep(0.5)
        text = exporter.get("/metrics")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_open_metrics(exporter: Exported) -> None:
    kind = "application/openmetrics-text; version=1.0.0"
    status, headers, text = exporter.request("/metrics", {"Accept": kind})
    assert status == 200
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_alert_rules_are_right_and_use_metrics_that_exist(
    daemon: Served, exporter: Exported
) -> None:
    rules = REPOSITORY / "contrib" / "prometheus" / "scst.rules.yml"
    need_programs("promtool")
    done = subprocess.run(
        ["promtool", "check", "rules", str(rules)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    dashboard = (REPOSITORY / "contrib" / "grafana" / "scst.json").read_text()
    json.loads(dashboard)
    with daemon.log_in():
        time.sleep(0.5)
        text = exporter.get("/metrics")
    known = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    suffix = r"_(bucket|sum|count|total)$"
    known |= {re.sub("_total$", "", name) for name in known}
    for used in set(re.findall(r"\bscst_\w+", rules.read_text() + dashboard)):
        assert used in known or re.sub(suffix, "", used) in known, used


def test_the_tests_of_the_alert_rules() -> None:
    need_programs("promtool")
    done = subprocess.run(
        ["promtool", "test", "rules", "scst.rules.test.yml"],
        cwd=REPOSITORY / "contrib" / "prometheus",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_other_names_are_refused(exporter: Exported) -> None:
    for host in ("evil.example", "evil.example:9860", "", "127.0.0.1.evil.example"):
        assert exporter.request("/metrics", {"Host": host})[0] in (400, 421), host
    for host in ("localhost", "localhost:1", "127.0.0.1", "[::1]:9860"):
        assert exporter.request("/", {"Host": host})[0] == 200, host


def test_headers_are_strict_and_nothing_can_be_changed(exporter: Exported) -> None:
    for path in ("/", "/app.js", "/metrics", "/api/live", "/nowhere"):
        status, headers, _ = exporter.request(path)
        assert status == (404 if path == "/nowhere" else 200)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert exporter.request("/", method=method)[0] == 405
    assert exporter.request("/../../etc/passwd")[0] == 404
    assert exporter.request("/api/session?path=../../etc")[0] == 404


def test_events_as_they_happen(daemon: Served, exporter: Exported) -> None:
    connection = http.client.HTTPConnection(exporter.host, exporter.port, timeout=20)
    connection.request("GET", "/api/events")
    answer = connection.getresponse()
    assert answer.getheader("content-type", "").startswith("text/event-stream")
    with daemon.log_in():
        while True:
            line = answer.fp.readline()
            if line.startswith(b"event: login\n"):
                break
        event = json.loads(answer.fp.readline().removeprefix(b"data: "))
    assert event["target"] == TARGET
    connection.close()


def test_a_session_in_detail(daemon: Served, exporter: Exported) -> None:
    with daemon.log_in() as initiator:
        initiator.command(READ, expect=8 * 512)
        names = os.listdir(daemon.path / DIRECTORY / "sessions")

        def shown() -> Any:
            sessions = exporter.json("/api/map")["sessions"]
            return sessions if [session["name"] for session in sessions] == names else None

        (session,) = eventually(shown)
        assert session["connections"] == [[HOST, HOST]]
        found = exporter.json(f"/api/session?path={session['path']}")
        assert found["negotiated"]["MaxBurstLength"].isdecimal()
        assert [lun["device"] for lun in found["lun_list"]] == ["disk0", "disk1"]


def test_without_a_tree(tmp_path: Path) -> None:
    need_mounts()
    argv = [sys.executable, "-c", f"print('READY', flush=True); import time; time.sleep({50})"]
    with Mounted(argv, tmp_path, "READY") as nothing, exported(nothing) as exporter:
        assert exporter.metrics() == {"scst_up": 0}
        assert exporter.json("/api/map") == {"running": False}


def refusal(*options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "scstfs", "exporter", *options],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def test_mistakes(tmp_path: Path, exporter: Exported) -> None:
    passwords = tmp_path / "users"
    passwords.write_text("joe:secret\n")
    passwords.chmod(0o644)
    for options, status, text in (
        (("--listen", "0.0.0.0:0"), ExitStatus.USAGE, "--insecure"),
        (("--listen", "nonsense"), ExitStatus.USAGE, "not HOST:PORT"),
        (("--listen", f"127.0.0.1:{exporter.port}"), ExitStatus.PORTAL, "in use"),
        (("--auth-file", str(passwords)), ExitStatus.USAGE, "chmod 600"),
        (("--auth-file", str(tmp_path / "none")), ExitStatus.USAGE, "No such file"),
        (("--tls-key", "x"), ExitStatus.USAGE, "belong together"),
        (("--tls-key", "/x", "--tls-certificate", "/y"), ExitStatus.USAGE, "cannot use"),
    ):
        found = refusal(*options)
        assert found[0] == status, found
        assert text in found[1]
        assert found[1].count("\n") == 1
        assert "secret" not in found[1]


def test_a_password(daemon: Served, tmp_path: Path) -> None:
    passwords = tmp_path / "users"
    passwords.write_text("joe:sec:ret\n")
    passwords.chmod(0o600)

    def basic(text: str) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}

    with exported(daemon, "--auth-file", str(passwords)) as exporter:
        for headers in ({}, basic("joe:wrong"), basic("x:sec:ret"), {"Authorization": "Basic ="}):
            for path in ("/", "/metrics", "/api/events", "/nowhere"):
                status, answer, _ = exporter.request(path, headers)
                assert status == 401
                assert answer["www-authenticate"].startswith("Basic")
        assert exporter.request("/metrics", basic("joe:sec:ret"))[0] == 200


def test_tls(daemon: Served, tmp_path: Path) -> None:
    need_programs("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    argv += ["-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run(
        [*argv, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    options = ("--tls-key", str(key), "--tls-certificate", str(certificate))
    with exported(daemon, *options) as exporter:
        context = ssl.create_default_context(cafile=str(certificate))
        context.check_hostname = False
        connection = http.client.HTTPSConnection(
            exporter.host, exporter.port, timeout=20, context=context
        )
        connection.request("GET", "/metrics", headers={"Host": "localhost"})
        assert b"scst_up 1.0" in connection.getresponse().read()
        connection.close()


def test_names_that_are_no_text(daemon: Served, exporter: Exported) -> None:
    odd = b'd\xff\xc3"x'
    file = str(daemon.directory / "disk0").encode()
    daemon.write("handlers/vdisk_fileio/mgmt", b"add_device " + odd + b" filename=" + file + b"\n")
    try:
        name = sample("scst_device_size_bytes", device='d??"x')
        assert eventually(lambda: name in exporter.metrics())
        for path in ("/api/map", "/api/live", "/api/log"):
            exporter.json(path)
    finally:
        daemon.write("handlers/vdisk_fileio/mgmt", b"del_device " + odd + b"\n")


def test_no_secret_is_served(daemon: Served, exporter: Exported) -> None:
    secret = "averylongsecret"
    daemon.write("targets/iscsi/mgmt", f"add_target_attribute {TARGET} IncomingUser joe {secret}\n")
    try:
        time.sleep(0.5)
        texts = [exporter.get(path) for path in ("/metrics", "/api/map", "/api/live", "/api/log")]
        connection = http.client.HTTPConnection(exporter.host, exporter.port, timeout=20)
        connection.request("GET", "/api/events")
        events = connection.getresponse()
        while b"add_target_attribute" not in (line := events.fp.readline()):
            texts.append(line.decode())
        texts.append(line.decode())
        connection.close()
        assert not any(secret in text for text in texts)
    finally:
        daemon.write("targets/iscsi/mgmt", f"del_target_attribute {TARGET} IncomingUser joe\n")


@contextmanager
def mounted_with_metrics(directory: Path) -> Iterator[tuple[Mounted, Exported]]:
    """`scstfs mount --metrics`, whose exporter answers."""
    need_mounts()
    mountpoint = directory / "tree"
    mountpoint.mkdir()
    argv = [sys.executable, "-m", "scstfs", "mount", "--mountpoint", str(mountpoint)]
    argv += ["--state-dir", str(directory / "state"), "--pid-file", "", "--portal", "127.0.0.1:0"]
    argv += ["--metrics", "127.0.0.1:0"]
    with Mounted(argv, mountpoint, ready="metrics and page: ") as daemon:
        match = re.search(r"http://127.0.0.1:(\d+)/", daemon.log)
        assert match is not None
        exporter = Exported(HOST, int(match[1]))
        assert eventually(lambda: exporter.metrics()["scst_up"]) == 1
        yield daemon, exporter


def is_gone(exporter: Exported) -> bool:
    try:
        exporter.get("/metrics")
    except OSError:
        return True
    return False


def test_mount_with_metrics(tmp_path: Path) -> None:
    with mounted_with_metrics(tmp_path) as (daemon, exporter):
        assert daemon.stop() == 0
        assert is_gone(exporter)
    assert "Traceback" not in daemon.log, daemon.log


def test_the_exporter_ends_when_the_daemon_is_killed(tmp_path: Path) -> None:
    with mounted_with_metrics(tmp_path) as (daemon, exporter):
        os.kill(daemon.pid, signal.SIGKILL)
        assert eventually(lambda: is_gone(exporter))


def test_metrics_for_other_machines_need_the_exporter(tmp_path: Path) -> None:
    need_mounts()
    done = subprocess.run(
        [
            *("unshare", "--mount", sys.executable, "-m", "scstfs", "mount"),
            *("--mountpoint", str(tmp_path), "--state-dir", str(tmp_path / "state")),
            *("--pid-file", "", "--portal", "127.0.0.1:0", "--metrics", "0.0.0.0:0"),
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == ExitStatus.USAGE
    assert "use scstfs exporter" in done.stderr
