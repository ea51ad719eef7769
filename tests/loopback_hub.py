"""A hub of models on 127.0.0.1 that speaks the file protocol of the real one: resolved files, and lists of a folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

_TREE = re.compile("/api/models/([^/]+/[^/]+)/tree/([^/]+)/([^?]+)(?:[?].*)?")
_RESOLVED = re.compile("/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class Refused(NamedTuple):
    """What the hub answers in place of a file."""

    status: int
    code: str = ""


NO_REPOSITORY = Refused(401, "RepoNotFound")  # so the hub answers who is not logged in, lest names leak
NO_REVISION = Refused(404, "RevisionNotFound")
NO_ENTRY = Refused(404, "EntryNotFound")
GATED = Refused(401, "GatedRepo")
BROKEN = Refused(500)


@dataclass
class Model:
    """A repository: its files by revision, or what is answered instead; `cut` breaks every transfer off half-way."""

    revisions: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    refused: Refused | None = None
    cut: bool = False

    def find(self, revision: str, name: str) -> bytes | Refused:
        if self.refused is not None:
            return self.refused
        if revision not in self.revisions:
            return NO_REVISION
        return self.revisions[revision].get(name, NO_ENTRY)


@dataclass
class Hub:
    """The models it serves, and every request it got as `METHOD path`."""

    endpoint: str
    models: dict[str, Model]
    requests: list[str] = field(default_factory=list)

    def find(self, path: str) -> tuple[Model, str, bytes | Refused]:
        listed = _TREE.fullmatch(path)
        if listed is not None:
            return Model(), "", self.listing(*listed.groups())
        matched = _RESOLVED.fullmatch(path)
        if matched is None:
            return Model(), "", Refused(404)
        repository, revision, name = matched.groups()
        model = self.models.get(repository, Model(refused=NO_REPOSITORY))
        return model, hashlib.sha1(revision.encode()).hexdigest(), model.find(revision, name)

    def listing(self, repository: str, revision: str, folder: str) -> bytes | Refused:
        """The files of a folder as the hub's API lists them."""
        model = self.models.get(repository, Model(refused=NO_REPOSITORY))
        names = [name for name in model.revisions.get(revision, {}) if name.startswith(f"{folder}/")]
        if not names:
            return NO_ENTRY
        return json.dumps([{"type": "file", "path": name, "size": 1, "oid": "0"} for name in names]).encode()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a test's output is its own."""

        def _answer(self, *, with_body: bool) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            model, commit, found = hub.find(self.path)
            content = b"" if isinstance(found, Refused) else found
            self.send_response(found.status if isinstance(found, Refused) else 200)
            if isinstance(found, Refused) and found.code:
                self.send_header("X-Error-Code", found.code)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content[: len(content) // 2] if model.cut else content)
                self.close_connection = model.cut

    return Handler


@contextmanager
def serve(models: dict[str, Model]) -> Iterator[Hub]:
    """The hub, up while the block runs."""
    hub = Hub("", models)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) as server:
        server.daemon_threads = True
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
