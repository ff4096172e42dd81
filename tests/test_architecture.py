"""The shape of the source: layers as drawn, modules of a readable size."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LONGEST = 600

# Modules that are longer, each with the reason.
LONG: dict[str, str] = {}

LONGEST_FUNCTION = 80
# Functions that are longer, each with the reason.
LONG_FUNCTIONS = {"scstfs.cli.parser": "a list of options and what they mean"}

MOST_METHODS = 30
# Classes with more methods, each with the reason.
LARGE_CLASSES = {
    "scstfs.fuse.operations.Operations": "what pyfuse3 calls, a method for each request"
}

# Modules that import each other, by way of others or only for annotations, each with the reason.
CIRCLES = {
    (
        "core.command",
        "core.device",
        "core.session",
        "core.target",
    ): "SAM defines them by each other",
    (
        "drivers.iscsi.disk_io",
        "drivers.iscsi.iscsi_command",
        "drivers.iscsi.tmf",
        "drivers.iscsi.nexus",
        "drivers.iscsi.session_host",
        "drivers.iscsi.views",
    ): "a session and its parts",
    (
        "iscsi.connection",
        "iscsi.credit",
        "iscsi.functions",
        "iscsi.host",
        "iscsi.replies",
        "iscsi.task",
        "iscsi.task_table",
        "iscsi.text_exchange",
        "iscsi.unanswered",
        "iscsi.write_data",
    ): "a connection and its parts",
    (
        "handlers.scsi_response_filters",
        "handlers.scsi_command",
        "handlers.scsi_device",
        "handlers.scsi_no_node",
    ): "a pass-through device and the execution of its commands",
    (
        "aio.backend",
        "aio.engine",
        "aio.file",
        "aio.handover",
        "aio.lane",
        "aio.order",
        "aio.request",
    ): "requests, the queues of a file that they wait in, and what executes them",
    (
        "handlers.medium_change",
        "handlers.vdisk",
    ): "a device follows its access state by opening its medium",
}

# Modules of one name, each with the reason. All other names are used once.
SAME_MODULES = {
    "__init__": "a package's own text",
    "accounts": "users and portals of iSCSI, and their rows of the tree",
    "alua": "the commands and states in scsi, the groups that have them in core",
    "errors": "each world's own exceptions",
    "mmc": "parameter data in scsi, the commands that use it in handlers",
    "options": "the command line of each program",
    "program": "each program's main function",
    "sbc": "parameter data in scsi, the commands that use it in handlers",
    "sessions": "rows that all sessions have, and those of iSCSI",
    "spc": "parameter data in scsi, the commands that use it in handlers",
    "targets": "rows that all targets have, and those of iSCSI",
    "trace": "trace levels in core, and their rows of the tree",
}
# Classes of one name, each with the reason.
SAME_CLASSES: dict[str, str] = {}


@pytest.mark.slow
def test_imports_follow_the_layers() -> None:
    """The contracts in pyproject.toml, which say which package may import which."""
    pytest.importorskip("importlinter", reason="needs import-linter")
    # In a separate process: it reconfigures logging for its whole process.
    script = "import sys; from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_is_longer_than_anybody_wants_to_read() -> None:
    lengths = {
        str(path.relative_to(REPOSITORY)): path.read_text().count("\n")
        for directory in ("src", "tests", "bench", "contrib", "fuzz")
        for path in (REPOSITORY / directory).rglob("*.py")
    }
    assert lengths
    long = {path: lines for path, lines in lengths.items() if lines > LONGEST}
    assert set(long) == set(LONG), long


def test_every_module_says_what_it_is() -> None:
    for path in (REPOSITORY / "src").rglob("*.py"):
        text = path.read_text()
        assert not text or text.startswith(('"""', 'r"""')), path
        if re.search(r"^(import|from|class|def|async) ", text, re.MULTILINE):
            assert "\nfrom __future__ import annotations\n" in text, path


def test_dependencies_are_pinned_exactly() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pins = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        pins += [pin for pin in extra if not pin.startswith("scstfs[")]
    pins += [
        line
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert all(pin.count("==") == 1 for pin in pins), pins


# Sizes


def modules() -> dict[str, ast.Module]:
    """All of the product's modules by their names."""
    found = {}
    for path in (REPOSITORY / "src").rglob("*.py"):
        name = ".".join(path.relative_to(REPOSITORY / "src").with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


def test_functions_and_classes_are_small() -> None:
    functions, classes = {}, {}
    for name, module in modules().items():
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions[f"{name}.{node.name}"] = (node.end_lineno or 0) - node.lineno + 1
            elif isinstance(node, ast.ClassDef):
                classes[f"{name}.{node.name}"] = sum(
                    isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
                    for member in node.body
                )
    assert {name for name, lines in functions.items() if lines > LONGEST_FUNCTION} == set(
        LONG_FUNCTIONS
    )
    assert {name for name, count in classes.items() if count > MOST_METHODS} == set(LARGE_CLASSES)


def named_types(module: ast.Module) -> Iterator[str]:
    """The classes of a module, and its public names for types."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and re.match("[A-Z]+[a-z]", target.id):
                yield target.id


def repeated(names: Iterable[str]) -> set[str]:
    """Those that occur more than once."""
    return {name for name, count in Counter(names).items() if count > 1}


def test_a_name_means_one_thing() -> None:
    paths = (REPOSITORY / "src" / "scstfs").rglob("*.py")
    assert repeated(path.stem for path in paths) == set(SAME_MODULES)
    names = chain.from_iterable(named_types(module) for module in modules().values())
    assert repeated(names) == set(SAME_CLASSES)


def test_types_of_one_name_are_found() -> None:
    source = "class A: ...\nBee = int\n_Cee = int\nDEE = 1\nEf: TypeAlias = int\nclass A: ..."
    found = list(named_types(ast.parse(source)))
    assert sorted(found) == ["A", "A", "Bee", "Ef"]
    assert repeated(found) == {"A"}


def imported(module: ast.Module, known: Iterable[str]) -> set[str]:
    """The product's modules that a module names, be it only for annotations."""
    found = set()
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found.intersection(known)


def circles(graph: Mapping[str, set[str]]) -> set[tuple[str, ...]]:
    """The largest sets of modules each of which leads to each other one."""
    reached = {name: set(following) for name, following in graph.items()}
    for between in graph:
        for following in reached.values():
            if between in following:
                following |= reached[between]
    return {
        tuple(sorted({other for other in reached[name] if name in reached[other]}))
        for name in graph
        if name in reached[name]
    }


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert circles(graph) == {("a", "b", "c"), ("d", "e")}


def test_only_what_belongs_together_imports_each_other() -> None:
    found = modules()
    graph = {name: imported(module, found) - {name} for name, module in found.items()}
    kept = {tuple(sorted(f"scstfs.{name}" for name in circle)) for circle in CIRCLES}
    assert circles(graph) == kept


# The event loop

# What the event loop never comes to: other programs, what runs before and after it, and what is for
# worker threads by its contract.
OUTSIDE_THE_LOOP = (
    "scstfs.admin",
    "scstfs.aio.apart",
    "scstfs.aio.build",
    "scstfs.background",
    "scstfs.cli",
    "scstfs.document",
    "scstfs.exporter",
    "scstfs.iscsi_scstd",
    "scstfs.mounter",
    "scstfs.mounting",
    "scstfs.mountpoint",
    "scstfs.namespaces",
    "scstfs.options",
    "scstfs.persist",
    "scstfs.privileges",
    "scstfs.sandbox",
    "scstfs.scsi.opcode_document",
    "scstfs.system",
)

IN_A_THREAD = "in a worker thread"
NO_DISK = "what the kernel has in memory"
NO_WAIT = "the kernel is asked not to wait, or has told that it need not"

# Where calls are that might wait for a disk, and why they do not keep the event loop waiting.
MAY_CALL = {
    "scstfs.aio.backend.Backend": NO_DISK,
    "scstfs.aio.handover.Handover": NO_DISK,
    "scstfs.cluster.etcd._first_line": IN_A_THREAD,
    "scstfs.core.device_registration.register.load": IN_A_THREAD,
    "scstfs.drivers.iscsi.initiator_access._read": "small files of /etc, read at each login",
    "scstfs.drivers.iscsi.wire.Wire._send_file": NO_WAIT,
    "scstfs.drivers.scst_local._first_free_host": NO_DISK,
    "scstfs.handlers.asking.asking": IN_A_THREAD,
    "scstfs.handlers.block_device": NO_DISK,
    "scstfs.handlers.device_node": IN_A_THREAD,
    "scstfs.handlers.page_cache.LentFile": NO_WAIT,
    "scstfs.handlers.passthrough": IN_A_THREAD,
    "scstfs.handlers.protection._probe": IN_A_THREAD,
    "scstfs.handlers.spc": IN_A_THREAD,
    "scstfs.handlers.store.FileStore.__init__": IN_A_THREAD,
    "scstfs.handlers.store.FileStore._close_descriptor": "of a store without an engine",
    "scstfs.handlers.store.FileStore._identify": IN_A_THREAD,
    "scstfs.handlers.store.FileStore._open": IN_A_THREAD,
    "scstfs.handlers.store.FileStore._read": IN_A_THREAD,
    "scstfs.handlers.store.FileStore._seek": IN_A_THREAD,
    "scstfs.handlers.store.FileStore._write": IN_A_THREAD,
    "scstfs.handlers.store.FileStore.abandon": IN_A_THREAD,
    "scstfs.handlers.store.FileStore.flush": IN_A_THREAD,
    "scstfs.handlers.store.FileStore.measure": IN_A_THREAD,
    "scstfs.handlers.store.FileStore.prefetch": IN_A_THREAD,
    "scstfs.handlers.store.FileStore.try_read": NO_WAIT,
    "scstfs.handlers.store.FileStore.try_write": NO_WAIT,
    "scstfs.handlers.store.FileStore.usage": IN_A_THREAD,
    "scstfs.handlers.store._takes_direct": IN_A_THREAD,
    "scstfs.handlers.store_copy._copy_in_kernel": IN_A_THREAD,
    "scstfs.handlers.syscalls": IN_A_THREAD,
    "scstfs.handlers.vdisk.VdiskDevice.load_modes": IN_A_THREAD,
    "scstfs.journal.LogSocket": "in the log's thread",
    "scstfs.log": "in the log's thread, or before and after the loop",
    "scstfs.mounts": NO_DISK,
    "scstfs.signals.SignalWatch": "in the thread of signals",
    "scstfs.tree.devices._check_file_name": IN_A_THREAD,
}

# Modules whose functions are system calls …
CALLING = {
    "apart", "calls", "durable_files", "fcntl", "glob", "os", "shutil", "subprocess", "tempfile",
}  # fmt: skip
# … but these are none, or such as have nothing to do with disks.
HARMLESS = re.compile(
    r"os\.([A-Z_]+|_exit|cpu_count|dup|environ\.\w+|eventfd\w*|fs(path|encode|decode)|get\w*id|kill|major"
    r"|makedev|memfd_create|minor|path\.(basename|dirname|isabs|join|normpath|relpath|samestat)"
    r"|pipe|sched_\w+|strerror|uname|urandom)|apart\.(closed|waiting)"
)
# Methods of paths, and of the state directory, whatever the path is called.
METHODS = {
    "exists", "is_block_device", "is_dir", "is_file", "is_mount", "is_symlink", "iterdir",
    "load_modes", "lstat", "mkdir", "read_bytes", "read_text", "rglob", "rmdir", "samefile",
    "save_modes", "stat", "symlink_to", "touch", "unlink", "write_bytes", "write_text",
}  # fmt: skip
# Functions of no module, and those that wait for time.
FUNCTIONS = {"open", "time.sleep"}


def dotted(node: ast.expr) -> str:
    """The name of a function as it is called, "" if it has none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def is_system_call(function: ast.expr) -> bool:
    """Calling it, or having it called, may wait for a disk."""
    name = dotted(function)
    if name in FUNCTIONS:
        return True
    if name.partition(".")[0] in CALLING:
        return "." in name and not HARMLESS.fullmatch(name)
    return isinstance(function, ast.Attribute) and function.attr in METHODS


def system_calls(node: ast.AST, where: str) -> Iterator[tuple[str, str]]:
    """The places of system calls below ``node``, and what is called there."""
    for child in ast.iter_child_nodes(node):
        below = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            below = f"{where}.{child.name}"
        elif isinstance(child, ast.Call):
            # What is handed to somebody to be called counts, too.
            for function in (child.func, *child.args):
                if is_system_call(function):
                    yield where, ast.unparse(function)
        yield from system_calls(child, below)


def is_within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def test_system_calls_are_found() -> None:
    source = (
        "import os\n"
        "class A:\n"
        "    def f(self): os.open('x', 0); os.strerror(1); self.path.is_dir()\n"
        "async def g(): await thread(os.fsync, 1); open('x'); window.open(); apart.closed(1)\n"
    )
    assert list(system_calls(ast.parse(source), "m")) == [
        ("m.A.f", "os.open"),
        ("m.A.f", "self.path.is_dir"),
        ("m.g", "os.fsync"),
        ("m.g", "open"),
    ]


def test_the_event_loop_waits_for_no_disk() -> None:
    found: dict[str, set[str]] = {}
    for name, module in modules().items():
        if not any(is_within(name, outside) for outside in OUTSIDE_THE_LOOP):
            for where, call in system_calls(module, name):
                found.setdefault(where, set()).add(call)
    unexplained = {
        where: calls
        for where, calls in found.items()
        if not any(is_within(where, place) for place in MAY_CALL)
    }
    assert not unexplained
    unused = [place for place in MAY_CALL if not any(is_within(name, place) for name in found)]
    assert not unused
