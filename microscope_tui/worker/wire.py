"""The worker's socket from the other side: a greeted connection, a question and its answer, messages as they come."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

from microscope_tui.errors import MicroscopeError
from microscope_tui.worker.place import Record, is_held, is_private, peer_uid
from microscope_tui.worker.protocol import (
    LINE_LIMIT,
    Goodbye,
    Hello,
    Message,
    Question,
    Refused,
    Welcome,
    decode,
    encode,
    mismatch,
)

ANSWER_SECONDS: Final = 30.0

A = TypeVar("A", bound=Message)


def dial(cache: Path) -> socket.socket | None:
    """A greeted connection to the worker of `cache`, None if none listens.

    Raises `MicroscopeError` when others could have put there what listens, or when it has another version.
    """
    record = Record.read(cache)
    if record is None:
        return None
    folder = Path(record.socket).parent
    if not is_private(folder):
        if is_held(cache) and folder.exists():
            raise MicroscopeError(f"Other users can enter {folder}, where the worker listens: `chmod 700 {folder}`.")
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(ANSWER_SECONDS)
    try:
        connection.connect(record.socket)
        if peer_uid(connection) != os.geteuid():
            raise MicroscopeError(
                f"What listens at {record.socket} belongs to another user: remove {cache}/worker.lock."
            )
        welcome = ask(connection, Hello(), Welcome)
        if sentence := mismatch(welcome, mine="program"):
            raise MicroscopeError(sentence)
    except OSError:
        connection.close()
        return None
    except MicroscopeError:
        connection.close()
        raise
    return connection


def ask(connection: socket.socket, question: Question, kind: type[A]) -> A:
    """One question and its answer of the type `kind`; `MicroscopeError` for a refusal, `OSError` for no answer."""
    connection.sendall(encode(question))
    for message in messages(connection):
        if isinstance(message, kind):
            return message
        if isinstance(message, Refused):
            raise MicroscopeError(message.text, fault=message.fault)
        if isinstance(message, Goodbye):
            break
    raise ConnectionResetError("the worker ended before it answered")


def messages(connection: socket.socket) -> Iterator[Message]:
    """Messages as they come, until the other side closes. Raises `OSError`, also when nothing comes in time."""
    buffer = b""
    while data := connection.recv(1 << 16):
        *lines, buffer = (buffer + data).split(b"\n")
        if len(buffer) > 4 * LINE_LIMIT:
            raise ConnectionAbortedError("the worker sent a line without end")
        for line in lines:
            yield decode(line)
