"""The manual's examples, run as written."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.storage import SCST_TGT, Storage, storage
from tests.support.mounted import REPOSITORY
from tests.support.needs import need_programs

pytestmark = pytest.mark.slow

PROGRAMS = f"""
export PYTHONPATH={REPOSITORY / "src"}
scstfs() {{ {sys.executable} -m scstfs "$@"; }}
scstadmin() {{ {sys.executable} -c 'import sys
from scstfs.admin.scstadmin.program import main
sys.exit(main())' "$@"; }}
set -e
"""


def examples(page: str) -> list[str]:
    """The commands of each example of a page."""
    source = (REPOSITORY / "contrib" / "man" / page).read_text().replace("\\e", "\\")
    blocks = re.findall(r"^\.Bd [^\n]*\n(.*?)^\.Ed$", source, re.MULTILINE | re.DOTALL)
    return [re.sub(r"^# ", "", block, flags=re.MULTILINE) for block in blocks if block[0] == "#"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Storage]:
    with storage(tmp_path, mountpoint=SCST_TGT) as served:
        yield served


def run(served: Storage, script: str, directory: Path) -> str:
    """Run a script with files of the machine replaced by others."""
    for name in ("/disk1", "/etc/scst.conf"):
        script = script.replace(name, f"{directory}/{os.path.basename(name)}")
    done = served.running.sh(PROGRAMS + script)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def luns(served: Storage) -> list[str]:
    at = served.running.path / "targets/iscsi/iqn.2005-03.org.example:disk/luns"
    return sorted(os.listdir(at))


def test_the_examples_of_scstfs(served: Storage, tmp_path: Path) -> None:
    need_programs("jq")
    configure, save, watch, top = examples("scstfs.8")
    run(served, configure, tmp_path)
    assert luns(served) == ["0", "mgmt"]
    run(served, save, tmp_path)
    assert "filename" in (tmp_path / "scst.conf").read_text()
    assert "no problems" in run(served, watch, tmp_path)
    assert "--interval 10 " in top
    assert run(served, top.replace("--interval 10", "--interval 0.2 --once"), tmp_path) == "[]\n"


def test_the_examples_of_scstadmin(served: Storage, tmp_path: Path) -> None:
    (tmp_path / "disk1").write_bytes(bytes(1 << 20))
    (configure,) = examples("scstadmin.1")
    run(served, configure, tmp_path)
    assert luns(served) == ["0", "mgmt"]
    assert served.read("targets/iscsi/enabled") == "1"
    assert "LUN 0 disk1" in (tmp_path / "scst.conf").read_text()


def test_the_example_of_a_configuration(served: Storage, tmp_path: Path) -> None:
    page = (REPOSITORY / "contrib" / "man" / "scst.conf.5").read_text()
    (example,) = re.findall(r"^\.Bd [^\n]*\n(.*?)^\.Ed$", page, re.MULTILINE | re.DOTALL)
    for name in ("disk1", "disk2"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
    (tmp_path / "scst.conf").write_text(example.replace("/srv/", f"{tmp_path}/"))
    run(served, "scstfs config apply /etc/scst.conf", tmp_path)
    at = "targets/iscsi/iqn.2005-03.org.example:disks"
    assert served.read(f"{at}/ini_groups/readers/luns/0/read_only") == "1"
    assert "no problems" in run(served, "scstfs status problems", tmp_path)
