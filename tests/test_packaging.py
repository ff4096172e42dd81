"""What several files say about the package is the same in all of them."""

from __future__ import annotations

import io
import json
import re
import tarfile
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from contrib.package import backend
from contrib.package.sbom import bill, canonical, licence
from scstfs import __version__
from scstfs.admin import conf
from scstfs.portals import DEFAULT_PORT
from tests.support.mounted import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
MAKEFILE = (REPOSITORY / "Makefile").read_text()
DEBIAN = REPOSITORY / "contrib" / "debian"
CONTAINER = REPOSITORY / "contrib" / "container"
PACKAGE = REPOSITORY / "contrib" / "package"


def pins(text: str) -> dict[str, str]:
    """The versions in a file of requirements, by the name of the library."""
    found = re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
    return {canonical(name): version for name, version in found}


def locked(name: str) -> dict[str, str]:
    return pins((PACKAGE / name).read_text())


CONSTRAINTS = pins((REPOSITORY / "constraints.txt").read_text())
BUNDLED_EXTRAS = ("cluster", "metrics")
"""Nobody can install these into the package later."""
OLDEST_PYTHON = {"python_version": "3.11", "python_full_version": "3.11.0"}
"""Asks for all that a newer one asks for."""
DEPENDENCIES = pins(
    "\n".join(
        [
            *PROJECT["project"]["dependencies"],
            *(
                line
                for extra in BUNDLED_EXTRAS
                for line in PROJECT["project"]["optional-dependencies"][extra]
            ),
        ]
    )
)


def debian_version() -> str:
    (version,) = re.findall(r"^scstfs \((.*?)\)", (DEBIAN / "changelog").read_text())
    return str(version)


def test_the_changelogs_begin_with_this_version() -> None:
    # Debian sorts what is behind a tilde before the release.
    assert debian_version() == re.sub(r"(?<=\d)(rc|a|b)", r"~\1", __version__)
    (version, *_) = re.findall(
        r"^## (\S+) \(", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert version == __version__


def test_the_package_has_exactly_the_pinned_libraries() -> None:
    libraries = locked("libraries.txt")
    assert DEPENDENCIES.items() <= libraries.items()
    rest = {name: version for name, version in libraries.items() if name not in DEPENDENCIES}
    assert rest.items() <= CONSTRAINTS.items()
    assert set(libraries) == needed(Requirement(f"scstfs[{','.join(BUNDLED_EXTRAS)}]"))


def needed(requirement: Requirement) -> set[str]:
    """The libraries that this one, which is installed, asks for, and those ask for in turn."""
    found: set[str] = set()
    waiting = [requirement]
    while waiting:
        requirement = waiting.pop()
        for text in distribution(requirement.name).requires or ():
            each = Requirement(text)
            if canonical(each.name) not in found and any(
                each.marker is None or each.marker.evaluate({**OLDEST_PYTHON, "extra": extra})
                for extra in ("", *requirement.extras)
            ):
                found.add(canonical(each.name))
                waiting.append(each)
    return found


def test_every_file_of_a_library_is_pinned() -> None:
    for name in "libraries.txt", "build-tools.txt":
        requirements = re.split(r"\n(?! )", (PACKAGE / name).read_text().strip())
        for requirement in requirements[1:]:
            assert "--hash=sha256:" in requirement, requirement


def test_the_build_tools_are_those_of_the_build() -> None:
    tools = locked("build-tools.txt")
    assert pins((PACKAGE / "build-tools.in").read_text()).items() <= tools.items()
    wanted = pins("\n".join(PROJECT["build-system"]["requires"]))
    assert wanted.items() <= (locked("libraries.txt") | tools).items()


def test_every_library_has_its_copyright() -> None:
    stated = re.findall(r"^Files: vendor/(\S+)-\*$", (DEBIAN / "copyright").read_text(), re.M)
    assert {name.replace("?", "-") for name in stated} == set(locked("libraries.txt"))


def test_the_build_of_the_package_needs_what_every_build_needs() -> None:
    control = (DEBIAN / "control").read_text()
    asked = set(re.findall(r"^ ([\w.-]+)", control.partition("\n\n")[0], re.MULTILINE))
    named = {*backend.HEADERS.values(), *backend.PROGRAMS.values()}
    assert named <= asked
    (listed,) = re.findall(r"^RUN_PACKAGES := ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert named | {backend.COMPILER} <= set(listed.split())


def test_the_example_of_a_configuration_is_right_and_exports_nothing() -> None:
    text = (DEBIAN / "scst.conf").read_text()
    assert not list(conf.parse(text).configuration.walk())[1:]
    example = re.sub(r"^# ?", "", text[text.index("# HANDLER") :], flags=re.MULTILINE)
    parsed = conf.parse(example)
    assert not parsed.problems
    assert {"DEVICE", "TARGET", "LUN"} <= {
        item.kind.keyword for item in parsed.configuration.walk()
    }


# --- Containers -----------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    (service,) = yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"].values()
    return dict(service)


def pod() -> dict[str, Any]:
    for document in yaml.safe_load_all((CONTAINER / "kubernetes.yaml").read_text()):
        if document["kind"] == "StatefulSet":
            return dict(document["spec"]["template"]["spec"])
    raise AssertionError("it has no StatefulSet")


def test_both_manifests_allow_the_same() -> None:
    (container,) = pod()["containers"]
    security, service = container["securityContext"], compose()
    assert security["capabilities"] == {"drop": service["cap_drop"], "add": service["cap_add"]}
    assert security["readOnlyRootFilesystem"] is service["read_only"] is True
    places = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert places == {*service["tmpfs"], *(volume.split(":")[1] for volume in service["volumes"])}
    assert container["ports"] == [{"containerPort": DEFAULT_PORT}]
    assert service["ports"] == [f"{DEFAULT_PORT}:{DEFAULT_PORT}"]


def test_the_manifest_names_this_version() -> None:
    images = {each["image"] for each in (*pod()["containers"], *pod()["initContainers"])}
    assert images == {f"scstfs:{__version__}"}


def test_the_configuration_in_the_manifest_is_right() -> None:
    for document in yaml.safe_load_all((CONTAINER / "kubernetes.yaml").read_text()):
        if document["kind"] == "ConfigMap":
            assert not conf.parse(document["data"]["scst.conf"]).problems


# --- Building -------------------------------------------------------------------------------------


def test_nothing_is_missing_here() -> None:
    assert backend.missing_packages() == []


def test_all_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "HEADERS", {"Python.h": "a", "no/such.h": "b", "none.h": "c"})
    assert backend.missing_packages() == ["b", "c"]
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(backend, "PROGRAMS", {"sh": "d", "no-such-program": "e"})
    assert backend.missing_packages() == ["gcc", "e", "b", "c"]


def test_a_build_that_cannot_be_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "HEADERS", {"no/such.h": "libnone-dev"})
    for hook in backend.get_requires_for_build_wheel, backend.get_requires_for_build_editable:
        with pytest.raises(SystemExit) as stopped:
            hook()
        assert stopped.value.code == "scstfs: libnone-dev is missing: apt-get install libnone-dev"


def test_a_source_distribution_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    contents = []
    for build, names in enumerate((["a", "b", "c"], ["c", "b", "a"])):
        path = tmp_path / f"{build}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size, member.mtime, member.uid = len(name), build, build
                member.uname = f"user{build}"
                member.mode = 0o664 if build else 0o600
                archive.addfile(member, io.BytesIO(name.encode()))
        backend._normalise(path, 1_000_000_000)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    with tarfile.open(path) as archive:
        (member, *_) = archive.getmembers()
        assert (member.name, member.mtime, member.mode) == ("a", 1_000_000_000, 0o644)


def install(directory: Path, name: str, version: str, *more: str) -> None:
    """Metadata as pip installs them."""
    place = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir()
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *more]
    (place / "METADATA").write_text("\n".join(lines))


def test_the_bill_of_materials(tmp_path: Path) -> None:
    site, vendor = tmp_path / "site", tmp_path / "vendor"
    site.mkdir()
    vendor.mkdir()
    needs = ("Requires-Dist: B.lib>=1", "Requires-Dist: absent; extra == 'x'")
    install(site, "scstfs", "1.0", "License-Expression: GPL-2.0-or-later", *needs)
    install(site, "b-lib", "2", "Classifier: License :: OSI Approved :: MIT License")
    (vendor / "b_lib-2-py3-none-any.whl").write_bytes(b"wheel")
    (vendor / "b_lib-3.tar.gz").write_bytes(b"another")
    made = json.loads(json.dumps(bill(site, vendor)))
    assert made == json.loads(json.dumps(bill(site, vendor)))
    (component,) = made["components"]
    assert component["purl"] == "pkg:pypi/b-lib@2"
    assert component["licenses"] == [{"expression": "MIT"}]
    (origin,) = component["externalReferences"]
    assert origin["comment"] == "b_lib-2-py3-none-any.whl"
    assert made["dependencies"] == [
        {"ref": "pkg:pypi/b-lib@2", "dependsOn": []},
        {"ref": "pkg:pypi/scstfs@1.0", "dependsOn": ["pkg:pypi/b-lib@2"]},
    ]


def test_every_library_states_its_licence() -> None:
    one = "[A-Za-z0-9.+-]+"
    for name in locked("libraries.txt"):
        assert re.fullmatch(f"{one}( (OR|AND) {one})*", licence(distribution(name))), name


def test_scripts_run_by_debian_are_executable() -> None:
    for script in DEBIAN / "rules", DEBIAN / "private-environment", PACKAGE / "build-deb":
        assert script.stat().st_mode & 0o111, script
