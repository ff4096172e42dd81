"""usage: sbom.py DIRECTORY [VENDOR]

Print the software bill of materials (CycloneDX 1.6, as JSON) of scstfs and the libraries that are
installed in DIRECTORY, with licences, and with the hashes of the files in VENDOR that they come
from. It needs nothing but Python's library, because a package is built without a network. The same
input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final

_NAME: Final = "scstfs"
_LICENCE_OF_CLASSIFIER: Final = {
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
}
# Names of licences that libraries write instead of SPDX's identifier.
_SPDX: Final = {"Apache 2.0": "Apache-2.0"}


def canonical(name: str) -> str:
    """Return the name of a library as package indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _field(distribution: Distribution, name: str) -> str:
    """The value of one of a library's metadata, or ""."""
    found = distribution.metadata.get_all(name)
    return str(found[0]) if found else ""


def licence(distribution: Distribution) -> str:
    """Return the SPDX expression of a library's licence, or "" if it states none."""
    stated = _field(distribution, "License-Expression") or _field(distribution, "License")
    if stated:
        return _SPDX.get(stated, stated)
    found = [
        _LICENCE_OF_CLASSIFIER[classifier]
        for classifier in distribution.metadata.get_all("Classifier", [])
        if classifier in _LICENCE_OF_CLASSIFIER
    ]
    return " OR ".join(found)


def _purl(distribution: Distribution) -> str:
    return f"pkg:pypi/{canonical(distribution.name)}@{distribution.version}"


def _component(distribution: Distribution, vendor: Path | None) -> dict[str, Any]:
    purl = _purl(distribution)
    component: dict[str, Any] = {
        "type": "application" if distribution.name == _NAME else "library",
        "bom-ref": purl,
        "name": distribution.name,
        "version": distribution.version,
        "description": _field(distribution, "Summary"),
        "licenses": [{"expression": licence(distribution)}],
        "purl": purl,
    }
    hashes = [] if vendor is None else list(_hashes(distribution, vendor))
    if hashes:
        component["externalReferences"] = hashes
    return component


def _hashes(distribution: Distribution, vendor: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(vendor.iterdir()):
        # A wheel's name ends in three tags, a source distribution's in .tar.gz.
        name, version = file.name.removesuffix(".tar.gz").split("-")[:2]
        if (canonical(name), version) == (canonical(distribution.name), distribution.version):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            yield {
                "type": "distribution",
                "url": f"https://pypi.org/project/{distribution.name}/{distribution.version}/",
                "comment": file.name,
                "hashes": [{"alg": "SHA-256", "content": content}],
            }


def _needed(distribution: Distribution, present: dict[str, str]) -> list[str]:
    """The references to those libraries, of the *present* ones, that this one asks for."""
    found = set()
    for requirement in distribution.requires or ():
        name = re.match(r"[\w.-]+", requirement)
        if name and "extra ==" not in requirement and canonical(name[0]) in present:
            found.add(present[canonical(name[0])])
    return sorted(found)


def bill(directory: Path, vendor: Path | None = None) -> dict[str, Any]:
    """Return the bill of materials of what is installed in *directory*."""
    found = sorted(distributions(path=[str(directory)]), key=lambda each: canonical(each.name))
    present = {canonical(each.name): _purl(each) for each in found}
    (itself,) = (each for each in found if each.name == _NAME)
    contents = "\n".join(present.values())
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, contents)}",
        "version": 1,
        "metadata": {"component": _component(itself, None)},
        "components": [_component(each, vendor) for each in found if each is not itself],
        "dependencies": [
            {"ref": _purl(each), "dependsOn": _needed(each, present)} for each in found
        ],
    }


if __name__ == "__main__":
    directory, *rest = (Path(argument) for argument in sys.argv[1:])
    print(json.dumps(bill(directory, *rest), indent=2, ensure_ascii=False))
