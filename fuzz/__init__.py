"""Fuzzing: invariants for any input of an initiator or an iSNS server.

Invariant: any bytes give events or a ``ProtocolError``, never another exception; no memory is given
back twice or never; every command gets exactly one answer, unless it was aborted or the connection
ended; numbers that must not go back according to the standard never do; and nothing is kept without
a bound.

Each target is a function ``run(data)`` that reads its input as a script of events and raises if the
invariant does not hold: ``engine`` (full-feature phase with a host that behaves in any way that a
host may), ``login`` (the login machine with its text), ``text`` (key=value text and negotiation),
``isns`` (messages of an iSNS server), ``tree`` (any text written to any attribute: an errno or
success) and ``fast`` (READs and WRITEs: the fast path makes no difference).

    make fuzz ARGS='engine login --seconds 600'

looks for such inputs with atheris (extra ``fuzz``), guided by coverage, and ``make fuzz
ARGS=--minimise`` keeps those with new coverage in ``tests/data/fuzz``. ``tests/test_fuzz.py`` runs
these and mutations of them, without atheris.
"""
