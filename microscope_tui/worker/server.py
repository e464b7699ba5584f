"""The socket side of the worker: answers screens and sends them events, without ever waiting for one."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import JobState
from microscope_tui.worker.events import Events
from microscope_tui.worker.jobs import Queue
from microscope_tui.worker.place import peer_uid
from microscope_tui.worker.protocol import (
    LINE_LIMIT,
    Answer,
    AskStatus,
    Cancel,
    Event,
    Follow,
    Goodbye,
    Hello,
    JobIs,
    Jobs,
    Leave,
    ListJobs,
    Message,
    Move,
    Pause,
    Refused,
    Resume,
    Status,
    Stop,
    Submit,
    Welcome,
    decode,
    encode,
    filed_under,
    made_with,
    mismatch,
    unlike,
)

BACKLOG_LIMIT: Final = 2 * LINE_LIMIT
"""A screen that leaves so many bytes unread is dropped; it attaches again when it can."""

LINK_CHANGED: Final = "A name of what is asked for leads the worker elsewhere than the program: ask again."
"""Between versions and surroundings that are alike: a link was changed at that moment."""

log = logging.getLogger(__name__)


class Peer:
    """One connection: what came in without a line end yet, and what could not be sent yet."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.incoming = b""
        self.outgoing = bytearray()
        self.greeted = False
        self.made_with: Mapping[str, str] = {}
        self.leaving = False
        self.told: int | None = None
        """Number of the last event sent, None while this screen does not follow."""

    def receive(self) -> list[bytes] | None:
        """The whole lines that have come, None when the other side is gone or talks nonsense."""
        try:
            data = self.connection.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self.incoming = (self.incoming + data).split(b"\n")
        return lines if len(self.incoming) <= LINE_LIMIT else None

    def send(self, message: Message) -> None:
        self.outgoing += encode(message)

    def flush(self) -> bool:
        """Sends what can be sent now; False when the other side is gone, too slow, or to be let go."""
        try:
            while self.outgoing:
                del self.outgoing[: self.connection.send(self.outgoing)]
        except BlockingIOError:
            return len(self.outgoing) <= BACKLOG_LIMIT
        except OSError:
            return False
        return not self.leaving


class Waker:
    """Ends the wait of the thread that serves: from any thread, and from a signal through `fileno`."""

    def __init__(self) -> None:
        self._waker, self.woken = socket.socketpair()
        for end in (self._waker, self.woken):
            end.setblocking(False)

    def fileno(self) -> int:
        return self._waker.fileno()

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is awake anyway
            self._waker.send(b"\0")

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.woken.recv(4096):
                pass


class Server:
    """Serves a listening socket. All of it runs in one thread."""

    def __init__(
        self,
        queue: Queue,
        events: Events,
        waker: Waker,
        *,
        cache: Path,
        log_name: str,
        on_stop: Callable[[], None],
    ) -> None:
        self._queue, self._events, self._on_stop = queue, events, on_stop
        self._cache, self._log_name, self._started = cache, log_name, time.time()
        made_with()  # as they are when this process begins, not when the first screen comes
        self._peers: dict[int, Peer] = {}
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._waker = waker
        self._selector.register(waker.woken, selectors.EVENT_READ)

    @property
    def screens(self) -> int:
        """Connections open now."""
        return len(self._peers)

    def listen(self, listener: socket.socket) -> None:
        """Accepts screens at `listener`, instead of the one before."""
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._listener = listener

    def serve(self, seconds: float) -> None:
        """Handles what comes, and returns after `seconds` or after the first thing that came."""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._waker.woken:
                self._waker.drain()
            elif key.fileobj is self._listener:
                self._accept(self._listener)
            else:
                peer = self._peers.get(key.fd)
                if peer is not None:
                    self._hear(peer)
        self._tell()

    def farewell(self, text: str) -> None:
        """Tells everybody that the worker ends, and stops listening."""
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        for peer in list(self._peers.values()):
            peer.send(Goodbye(text))
            peer.flush()
            self._drop(peer)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if peer_uid(connection) != os.geteuid():
            log.warning("another user (%d) knocked and was turned away", peer_uid(connection))
            connection.close()
            return
        self._peers[connection.fileno()] = Peer(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _hear(self, peer: Peer) -> None:
        lines = peer.receive()
        if lines is None:
            self._drop(peer)
            return
        for line in lines:
            try:
                answer = self._answer(peer, decode(line))
            except MicroscopeError as error:
                answer = Refused(str(error), error.fault)
            if answer is not None:
                peer.send(answer)
        self._flush(peer)

    def _answer(self, peer: Peer, message: Message) -> Answer | None:
        match message:
            case Hello() as hello:
                sentence, peer.made_with = mismatch(hello, mine="worker"), hello.made_with
                peer.greeted, peer.leaving = sentence is None, sentence is not None
                return Welcome() if sentence is None else Refused(sentence)
            case _ if not peer.greeted:
                peer.leaving = True
                return Refused("The worker was spoken to without a greeting.")
            case Submit(request, kind, example, who, memory_check, key):
                if key != filed_under(request, kind, example):
                    return Refused(unlike(peer.made_with, mine="worker") or LINK_CHANGED)
                return JobIs(self._queue.submit(request, kind, example, who, memory_check=memory_check))
            case Leave(job_id, who):
                return JobIs(self._queue.leave(job_id, who))
            case Cancel(job_id):
                return JobIs(self._queue.cancel(job_id))
            case Pause(job_id):
                return JobIs(self._queue.pause(job_id))
            case Resume(job_id):
                return JobIs(self._queue.resume(job_id))
            case Move(job_id, place):
                return JobIs(self._queue.move(job_id, place))
            case ListJobs():
                return Jobs(self._queue.jobs)
            case AskStatus():
                return self._status()
            case Follow(after):
                self._attach(peer, after)
                return None
            case Stop():
                self._on_stop()
                return None  # the farewell is the answer
            case _:
                return Refused(f"The worker has no answer to {type(message).__name__}.")

    def _attach(self, peer: Peer, after: int) -> None:
        """Lines of the log that are still known, then every job as it stands, then whatever happens."""
        peer.told = self._events.last
        for event in self._events.after(after):
            if event.kind == "log" and event.number <= peer.told:
                peer.send(event)
        for job in self._queue.jobs:
            peer.send(Event(peer.told, "job", job))
            if job.state is JobState.RUNNING:
                peer.send(Event(peer.told, "partial", job))

    def _status(self) -> Status:
        return Status(
            pid=os.getpid(),
            version=Welcome().version,
            started=self._started,
            cache=str(self._cache),
            log=self._log_name,
            running=self._queue.count(JobState.RUNNING),
            queued=self._queue.count(JobState.QUEUED),
            screens=sum(peer.told is not None for peer in self._peers.values()),
        )

    def _tell(self) -> None:
        for peer in list(self._peers.values()):
            if peer.told is not None and peer.told < self._events.first - 1:
                self._attach(peer, peer.told)  # more happened at once than is kept: everything as it stands now
            elif peer.told is not None:
                for event in self._events.after(peer.told):
                    peer.send(event)
                    peer.told = event.number
            if peer.outgoing:
                self._flush(peer)

    def _flush(self, peer: Peer) -> None:
        if not peer.flush():
            self._drop(peer)
            return
        # Asked to be told when there is room again only while something waits.
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.outgoing else 0)
        self._selector.modify(peer.connection, wanted)

    def _drop(self, peer: Peer) -> None:
        if self._peers.pop(peer.connection.fileno(), None) is None:
            return
        self._selector.unregister(peer.connection)
        peer.connection.close()
