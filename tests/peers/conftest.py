"""The fixtures of the tests with other people's programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers import servers
from tests.peers.servers import Server
from tests.runtimes.bulk import MIB, blocks
from tests.runtimes.fixtures import lb, origin, runtime, start

__all__ = [
    "folder",
    "http_server",
    "lb",
    "nginx",
    "origin",
    "runtime",
    "start",
]


@dataclass(frozen=True)
class Folder:
    """What is served: a large file, a small one, and room for uploads."""

    path: Path
    size: int = 16 * MIB

    @property
    def files(self) -> Path:
        return self.path / "files"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    found = Folder(tmp_path_factory.mktemp("peer"))
    (found.files / "put").mkdir(parents=True)
    (found.files / "small").write_bytes(b"small\n")
    with (found.files / "large").open("wb") as file:
        for block in blocks(found.size):
            file.write(block)
    return found


@pytest.fixture(scope="module")
def nginx(folder: Folder) -> Iterator[Server]:
    server = servers.nginx(folder.path)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def http_server(folder: Folder) -> Iterator[Server]:
    server = servers.http_server(folder.files)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _curl() -> None:
    servers.need("curl")
