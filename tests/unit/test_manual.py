"""The manual has what the programs have."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import pytest

from scstfs import cli, iscsi_scstd
from scstfs.admin import conf, kinds
from scstfs.admin.kinds import Kind
from scstfs.admin.scstadmin.options import OPTIONS, Value
from scstfs.errors import ExitStatus
from tests.support.mounted import REPOSITORY
from tests.support.needs import need_programs

MANUAL = REPOSITORY / "contrib" / "man"
PAGES = sorted(MANUAL.iterdir())


def source(name: str) -> str:
    return (MANUAL / name).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing(page: Path) -> None:
    need_programs("mandoc")
    # Beside each other the pages find what they refer to.
    argv = ["mandoc", "-T", "lint", "-W", "style", page.name]
    done = subprocess.run(argv, cwd=MANUAL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_man_shows_it_without_a_warning(page: Path) -> None:
    need_programs("man", "groff")
    argv = ["man", "--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l", str(page)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert not done.stderr
    assert done.stdout


def test_scstadmin_has_all_options() -> None:
    described = re.findall(r"^\.It Fl (\w+)(.*)$", source("scstadmin.1"), re.MULTILINE)
    assert {name for name, _rest in described} == {option.name for option in OPTIONS}
    for option in OPTIONS:
        rests = {rest for name, rest in described if name == option.name}
        value = {Value.NO: "", Value.OPTIONAL: " Op Ar", Value.MANDATORY: " Ar"}[option.value]
        assert all(rest.startswith(value) for rest in rests), option.name
        assert value or rests == {""}, option.name


def commands() -> dict[str, argparse.ArgumentParser]:
    """The commands of scstfs, each with its words."""

    def below(words: str, parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
        found = {}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, child in action.choices.items():
                    found.update(below(f"{words} {name}", child))
        return found or {words: parser}

    return below("scstfs", cli.parser())


def sections(page: str) -> dict[str, str]:
    """The subsections of a page, by heading without arguments."""
    parts = re.split(r"^\.S[sh] (.*)$", page, flags=re.MULTILINE)
    headings = [re.sub(r" (Ar|Op) .*", "", heading) for heading in parts[1::2]]
    return dict(zip(headings, parts[2::2], strict=True))


@pytest.mark.parametrize("words", sorted(commands()))
def test_scstfs_has_all_options_of(words: str) -> None:
    options = [action for action in commands()[words]._actions if action.option_strings]
    section = sections(source("scstfs.8"))[words]
    described = dict(re.findall(r"^\.It Fl Fl ([\w-]+)(.*)$", section, re.MULTILINE))
    names = {name.removeprefix("--"): a for a in options for name in a.option_strings}
    del names["-h"], names["help"]  # said once, of all commands
    assert set(described) == set(names)
    for name, action in names.items():
        assert bool(described[name]) == (action.nargs != 0), name
        for choice in action.choices or ():
            assert re.search(rf"^\.(It )?(Cm|Ic) {choice}\b", source("scstfs.8"), re.MULTILINE)


def test_the_synopsis_has_all_options_but_those_of_config() -> None:
    synopsis = sections(source("scstfs.8"))["SYNOPSIS"]
    for words, parser in commands().items():
        if "config" not in words:
            (part,) = re.findall(
                rf"^\.Nm\n\.Cm {words.split()[-1]}\n(.*?)(?=^\.Nm|\Z)", synopsis, re.M | re.S
            )
            found = set(re.findall(r"Fl Fl ([\w-]+)", part))
            names = {n for a in parser._actions for n in a.option_strings if n[:2] == "--"}
            assert found == {name[2:] for name in names} - {"help"}, words


def test_all_exit_statuses_are_explained() -> None:
    section = sections(source("scstfs.8"))["EXIT STATUS"]
    found = re.findall(r"^\.It (\d+)$", section, re.MULTILINE)
    assert [int(number) for number in found] == [status.value for status in ExitStatus]
    for status in ExitStatus:
        if "`" not in status.meaning:
            assert status.meaning.lower() in section.lower(), status


def test_all_statements_are_explained() -> None:
    def keywords(kind: Kind) -> set[str]:
        return {kind.keyword}.union(*(keywords(child) for child in kind.children))

    page = source("scst.conf.5")
    described = set(re.findall(r"^\.It Ic (\w+)", page, re.MULTILINE))
    assert described == keywords(kinds.ROOT) - {""} | {kinds.HW_TARGET}


def test_the_example_of_a_configuration_can_be_read() -> None:
    (example,) = re.findall(r"^\.Bd [^\n]*\n(.*?)^\.Ed$", source("scst.conf.5"), re.M | re.S)
    parsed = conf.parse(example)
    assert not parsed.problems
    assert {item.kind.keyword for item in parsed.configuration.walk()} >= {"DEVICE", "INITIATOR"}


def test_iscsi_scstd_has_all_options() -> None:
    described = re.findall(r"^\.It Fl (\w) , Fl Fl (\w+)", source("iscsi-scstd.8"), re.MULTILINE)
    options = iscsi_scstd.parser()._actions
    assert set(described) == {
        tuple(name.lstrip("-") for name in action.option_strings) for action in options
    }
