"""The Containerfile and the manifests: carried out with exactly what they allow."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from contrib.package.conftest import Builds
from contrib.package.container import Image, Limits, running
from contrib.package.machine import REPOSITORY, Machine
from contrib.package.test_package import CONFIGURATION, TARGET
from scstfs.errors import ExitStatus

DIRECTORY = REPOSITORY / "contrib" / "container"
CAP_SYS_ADMIN = 1 << 21


def service() -> dict[str, Any]:
    (service,) = yaml.safe_load((DIRECTORY / "compose.yaml").read_text())["services"].values()
    return dict(service)


@pytest.fixture(scope="module")
def limits() -> Limits:
    """Those of compose.yaml."""
    found = service()
    assert found["cap_drop"] == ["ALL"]
    volumes = [volume.split(":")[1] for volume in found["volumes"] if not volume.endswith(":ro")]
    return Limits(
        capabilities=found["cap_add"],
        devices=[device.split(":")[1] for device in found["devices"]],
        read_only=found["read_only"],
        no_new_privileges="no-new-privileges:true" in found["security_opt"],
        tmpfs=found["tmpfs"],
        volumes=volumes,
    )


@pytest.fixture(scope="module")
def image(directory: Path, bare: Machine, builds: Builds) -> Image:
    context = directory / "context"
    context.mkdir()
    for file in DIRECTORY / "Containerfile", builds.deb:
        shutil.copy(file, context)
    image = Image.build(bare.copy(directory / "image"), context / "Containerfile")
    image.machine.path("/etc/scst.conf").write_text(CONFIGURATION.replace("/srv/", "/disks/"))
    image.machine.path("/disks").mkdir()
    with image.machine.path("/disks/disk1").open("wb") as disk:
        disk.truncate(16 << 20)
    image.machine.path("/var/lib/scst").mkdir(exist_ok=True)
    return image


def lines_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """The output up to a line with this text, or its end."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            break
    return lines


def test_it_serves_a_user_with_nothing_but_what_compose_allows(
    image: Image, limits: Limits
) -> None:
    with running(image, limits) as process:
        lines = lines_until(process, ": ready: ")
        assert process.poll() is None, lines
        assert ": ready: " in lines[-1], lines
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        status = dict(
            line.split(":\t", 1) for line in Path("/proc", child, "status").read_text().splitlines()
        )
        assert int(status["CapBnd"], 16) == CAP_SYS_ADMIN
        assert int(status["CapPrm"], 16) | CAP_SYS_ADMIN == CAP_SYS_ADMIN
        assert status["NoNewPrivs"] == "1"
        argv = ["nsenter", "--net", "--target", child, sys.executable]
        done = subprocess.run(
            [*argv, "-m", "contrib.package.session", TARGET],
            cwd=REPOSITORY,
            input="x",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        subprocess.run(["kill", f"-{signal.SIGTERM}", child], check=True)
        assert process.wait(service_seconds()) == ExitStatus.OK
    # The reservation key, of an initiator, and the configuration are in the volume.
    assert list(image.machine.path("/var/lib/scst/pr").iterdir())


def service_seconds() -> float:
    """How long a container engine waits before it kills."""
    return float(service()["stop_grace_period"].removesuffix("s"))


@pytest.mark.parametrize(
    ("less", "status"),
    [
        ({"capabilities": []}, ExitStatus.NOT_PERMITTED),
        ({"devices": []}, ExitStatus.NO_FUSE),
        ({"tmpfs": []}, ExitStatus.PID_FILE),
        ({"volumes": []}, ExitStatus.STATE_DIR),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_with_less_it_says_what_is_missing(
    image: Image, limits: Limits, less: dict[str, list[str]], status: ExitStatus
) -> None:
    with running(image, dataclasses.replace(limits, **less)) as process:  # type: ignore[arg-type]
        lines = lines_until(process, ": ready: ")
        assert process.wait(30) == status, lines
        assert lines[-1].startswith("scstfs: ")
