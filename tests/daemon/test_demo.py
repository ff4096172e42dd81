"""The README's commands, as the demo takes them from it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from scstfs.admin import conf
from scstfs.admin.check import check

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()


def load_demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", REPOSITORY / "contrib" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_configures_and_then_uses_a_target() -> None:
    demo = load_demo()
    configure, use, save, apply = demo.commands(README)
    assert configure[0].startswith("truncate ")
    assert any(line.startswith('echo "add_device disk1 filename=/disk1;') for line in configure)
    assert configure[-1] == "echo 1 >../enabled"
    assert {line.split()[0] for line in use} >= {"tree", "iscsi-ls", "iscsi-inq", "qemu-img"}
    assert use[-1].startswith("qemu-img compare ")
    assert save == ["scstfs config save /etc/scst.conf"]
    assert "scstfs config apply /etc/scst.conf" in apply


def test_the_configuration_of_the_readme_has_no_mistakes() -> None:
    parsed = conf.parse(load_demo().configuration(README))
    found = [finding.message for finding in check(parsed, None)]
    assert found == ["/disk3: No such file or directory"], "which is made by hand"


def test_only_lines_after_a_prompt_are_commands() -> None:
    text = "```console\n# one\noutput\n# two\n```\n\n```sh\n# no\n```\n```console\n# three\n```\n"
    assert load_demo().commands(text) == [["one", "two"], ["three"]]
