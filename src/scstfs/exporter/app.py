"""What is served: metrics, the page and what it asks for, events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from importlib import resources
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from scstfs.admin.observations import log_lines
from scstfs.exporter.families import families
from scstfs.exporter.feed import EventFeed, TooManyFollowersError
from scstfs.exporter.guard import Guard
from scstfs.exporter.listening import Protection
from scstfs.exporter.lookout import Lookout
from scstfs.exporter.mass_samples import MassSamples
from scstfs.exporter.picture import session_details
from scstfs.exporter.reading import Reading, TreeReader

FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/lists.js": ("lists.js", "text/javascript; charset=utf-8"),
    "/map.js": ("map.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/uPlot.js": ("uplot/uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/uPlot.css": ("uplot/uPlot.min.css", "text/css; charset=utf-8"),
}
"""The page's files, by path: where they are in the package, and their types."""

_OPEN_METRICS: Final = "application/openmetrics-text"
_END: Final = b"# EOF\n"
_KEEP_ALIVE_SECONDS: Final = 15.0


class _OneReading(Collector):
    """The metrics of one reading, for an encoder of prometheus_client."""

    def __init__(self, reading: Reading | None) -> None:
        self._reading = reading

    def collect(self) -> list[Metric]:
        """All metrics."""
        found = list(families(self._reading))
        for metric in found:
            metric.samples = [_printable(sample) for sample in metric.samples]
        return found


def _printable(sample: Sample) -> Sample:
    """The sample with labels that can be sent: names may have bytes that are no UTF-8."""
    if all(map(str.isascii, sample.labels.values())):
        return sample
    labels = {key: value.encode(errors="replace").decode() for key, value in sample.labels.items()}
    return sample._replace(labels=labels)


def _json(value: object) -> Response:
    # JSONResponse cannot send bytes that are no UTF-8; here they are escaped.
    return Response(json.dumps(value), media_type="application/json")


class Exporter:
    """The handlers of all requests for one tree."""

    def __init__(self, root: str, most_open: int, most_luns: int) -> None:
        """See `TreeReader` and `MassSamples`."""
        self._root = root
        self._mass = MassSamples(most_luns)
        self._reader = TreeReader(root, most_open)
        self._lookout = Lookout(self._reader)
        self._feed = EventFeed(root, self._lookout.changed)
        page = resources.files("scstfs.exporter") / "page"
        self._files = {
            path: ((page / name).read_bytes(), kind) for path, (name, kind) in FILES.items()
        }

    def application(self, protection: Protection) -> ASGIApp:
        """The ASGI application."""
        routes = [Route(path, self.file) for path in FILES]
        routes += [
            Route("/metrics", self.metrics),
            Route("/api/map", self.map),
            Route("/api/live", self.live),
            Route("/api/session", self.session),
            Route("/api/log", self.log),
            Route("/api/events", self.events),
        ]
        return Guard(Starlette(routes=routes, lifespan=self._lifespan), protection)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        self._feed.close()
        self._lookout.close()

    async def file(self, request: Request) -> Response:
        """A file of the page."""
        content, kind = self._files[request.url.path]
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    def metrics(self, request: Request) -> Response:
        """The metrics, in the format that is asked for. In a thread: it takes a while."""
        reading = self._lookout.reading()
        registry = CollectorRegistry()
        registry.register(_OneReading(reading))
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        text = encode(registry)
        if reading is not None:
            is_open = kind.startswith(_OPEN_METRICS)
            mass = self._mass.text(reading.sessions, open_metrics=is_open).encode()
            text = text.removesuffix(_END) + mass + (_END if is_open else b"")
        return Response(text, headers={"Content-Type": kind})

    def map(self, request: Request) -> Response:
        """What is configured; nothing if the asking page has it already. In a thread."""
        picture = self._lookout.want()
        tag = f'"{id(self):x}-{picture.map_number}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(picture.map, media_type="application/json", headers={"ETag": tag})

    def live(self, request: Request) -> Response:
        """Rates and times. In a thread."""
        return Response(self._lookout.want().live, media_type="application/json")

    def session(self, request: Request) -> Response:
        """One session, with its LUNs and what was negotiated. In a thread."""
        path = request.query_params.get("path", "")
        found = session_details(self._lookout.reading(), path, self._root)
        if found is None:
            return PlainTextResponse("There is no such session\n", 404)
        return _json(found)

    def log(self, request: Request) -> Response:
        """The latest lines of the log. In a thread."""
        return _json(log_lines(self._root))

    async def events(self, request: Request) -> Response:
        """Events as they happen (server-sent events)."""
        following = self._feed.follow()
        first = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0)
        if first.done() and isinstance(first.exception(), TooManyFollowersError):
            return PlainTextResponse("Too many programs follow the events\n", 503)
        return StreamingResponse(_stream(following, first), media_type="text/event-stream")


async def _stream(
    following: AsyncIterator[dict[str, object]], first: asyncio.Future[dict[str, object]]
) -> AsyncIterator[bytes]:
    waiting = first
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=_KEEP_ALIVE_SECONDS)
            if not done:
                yield b": nothing happens\n\n"
                continue
            event = waiting.result()
            yield b"event: %b\ndata: %b\n\n" % (
                str(event["kind"]).encode(),
                json.dumps(event).encode(),
            )
            waiting = asyncio.ensure_future(anext(following))
    finally:
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await waiting
