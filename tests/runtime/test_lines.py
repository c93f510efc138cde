"""Lines between workers: messages of any size, one caller who knows the token, certificates, ends."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from distributed.security import Security

from daskml_kit.runtime import lines
from tests.integration.clusters import wait_until

NAME = "door"
PLAIN = Security()


def worker(scheme="tcp", security=PLAIN, host="127.0.0.1"):
    address = f"{scheme}://{host}:1"
    return SimpleNamespace(address=address, listen_address=address, security=security)


def echo(line):
    while True:
        line.send(line.receive(5.0), 5.0)


def attending():
    return any(thread.name == NAME for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    wait_until(lambda: not attending())


@pytest.mark.parametrize("scheme", ["tcp", "tls", "inproc"])
def test_messages_come_back(scheme):
    who = worker(scheme, Security.temporary() if scheme == "tls" else PLAIN)
    line = lines.call(who, who.address, lines.open_door(who, echo, NAME))
    for message in (b"", b"x", bytes(range(256)) * 4_000):
        line.send(message, 5.0)
        assert line.receive(5.0) == message
    line.close()
    line.close()  # again


def test_who_does_not_know_the_token_is_not_served():
    who, served = worker(), []
    offer = lines.open_door(who, served.append, NAME)
    line = lines.call(who, who.address, lines.Offer(offer.port, bytes(32)))
    with pytest.raises(OSError, match=r"hung up|reset"):
        line.receive(5.0)
    line.close()
    wait_until(lambda: not attending())
    assert not served
    with pytest.raises(OSError, match="refused"):  # nor anybody after the first
        lines.call(who, who.address, offer)


def test_who_shows_no_certificate_is_not_served():
    who, served = worker("tls", Security.temporary()), []
    offer = lines.open_door(who, served.append, NAME)
    with socket.create_connection(("127.0.0.1", offer.port)) as end:
        end.sendall(offer.token)
        end.settimeout(5.0)
        with suppress(ConnectionResetError):
            assert len(end.recv(100)) < 100  # an alert at most
    wait_until(lambda: not attending())
    assert not served


def test_a_door_that_nobody_comes_to_closes(monkeypatch):
    monkeypatch.setattr(lines, "DOOR_SECONDS", 0.05)
    lines.open_door(worker(), echo, NAME)
    assert attending()
    wait_until(lambda: not attending())


def test_an_interface_that_is_not_there_offers_nothing():
    who = worker(host="192.0.2.1")
    with pytest.raises(OSError, match=r"refused|unreachable|assign|timed out|reset"):
        lines.call(worker(), "tcp://127.0.0.1:1", lines.open_door(who, echo, NAME))


def test_silence_ends_and_closing_wakes_who_waits():
    who = worker()
    line = lines.call(who, who.address, lines.open_door(who, echo, NAME))
    with pytest.raises(TimeoutError):
        line.receive(0.01)
    closer = threading.Timer(0.05, line.close)
    closer.start()
    begun = time.monotonic()
    with pytest.raises(OSError):  # noqa: PT011 - how it is said depends on who is faster
        line.receive(30.0)
    assert time.monotonic() < begun + 10.0
    closer.join()


def test_a_message_may_take_its_own_time_however_long_the_last_one_did():
    taken = threading.Event()

    def busy(line):
        taken.wait(5.0)
        line.send(line.receive(5.0)[:1], 5.0)

    who = worker()
    line = lines.call(who, who.address, lines.open_door(who, busy, NAME))
    with pytest.raises(TimeoutError):
        line.receive(0.001)
    later = threading.Timer(0.1, taken.set)
    later.start()
    line.send(bytes(1 << 24), 5.0)  # more than fits between two ends where one does not listen
    assert line.receive(5.0) == b"\0"
    line.close()
    line = lines.call(who, who.address, lines.open_door(who, lambda _: time.sleep(0.2), NAME))
    with pytest.raises(TimeoutError):
        line.send(bytes(1 << 24), 0.01)
    line.close()
    later.join()
