"""A client of etcd's JSON gateway (etcd 3.4 or newer), for trio.

It asks one member after the other until one answers.  Asking twice is harmless for all that is
asked here: transactions compare revisions.
"""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

import httpx
import trio

from scstfs.cluster.cluster_config import EtcdAccess
from scstfs.cluster.replica import KeyValue

log = logging.getLogger(__name__)

#: How long one member has for an answer, and the connection to it (seconds).
ANSWER_SECONDS: Final = 0.8
CONNECT_SECONDS: Final = 0.4

_JSON: Final = {"Content-Type": "application/json"}

#: gRPC's status codes.
_NOT_FOUND: Final = 5
_OUT_OF_RANGE: Final = 11
_UNAUTHENTICATED: Final = 16
#: Too large, not allowed, no space: asking another member does not help.
_FINAL: Final = frozenset({3, 7, 8})
_LEASE_MISSING: Final = "lease not found"
_STALE_TOKEN: Final = "invalid auth token"


class Unreachable(Exception):  # noqa: N818 - an outcome that is dealt with
    """No member gave an answer; what was asked for may have been done."""


class EtcdRefused(Unreachable):
    """etcd has answered that it does not do that: nothing was done."""


class LeaseEnded(Exception):  # noqa: N818 - likewise
    """The lease does not exist any more."""


class Compacted(Exception):  # noqa: N818 - likewise
    """The changes that a watch should begin with are forgotten."""


class TxnOutcome(NamedTuple):
    """Of a transaction: whether the comparisons held, and the revision after it."""

    succeeded: bool
    revision: int


class Put(NamedTuple):
    """A key to be set."""

    key: str
    value: str
    lease: int = 0


class Condition(NamedTuple):
    """The key was last changed in this revision; 0: it does not exist."""

    key: str
    revision: int


class _Refusal(Exception):  # noqa: N818 - dealt with here
    """A member answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Etcd:
    """A client; see the module's text."""

    def __init__(self, access: EtcdAccess) -> None:
        """Read the files, which may take long.

        Raises OSError, ssl.SSLError for those that cannot be used.
        """
        self._access = access
        self._urls = list(access.urls)
        self._password = _first_line(access)
        self._token: str | None = None
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.AsyncClient(
            verify=_tls(access), timeout=timeout, trust_env=False, headers={"Accept": "*/*"}
        )

    @property
    def url(self) -> str:
        """The member that is asked first."""
        return self._urls[0]

    async def close(self) -> None:
        """End all connections."""
        await self._http.aclose()

    def turn(self) -> None:
        """Ask another member first from now on."""
        self._urls.append(self._urls.pop(0))

    # Keys

    async def prefix(self, prefix: str) -> tuple[list[KeyValue], int]:
        """All keys that begin with ``prefix``, and the revision at which they were so."""
        answer = await self._ask("kv/range", _range(prefix))
        return [_entry(kv) for kv in answer.get("kvs", ())], _revision(answer)

    async def count(self, prefix: str) -> int:
        """How many keys begin with ``prefix``."""
        answer = await self._ask("kv/range", {**_range(prefix), "count_only": True})
        return int(answer.get("count", 0))

    async def newest(self, prefix: str) -> int:
        """The highest revision of a key that begins with ``prefix``."""
        body = {**_range(prefix), "keys_only": True, "limit": "1"}
        body |= {"sort_target": "MOD", "sort_order": "DESCEND"}
        answer = await self._ask("kv/range", body)
        return max((int(kv["mod_revision"]) for kv in answer.get("kvs", ())), default=0)

    async def transact(
        self, conditions: Iterable[Condition], puts: Iterable[Put] = (), deletes: Iterable[str] = ()
    ) -> TxnOutcome:
        """Put and delete keys if the conditions hold; raises Unreachable, LeaseEnded."""
        compare = [
            {"key": _coded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
            for key, revision in conditions
        ]
        success: list[dict[str, Any]] = [
            {
                "request_put": {
                    "key": _coded(put.key),
                    "value": _coded(put.value),
                    "lease": str(put.lease),
                }
            }
            for put in puts
        ]
        success += [{"request_delete_range": {"key": _coded(key)}} for key in deletes]
        answer = await self._ask("kv/txn", {"compare": compare, "success": success})
        return TxnOutcome(bool(answer.get("succeeded")), _revision(answer))

    async def get(self, key: str) -> KeyValue | None:
        """A key; None if it does not exist."""
        answer = await self._ask("kv/range", {"key": _coded(key)})
        return next(map(_entry, answer.get("kvs", ())), None)

    # Leases

    async def grant(self, ttl: int) -> tuple[int, int]:
        """A new lease, and its seconds to live."""
        answer = await self._ask("lease/grant", {"TTL": str(ttl)})
        return int(answer["ID"]), int(answer["TTL"])

    async def keep_alive(self, lease: int) -> int:
        """Renew a lease; return its seconds to live. Raises LeaseEnded."""
        answer = (await self._ask("lease/keepalive", {"ID": str(lease)})).get("result", {})
        ttl = int(answer.get("TTL", 0))
        if not ttl:
            raise LeaseEnded
        return ttl

    async def revoke(self, lease: int) -> None:
        """End a lease."""
        await self._ask("lease/revoke", {"ID": str(lease)})

    # Watching

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[list[KeyValue], None]:
        """The changes of keys from ``revision`` on, in their order; raises Unreachable, Compacted.

        The first result, which is empty, says that the watch has begun.
        """
        body = {"create_request": {**_range(prefix), "start_revision": str(revision)}}
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=None)
        try:
            request = self._request("watch", body, await self._headers(), timeout)
            response = await self._http.send(request, stream=True)
            try:
                async for line in response.aiter_lines():
                    yield _changes(json.loads(line))
            finally:
                with trio.CancelScope(shield=True):
                    await response.aclose()
        except (httpx.HTTPError, ValueError, KeyError, TypeError, _Refusal) as error:
            self._token = None
            self.turn()
            raise Unreachable(str(error)) from error

    # Asking

    async def _ask(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the first member says that answers; raises Unreachable, LeaseEnded."""
        failure: Exception | None = None
        # Once more than there are members: a token may have to be replaced.
        for _ in (None, *self._access.urls):
            try:
                return await self._ask_first(what, body)
            except _Refusal as error:
                if error.code == _NOT_FOUND and _LEASE_MISSING in str(error):
                    raise LeaseEnded from error
                failure = error
                if error.code == _UNAUTHENTICATED or _STALE_TOKEN in str(error):
                    self._token = None
                    continue
                if error.code in _FINAL:
                    raise EtcdRefused(str(error)) from error
            except (httpx.HTTPError, ValueError, trio.TooSlowError) as error:
                failure = error
            self.turn()
        raise Unreachable(f"{failure!r}") from failure

    async def _ask_first(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        with trio.fail_after(ANSWER_SECONDS):
            return await self._post(what, body, await self._headers())

    async def _headers(self) -> dict[str, str]:
        if self._access.user is None:
            return {}
        if self._token is None:
            account = {"name": self._access.user, "password": self._password}
            self._token = str((await self._post("auth/authenticate", account, {}))["token"])
        return {"Authorization": self._token}

    def _request(
        self,
        what: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        timeout: httpx.Timeout | None = None,
    ) -> httpx.Request:
        data = json.dumps(body).encode()
        return self._http.build_request(
            "POST",
            f"{self.url}/v3/{what}",
            content=_Body(data),
            headers={**headers, "Content-Length": str(len(data)), **_JSON},
            timeout=timeout or self._http.timeout,
        )

    async def _post(
        self, what: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> dict[str, Any]:
        request = self._request(what, body, headers)
        response = await self._http.send(request)
        answer = response.json()
        if not isinstance(answer, dict):
            raise ValueError(f"no answer: {answer!r}")
        if response.status_code != httpx.codes.OK or "error" in answer:
            raise _refusal(answer)
        return answer


class _Body(httpx.AsyncByteStream):
    """The body of a request.

    httpx's own is a generator, which trio complains of if the request ends before it is sent.
    """

    def __init__(self, data: bytes) -> None:
        self._parts = [data]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._parts:
            raise StopAsyncIteration
        return self._parts.pop()


def _refusal(answer: Mapping[str, Any]) -> _Refusal:
    error = answer.get("error")
    details = error if isinstance(error, dict) else answer
    code = details.get("code") or details.get("grpc_code") or 0
    return _Refusal(int(code), str(details.get("message", error)))


def _changes(line: Mapping[str, Any]) -> list[KeyValue]:
    if "error" in line:
        raise _refusal(line)
    result = line.get("result", {})
    if result.get("compact_revision"):
        raise Compacted
    if result.get("canceled"):
        raise _Refusal(_OUT_OF_RANGE, str(result.get("cancel_reason")))
    return [
        _entry(event["kv"], is_deleted=event.get("type") == "DELETE")
        for event in result.get("events", ())
    ]


def _entry(kv: Mapping[str, Any], *, is_deleted: bool = False) -> KeyValue:
    value = None if is_deleted else _text(kv.get("value", ""))
    return KeyValue(_text(kv["key"]), value, int(kv["mod_revision"]), int(kv.get("lease", 0)))


def _revision(answer: Mapping[str, Any]) -> int:
    return int(answer["header"]["revision"])


def _range(prefix: str) -> dict[str, Any]:
    # The first string that is greater than all that begin with the prefix.
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {"key": _coded(prefix), "range_end": _coded(end)}


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _text(coded: str) -> str:
    return base64.b64decode(coded).decode(errors="replace")


def _first_line(access: EtcdAccess) -> str:
    if access.password_file is None:
        return ""
    return access.password_file.read_text().partition("\n")[0]


def _tls(access: EtcdAccess) -> ssl.SSLContext | bool:
    if not any(url.startswith("https:") for url in access.urls):
        return False
    for file in (access.ca, access.cert, access.key):
        if file is not None:
            file.open("rb").close()  # the errors of the ssl module do not name the file
    context = ssl.create_default_context(cafile=access.ca)
    if access.cert is not None:
        context.load_cert_chain(access.cert, access.key)
    return context
