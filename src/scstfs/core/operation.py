"""Work that takes many steps, each in a worker thread: copies, formatting, sanitizing.

An operation is a generator that runs in the event loop and yields one blocking function after
another; it gets back the function's result or its exception.  Between two steps the worker threads
do other work, and the operation can be stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TypeAlias

from scstfs.core.threads import WorkerPool

Steps: TypeAlias = Generator[Callable[[], object], Any, None]


class Stopped(Exception):  # noqa: N818 - an outcome, not an error
    """Raised in the generator of an operation that was stopped."""


class Operation:
    """Runs ``steps`` in threads of ``pool``, then calls ``ended(error)`` in the event loop.

    The pool must outlast the operation: those of a nexus or a device do not, the global one does.
    """

    def __init__(
        self, pool: WorkerPool, steps: Steps, ended: Callable[[BaseException | None], None]
    ) -> None:
        self._pool = pool
        self._steps = steps
        self._ended = ended
        self._stopped = False

    def start(self) -> None:
        """Begin; it may have ended when this returns."""
        self._advance(partial(next, self._steps))

    def stop(self) -> None:
        """Begin no further step; ``ended`` is called when the present one is over."""
        self._stopped = True

    def _advance(self, resume: Callable[[], Callable[[], object]]) -> None:
        try:
            step = resume()
        except StopIteration:
            self._ended(None)
        except Exception as error:
            # The caller knows what the operation's errors mean.
            self._ended(error)
        else:
            self._pool.submit(step, self._done)

    def _done(self, value: object, error: BaseException | None) -> None:
        if error is None and self._stopped:
            error = Stopped()
        if error is None:
            self._advance(partial(self._steps.send, value))
        else:
            self._advance(partial(self._steps.throw, error))
