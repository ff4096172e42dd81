"""What must hold whatever an initiator, or an iSNS server, sends.

Invariant: any bytes give events or a ``ProtocolError``, never another exception; no memory is given
back twice or never; every command gets exactly one answer, unless it was aborted or the connection
ended; numbers that the standard says never go back never do; and nothing is kept without a bound.

Each target is a function ``run(data)`` that reads its input as a script of what happens and raises
where the invariant does not hold: ``engine`` (full-feature phase with a host that behaves in any
way that a host may), ``login`` (the login machine with its text), ``text`` (key=value text and
negotiation) and ``isns``.

    python -m fuzz engine -max_total_time=600

looks for such inputs with atheris (extra ``fuzz``), guided by coverage.  ``tests/test_fuzz.py``
runs what was found interesting so far (``tests/data/fuzz``) and mutations of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fuzz import engine, isns, login, text

TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {"engine": engine.run, "isns": isns.run, "login": login.run, "text": text.run}
)

CORPUS: Final = Path(__file__).parent.parent / "tests" / "data" / "fuzz"
"""One directory per target."""
