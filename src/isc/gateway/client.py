"""`GatewayClient`: what a trainer asks a gateway for. Every call is there twice, awaited (`a...`) and not.

Needs httpx (`isc[client]`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from isc._later import Later
from isc.errors import Error, OptionError
from isc.gateway.reports import SessionReport, SessionSamples

if TYPE_CHECKING:
    import httpx
else:
    httpx = Later

_MSGPACK = "application/msgpack"
_SECONDS = 60.0
_Told = TypeVar("_Told", bound=Struct)


class GatewayError(Error):
    """A gateway that does not do what is asked; `status` is that of its answer, None where there was none."""

    def __init__(self, problem: str, status: int | None = None) -> None:
        super().__init__(problem, status)
        self.problem = problem
        self.status = status

    def __str__(self) -> str:
        return self.problem if self.status is None else f"{self.problem} (status {self.status})"


class GatewayClient:
    """Asks a gateway for sessions, and tells it rewards.

    Args:
        url: Its root, e.g. `http://127.0.0.1:9000`.
        token: Its token, if it was started with one.

    Raises:
        OptionError: httpx is not installed.

    >>> client = GatewayClient("http://127.0.0.1:9000")
    >>> client.openai_base_url("my-run-1")
    'http://127.0.0.1:9000/sessions/my-run-1/v1'
    >>> client.close()
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        try:
            import httpx
        except ImportError:
            raise OptionError('isc.gateway.GatewayClient needs httpx: pip install "isc[client]"') from None
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=_SECONDS, trust_env=False)
        self._async_http = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=_SECONDS, trust_env=False)

    def openai_base_url(self, session: str) -> str:
        """Return the base URL that an OpenAI agent of this session is given."""
        return f"{self.url}{_path(session)}/v1"

    def anthropic_base_url(self, session: str) -> str:
        """Return the base URL that an Anthropic agent of this session is given."""
        return f"{self.url}{_path(session)}"

    def session(self, name: str) -> SessionReport:
        """Return the tree of a session.

        Raises:
            GatewayError: There is none of this name, or the gateway does not answer.
        """
        return self._told(_path(name), SessionReport)

    async def asession(self, name: str) -> SessionReport:
        """Return the tree of a session; see `session`."""
        return await self._atold(_path(name), SessionReport)

    def samples(self, name: str) -> SessionSamples:
        """Return the samples of a session, with their rewards.

        Raises:
            GatewayError: There is none of this name, or the gateway does not answer.
        """
        return self._told(f"{_path(name)}/samples", SessionSamples)

    async def asamples(self, name: str) -> SessionSamples:
        """Return the samples of a session; see `samples`."""
        return await self._atold(f"{_path(name)}/samples", SessionSamples)

    def reward(self, name: str, reward: float, turn: int | str | None = None) -> None:
        """Give the reward of a session, or of one of its turns.

        Args:
            name: The session.
            reward: The reward; it takes the place of one that was given before.
            turn: The turn, by its number or id; None is the whole session.

        Raises:
            GatewayError: There is none of this name, or the gateway does not answer.
        """
        self._ask("POST", f"{_path(name)}/reward", {"reward": reward, "turn": turn})

    async def areward(self, name: str, reward: float, turn: int | str | None = None) -> None:
        """Give the reward of a session, or of one of its turns; see `reward`."""
        await self._aask("POST", f"{_path(name)}/reward", {"reward": reward, "turn": turn})

    def finish(self, name: str, reward: float | None = None) -> None:
        """Close a session, so that it takes no more turns, and give its reward.

        Raises:
            GatewayError: There is none of this name, or the gateway does not answer.
        """
        self._ask("POST", f"{_path(name)}/finish", {"reward": reward})

    async def afinish(self, name: str, reward: float | None = None) -> None:
        """Close a session; see `finish`."""
        await self._aask("POST", f"{_path(name)}/finish", {"reward": reward})

    def remove(self, name: str) -> None:
        """Remove a session from the record.

        Raises:
            GatewayError: There is none of this name, or the gateway does not answer.
        """
        self._ask("DELETE", _path(name))

    async def aremove(self, name: str) -> None:
        """Remove a session from the record; see `remove`."""
        await self._aask("DELETE", _path(name))

    def weight_version(self, version: str) -> None:
        """Note of which version the engines' weights are from now on.

        Raises:
            GatewayError: The gateway does not answer.
        """
        self._ask("POST", "/weight_version", {"weight_version": version})

    async def aweight_version(self, version: str) -> None:
        """Note of which version the engines' weights are from now on; see `weight_version`."""
        await self._aask("POST", "/weight_version", {"weight_version": version})

    def close(self) -> None:
        """Close the connections of the calls that are not awaited."""
        self._http.close()

    async def aclose(self) -> None:
        """Close all connections."""
        self._http.close()
        await self._async_http.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _told(self, path: str, kind: type[_Told]) -> _Told:
        return _decoded(self._ask("GET", path), kind)

    async def _atold(self, path: str, kind: type[_Told]) -> _Told:
        return _decoded(await self._aask("GET", path), kind)

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        import httpx

        try:
            return _checked(self._http.request(method, path, json=body, headers={"accept": _MSGPACK}))
        except httpx.HTTPError as error:
            raise GatewayError(f"the gateway at {self.url} does not answer: {error}") from None

    async def _aask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        import httpx

        try:
            return _checked(await self._async_http.request(method, path, json=body, headers={"accept": _MSGPACK}))
        except httpx.HTTPError as error:
            raise GatewayError(f"the gateway at {self.url} does not answer: {error}") from None


def _path(session: str) -> str:
    return f"/sessions/{quote(session, safe='')}"


def _checked(answer: httpx.Response) -> bytes:
    """Return the body of an answer. Raise for one that is an error, with the gateway's words."""
    if answer.is_success:
        return answer.content
    try:
        problem = msgspec.json.decode(answer.content)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        problem = "the gateway answers with an error"
    raise GatewayError(str(problem), answer.status_code)


def _decoded(body: bytes, kind: type[_Told]) -> _Told:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise GatewayError(f"the gateway's answer cannot be read, is it of another version? {error}") from None
