"""Configuration files as they are found in the field, with scstadmin and with `scstfs config`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from scstfs.admin import conf
from tests.support.admin import Admin, administered, essence
from tests.support.configurations import backing_files

pytestmark = pytest.mark.slow

FILES: Final = sorted((Path(__file__).parents[1] / "data" / "scst_conf").glob("*.conf"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_load(file: Path, tmp_path: Path) -> None:
    backing_files(tmp_path)
    given = tmp_path / file.name
    given.write_text(file.read_text().replace("@/", f"{tmp_path}/"))
    wanted = conf.parse(given.read_text())
    assert not wanted.problems
    with administered(tmp_path) as admin:
        checked = admin.scstadmin("-check_config", str(given))
        assert "0 errors" in checked.stdout or "warnings found" in checked.stdout
        done = admin.scstadmin("-config", str(given))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING: Received" not in done.stdout, done.stdout
        theirs = essence(admin.look())
        saved = tmp_path / "saved.conf"
        assert admin.scstadmin("-write_config", str(saved)).returncode == 0
        assert nothing_to_do(admin, given)
        assert nothing_to_do(admin, saved)

        admin.scstadmin("-clear_config", "-force", "-noprompt")
        assert admin.config("check", str(given)).returncode == 0
        done = admin.config("apply", str(given))
        assert done.returncode == 0, done.stderr
        assert essence(admin.look()) == theirs
        assert nothing_to_do(admin, given)

        assert admin.config("save", str(given)).returncode == 0
        assert essence(conf.parse(given.read_text()).configuration).keys() == theirs.keys()
        comments = [line.partition("#")[2] for line in file.read_text().splitlines()]
        assert all(comment in given.read_text() for comment in comments)
        assert nothing_to_do(admin, given)


def nothing_to_do(admin: Admin, file: Path) -> bool:
    done = admin.config("diff", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "nothing to do\n", done.stdout
    return True
