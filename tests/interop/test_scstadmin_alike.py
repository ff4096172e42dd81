"""Our scstadmin and SCST's, one beside the other: what they print, how they end, what they do.

Where SCST's program goes through a hash of Perl's, the order of its lines is another one each
time, so that lines are compared without their order.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

import pytest

from tests.interop.scstadmin import OURS, PERL, Scstadmin, scstadmin
from tests.support.configurations import MIB, backing_files, random_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DATA: Final = Path(__file__).parents[1] / "data" / "scstadmin"
CONFIGURATIONS: Final = 30

_PERLS_OWN: Final = re.compile(r"Use of uninitialized value .*?line \d+\.\n", re.DOTALL)
_TREE: Final = r"""
find . -path ./sgv -prune -o \( -type f -o -type l \) -print |
grep -v -e last_sysfs -e trace_ -e cmd_count -e io_count -e latency -e thread_pid -e exported |
while read file; do echo "$file: $(head -c 300 $file 2>&1 | tr '\n' '|') $(readlink $file)"; done
"""
_INSTANCE: Final = re.compile(r"(IncomingUser|OutgoingUser|allowed_portal)\d+:")


class Side:
    """A program with its own daemon and its own directory, which its files call ``@``."""

    def __init__(self, admin: Scstadmin, directory: Path) -> None:
        self.admin = admin
        self.directory = directory
        for number in (1, 2, 3):
            (directory / f"d{number}").write_bytes(bytes(MIB))
        for file in DATA.glob("*.conf"):
            text = file.read_text().replace("@/", f"{directory}/")
            (directory / file.name).write_text(text)

    def neutral(self, text: str) -> str:
        return re.sub(r"DBG\(\d+\)", "DBG(PID)", text.replace(str(self.directory), "@"))

    def run(self, line: str) -> CompletedProcess[str]:
        """Run scstadmin with the options of a line: ``<ANSWER>OPTIONS``, or just options."""
        match = re.fullmatch(r"(?:<(.*?)>)?(.*)", line)
        assert match is not None
        options = shlex.split(match[2].replace("@/", f"{self.directory}/"))
        return self.admin.ask(*options, answer=f"{match[1]}\n" if match[1] else "")

    def lines(self, done: CompletedProcess[str]) -> list[str]:
        return sorted(self.neutral(done.stdout).splitlines())

    def errors(self, done: CompletedProcess[str]) -> str:
        return self.neutral(_PERLS_OWN.sub("", done.stderr))

    def tree(self) -> list[str]:
        listed = self.neutral(self.admin.served.running.sh(_TREE).stdout)
        return sorted(_INSTANCE.sub(r"\1:", line) for line in listed.splitlines())


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    """SCST's program and ours."""
    places = tmp_path / PERL, tmp_path / OURS
    for place in places:
        place.mkdir()
    with scstadmin(places[0], PERL) as perl, scstadmin(places[1], OURS) as ours:
        yield Side(perl, places[0]), Side(ours, places[1])


@pytest.mark.parametrize("script", ["commands", "configurations"])
def test_both_say_and_do_the_same(sides: tuple[Side, Side], script: str) -> None:
    perl, ours = sides
    for line in (DATA / f"{script}.txt").read_text().splitlines():
        if line == "TREE":
            assert ours.tree() == perl.tree()
            continue
        theirs, mine = perl.run(line), ours.run(line)
        assert ours.lines(mine) == perl.lines(theirs), line
        assert mine.returncode == theirs.returncode, line
        assert ours.errors(mine) == perl.errors(theirs), line


def test_each_reads_what_the_other_wrote(tmp_path: Path) -> None:
    backing_files(tmp_path)
    given, mine, theirs = (tmp_path / name for name in ("given", "mine", "theirs"))
    with scstadmin(tmp_path, OURS) as admin:
        for seed in range(CONFIGURATIONS):
            given.write_text(random_text(seed, tmp_path, local=bool(seed % 2)))
            # Targets of scst_local cannot be disabled, which is tried and is an error.
            admin("-config", str(given), "-cont_on_err")
            admin("-write_config", str(mine))
            assert admin.theirs("-write_config", str(theirs)).returncode == 0
            written = mine.read_text()
            assert written == theirs.read_text(), seed

            clear(admin)
            done = admin.theirs("-config", str(mine), "-cont_on_err")
            assert done.returncode == 0, f"{seed}\n{done.stdout}{done.stderr}"
            admin("-write_config", str(given))
            assert comparable(given) == comparable(mine), seed

            clear(admin)
            admin("-config", str(theirs), "-cont_on_err")
            admin("-write_config", str(given))
            assert comparable(given) == comparable(theirs), seed

            admin("-write_config", str(mine), "-nonkey")
            assert admin.theirs("-write_config", str(theirs), "-nonkey").returncode == 0
            assert mine.read_text() == theirs.read_text(), seed
            clear(admin)


def clear(admin: Scstadmin) -> None:
    """Everything is as in the beginning; -clear_config leaves attributes that it cannot remove."""
    admin("-clear_config", "-force")
    for path, value in (
        ("max_tasklet_cmd", "10"),
        ("poll_us", "0"),
        ("setup_id", "0"),
        ("cluster_name", ""),
        ("targets/iscsi/link_local", "1"),
    ):
        admin.served.write(path, value)


def comparable(file: Path) -> str:
    """Without the copy manager's LUNs, whose numbers keep counting."""
    return re.sub(
        r"^TARGET_DRIVER copy_manager \{\n(.*\n)*?\}\n", "", file.read_text(), flags=re.MULTILINE
    )
