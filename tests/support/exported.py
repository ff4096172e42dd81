"""`scstfs exporter` for a tree that a test has mounted."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.mounted import REPOSITORY, Mounted

_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}


def named(name: str, labels: Mapping[str, str]) -> str:
    """A name for a sample that does not depend on the order of its labels."""
    pairs = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
    return f"{name}{{{pairs}}}" if pairs else name


class Exported:
    """A running exporter."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"

    def request(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, Mapping[str, str], str]:
        """Status, headers, text."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def get(self, path: str) -> str:
        status, _, text = self.request(path)
        assert status == 200, text
        return text

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def metrics(self) -> dict[str, float]:
        """The samples by their names with labels."""
        found = {}
        for family in text_string_to_metric_families(self.get("/metrics")):
            for sample in family.samples:
                found[named(sample.name, sample.labels)] = sample.value
        return found


@contextmanager
def exported(tree: Mounted, *options: str) -> Iterator[Exported]:
    """An exporter inside the namespace of a mounted tree."""
    argv = [sys.executable, "-m", "scstfs", "exporter", "--mountpoint", str(tree.mountpoint)]
    argv = tree.argv_inside(*argv, "--listen", "127.0.0.1:0", *options)
    with subprocess.Popen(argv, env=_ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.search(r"://(\S+):(\d+)/", line)
            assert match is not None, line
            yield Exported(match[1], int(match[2]))
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
