"""Lines between workers: a message and its answer from a thread to a thread, past both event loops.

A request to another worker's server goes from the thread that asks to its event loop, over there to a loop,
to a thread, and all the way back: 0.7 ms on an idle machine, 2 on a busy one. A plain connection whose two
ends each belong to one thread takes 0.03::

    worker a                          worker b
    server   -- who may call? ----->  server: opens a Door, for one caller, who has to know a token
    thread   -- token ------------->  Door: a thread that answers
             -- message ----------->
             <- answer -------------
             ...

On a cluster with TLS a line is encrypted and both ends show the certificates that Dask shows. Where a port
that nobody has told the network of cannot be reached, calling one raises OSError.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from distributed.comm.addressing import get_address_host

CONNECT_SECONDS = 1.0
"""How long a caller knocks: as long as a packet takes that a firewall does not drop, and is sent again."""

DOOR_SECONDS = 5.0
"""How long a door waits for its caller, and either for the other's certificate, on a busy machine."""

_LENGTH = struct.Struct("!q")
_ENCRYPTED = ("tls", "wss")  # schemes of addresses


@dataclass(frozen=True)
class Offer:
    """What a caller has to know, sent by way of the workers' servers."""

    port: int  # 0 where no port could be opened
    token: bytes


class Line:
    """One end of a connection, for one thread; another one may close it."""

    def __init__(self, end: socket.socket) -> None:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._end = end

    def send(self, message: bytes, seconds: float) -> None:
        """OSError if the other end is gone, or has not taken it after so long."""
        self._end.settimeout(max(seconds, 1e-3))  # zero would mean not to wait at all
        self._end.sendall(_LENGTH.pack(len(message)) + message)

    def receive(self, seconds: float) -> bytearray:
        """The next message; OSError if the other end is gone or silent for so long."""
        self._end.settimeout(max(seconds, 1e-3))
        (length,) = _LENGTH.unpack(self.receive_exactly(_LENGTH.size))
        return self.receive_exactly(length)

    def receive_exactly(self, size: int) -> bytearray:
        """So many bytes as they come."""
        room = bytearray(size)
        rest = memoryview(room)
        while rest:
            got = self._end.recv_into(rest)
            if not got:
                raise ConnectionResetError("The other end has hung up.")
            rest = rest[got:]
        return room

    def close(self) -> None:
        """End it, for a thread that waits at either end too."""
        with suppress(OSError):  # the other end was faster
            self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()


def open_door(worker: Any, serve: Callable[[Line], None], name: str) -> Offer:
    """Have the first caller served, in a thread of this name; nobody else is let in."""
    scheme, _, _ = worker.address.partition("://")
    host = get_address_host(worker.listen_address) if scheme != "inproc" else "127.0.0.1"
    secured = worker.security.get_listen_args("worker")["ssl_context"]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        door = socket.create_server((host, 0), family=family)
    except OSError:  # an interface that the address names and the machine does not
        return Offer(0, b"")
    offer = Offer(door.getsockname()[1], secrets.token_bytes(32))
    context = secured if scheme in _ENCRYPTED else None
    thread = threading.Thread(
        target=_attend, args=(door, context, offer.token, serve), name=name, daemon=True
    )
    thread.start()
    return offer


def _attend(
    door: socket.socket,
    context: ssl.SSLContext | None,
    token: bytes,
    serve: Callable[[Line], None],
) -> None:
    with suppress(OSError):  # nobody came, or without a certificate, or went
        with door:
            door.settimeout(DOOR_SECONDS)
            end, _ = door.accept()
        with end:
            end.settimeout(DOOR_SECONDS)
            line = Line(end if context is None else context.wrap_socket(end, server_side=True))
            with closing(line):
                if hmac.compare_digest(line.receive_exactly(len(token)), token):
                    serve(line)


def call(worker: Any, address: str, offer: Offer) -> Line:
    """A line to the worker of this address. Raises OSError where it can't be reached."""
    scheme, _, _ = address.partition("://")
    host = get_address_host(address) if scheme != "inproc" else "127.0.0.1"
    end = socket.create_connection((host, offer.port), CONNECT_SECONDS)
    end.settimeout(DOOR_SECONDS)
    if scheme in _ENCRYPTED:
        context = worker.security.get_connection_args("worker")["ssl_context"]
        end = context.wrap_socket(end, server_hostname=host)
    end.sendall(offer.token)
    return Line(end)


__all__ = ["CONNECT_SECONDS", "DOOR_SECONDS", "Line", "Offer", "call", "open_door"]
