"""What one side has said reaches the other before there is more to say.

Each peer here waits for the other before it goes on, so a balancer that kept
anything back would stop the conversation.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

import pytest

from tests.runtimes.fixtures import RUNTIMES
from tests.runtimes.origins import Origin, reply
from tests.runtimes.process import Lb, settings
from tests.runtimes.wire import PATIENCE, Message, Wire

Play = Callable[[Wire, Message], None]
"""Answers one request, whose head has been read."""

EVENTS = [b"event: tick\ndata: %d\n\n" % n for n in range(8)]
STREAM = b"".join(EVENTS)
EXPECTING = (
    "POST /expect HTTP/1.{minor}\r\nHost: a\r\nContent-Length: 5\r\n"
    "Expect: 100-continue\r\n\r\n"
)


class Turns:
    """Says when it is the other side's turn."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[object] = queue.SimpleQueue()

    def say(self, word: object) -> None:
        self._said.put(word)

    def hear(self, word: object) -> None:
        """Wait for a word, and for no other."""
        assert self._said.get(timeout=PATIENCE) == word


class Stage:
    """One balancer for a whole module, and a backend that plays what each test says."""

    def __init__(self, lb: Lb, origin: Origin) -> None:
        self.lb = lb
        self._origin = origin

    def client(self, play: Play) -> Wire:
        """Connect; the backend answers each request from now on with this."""

        def script(wire: Wire) -> None:
            while True:
                play(wire, wire.head())

        self._origin.script = script
        return self.lb.connect()

    def check(self) -> None:
        """Fail if something went wrong in the backend."""
        errors, self._origin.errors = self._origin.errors, []
        assert not errors, errors


@pytest.fixture(scope="module", params=RUNTIMES)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    if request.param in ("uvloop", "gevent"):
        pytest.importorskip(request.param)
    origin = Origin(lambda wire: None)
    # Each connection to the backend belongs to one test.
    wanted = settings(origin.address, top={"upstream_keepalive_pool_size": 0})
    lb = Lb(request.param, tmp_path_factory.mktemp("lb") / "conf.yaml", wanted)
    stage = Stage(lb, origin)
    try:
        yield stage
        lb.finish()
    finally:
        origin.close()
    stage.check()


@pytest.fixture
def stage(served: Stage) -> Iterator[Stage]:
    yield served
    served.check()


# -- responses ---------------------------------------------------------------------


@pytest.mark.parametrize("minor", [1, 0])
@pytest.mark.parametrize("framing", ["chunked", "counted", "until-close"])
def test_each_event_of_a_stream_leaves_at_once(
    stage: Stage, framing: str, minor: int
) -> None:
    read = Turns()

    def play(wire: Wire, head: Message) -> None:
        fields = {
            "chunked": b"Transfer-Encoding: chunked\r\n",
            "counted": b"Content-Length: %d\r\n" % len(STREAM),
            "until-close": b"",
        }[framing]
        kind = b"Content-Type: text/event-stream\r\n"
        wire.send(b"HTTP/1.1 200 OK\r\n" + kind + fields + b"\r\n")
        read.hear("head")
        for event in EVENTS:
            chunk = b"%x\r\n%b\r\n" % (len(event), event)
            wire.send(chunk if framing == "chunked" else event)
            read.hear(event)
        if framing == "chunked":
            wire.send(b"0\r\n\r\n")
        elif framing == "until-close":
            wire.close()

    with stage.client(play) as client:
        client.send(b"GET /events HTTP/1.%d\r\nHost: a\r\n\r\n" % minor)
        head = client.head()
        assert head.status == 200
        read.say("head")
        got = b""
        for event in EVENTS:
            got += client.until(event)
            read.say(event)
        if framing == "counted":
            assert got == STREAM
        elif minor == 0:
            assert got + client.rest() == STREAM
        else:
            client.ahead = got + client.ahead
            assert b"".join(client.chunks()) == STREAM
        assert (head.get("Connection") == b"close") is (minor == 0)


def test_a_long_poll_is_answered_when_there_is_something(stage: Stage) -> None:
    waiting, news = Turns(), queue.SimpleQueue[bytes]()

    def play(wire: Wire, head: Message) -> None:
        if head.start.startswith(b"POST "):
            news.put(wire.content(head).body)
            wire.send(reply(b"", "202 Accepted"))
        else:
            waiting.say("poll")
            wire.send(reply(news.get(timeout=PATIENCE)))

    with stage.client(play) as reader, stage.lb.connect() as writer:
        for said in (b"one", b"two", b"three"):
            reader.get("/poll")
            waiting.hear("poll")
            assert reader.silent()
            length = b"Content-Length: %d" % len(said)
            writer.send(b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % length + said)
            assert writer.response().status == 202
            assert reader.response().body == said


# -- requests ----------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "counted"])
def test_each_piece_of_an_upload_leaves_at_once(stage: Stage, chunked: bool) -> None:
    read = Turns()

    def play(wire: Wire, head: Message) -> None:
        read.say("head")
        for event in EVENTS:
            assert wire.until(event).endswith(event)
            read.say(event)
        if chunked:
            assert wire.until(b"\r\n0\r\n\r\n") == b"\r\n0\r\n\r\n"
        wire.send(reply(b"all of it"))

    framing = "Transfer-Encoding: chunked"
    if not chunked:
        framing = f"Content-Length: {len(STREAM)}"
    with stage.client(play) as client:
        client.send(f"POST /up HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        read.hear("head")
        for event in EVENTS:
            piece = b"%x\r\n%b\r\n" % (len(event), event)
            client.send(piece if chunked else event)
            read.hear(event)
        if chunked:
            client.send(b"0\r\n\r\n")
        assert client.response().body == b"all of it"


def test_a_conversation_within_one_exchange(stage: Stage) -> None:
    def play(wire: Wire, head: Message) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in EVENTS:
            wire.until(event)
            wire.send(b"%x\r\n%b\r\n" % (len(event), event))
        wire.until(b"0\r\n\r\n")
        wire.send(b"0\r\n\r\n")

    with stage.client(play) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.head().status == 200
        for event in EVENTS:
            client.send(b"%x\r\n%b\r\n" % (len(event), event))
            assert client.until(event).endswith(event)
        client.send(b"0\r\n\r\n")
        assert client.until(b"0\r\n\r\n") == b"\r\n0\r\n\r\n"


# -- interim responses -------------------------------------------------------------


def test_interim_responses_pass_one_by_one_and_in_order(stage: Stage) -> None:
    read = Turns()
    interims = [
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </b.js>\r\nLink: </c.js>\r\n\r\n",
        b"HTTP/1.1 199 Own Idea\r\nX-Progress: 90%\r\n\r\n",
    ]

    def play(wire: Wire, head: Message) -> None:
        for interim in interims:
            wire.send(interim)
            read.hear(interim)
        wire.send(b"".join(interims[:2]) + reply(b"done"))

    with stage.client(play) as client:
        client.get("/slow")
        for interim in interims:
            assert client.until(b"\r\n\r\n") == interim
            read.say(interim)
        for interim in interims[:2]:
            assert client.until(b"\r\n\r\n") == interim
        final = client.response()
        assert (final.status, final.body) == (200, b"done")
        assert client.silent()


def test_a_10_client_gets_the_final_response_alone(stage: Stage) -> None:
    def play(wire: Wire, head: Message) -> None:
        assert head.get("Expect") is None
        content = wire.content(head).body
        for status in ("100 Continue", "103 Early Hints", "102 Processing"):
            wire.send(f"HTTP/1.1 {status}\r\n\r\n".encode())
        wire.send(reply(content))

    with stage.client(play) as client:
        client.send(EXPECTING.format(minor=0).encode() + b"hello")
        response = client.response()
        assert (response.status, response.body) == (200, b"hello")
        assert client.ended()


def test_content_is_not_waited_for_when_the_client_expects_100(stage: Stage) -> None:
    def play(wire: Wire, head: Message) -> None:
        assert head.get("Expect") == b"100-continue"
        assert wire.ahead == b""  # the client has not sent it yet
        wire.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        wire.send(reply(wire.content(head).body))

    with stage.client(play) as client:
        for _ in range(2):
            client.send(EXPECTING.format(minor=1).encode())
            assert [client.head().status, client.head().status] == [103, 100]
            client.send(b"hello")
            assert client.response().body == b"hello"


def test_a_client_that_expects_100_need_not_wait_for_it(stage: Stage) -> None:
    def play(wire: Wire, head: Message) -> None:
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n" + reply(wire.content(head).body))

    with stage.client(play) as client:
        for _ in range(2):
            client.send(EXPECTING.format(minor=1).encode() + b"hello")
            assert client.head().status == 100
            assert client.response().body == b"hello"


def test_a_final_response_instead_of_100_ends_the_connection(stage: Stage) -> None:
    heads: list[Message] = []

    def play(wire: Wire, head: Message) -> None:
        heads.append(head)
        wire.send(reply(b"no", "401 Unauthorized"))

    with stage.client(play) as client:
        client.send(EXPECTING.format(minor=1).encode())
        response = client.response()
        assert (response.status, response.body) == (401, b"no")
        assert response.get("Connection") == b"close"
        # Whether this is content or a request nobody can tell; so it is neither.
        client.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.ended()
    assert len(heads) == 1
