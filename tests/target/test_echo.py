"""Echo, over real sockets."""

import asyncio

import pytest
import websockets

from tests.target.client import PATIENCE_S, PATIENT, Target, connect, eventually

SOCKETS = 1000


@pytest.mark.parametrize("message", ["", "hello", "你好 🌍", "x" * 70_000, b"", b"\x00\xff", b"y" * 70_000])
def test_a_message_comes_back_as_it_was(target: Target, message: str | bytes) -> None:
    with connect(target.ws + "/echo") as socket:
        socket.send(message)
        assert socket.recv() == message


def test_a_fragmented_message_comes_back_whole(target: Target) -> None:
    with connect(target.ws + "/echo") as socket:
        socket.send(["one ", "two ", "三"])
        assert socket.recv() == "one two 三"


def test_a_ping_is_answered(target: Target) -> None:
    with connect(target.ws + "/echo") as socket:
        assert socket.ping().wait(PATIENCE_S)


def test_compression_is_not_offered_unless_asked_for(target: Target) -> None:
    with connect(target.ws + "/echo", compression="deflate") as socket:
        assert socket.protocol.extensions == []


def test_a_thousand_sockets_at_once_are_served_and_counted(target: Target) -> None:
    async def scenario() -> None:
        sockets = await asyncio.gather(
            *(websockets.connect(target.ws + "/echo", **PATIENT) for _ in range(SOCKETS))
        )
        counted = await asyncio.to_thread(target.metric, "wsoak_target_open_sockets", system="echo")
        assert counted == SOCKETS
        await asyncio.gather(*(socket.send(str(n)) for n, socket in enumerate(sockets)))
        answers = await asyncio.gather(*(socket.recv() for socket in sockets))
        assert answers == [str(n) for n in range(SOCKETS)]
        await asyncio.gather(*(socket.close() for socket in sockets))

    eventually(lambda: target.metric("wsoak_target_open_sockets", system="echo") == 0)
    names = ("messages_received_total", "messages_sent_total", "bytes_sent_total")
    before = {name: target.metric(f"wsoak_target_{name}", system="echo") for name in names}
    closed = {"system": "echo", "code": "1000", "initiator": "client"}
    closed_before = target.metric("wsoak_target_closes_total", **closed)
    asyncio.run(scenario())
    eventually(lambda: target.metric("wsoak_target_closes_total", **closed) == closed_before + SOCKETS)
    grown = {name: target.metric(f"wsoak_target_{name}", system="echo") - before[name] for name in names}
    digits = sum(len(str(n)) for n in range(SOCKETS))
    assert grown == dict(zip(names, (SOCKETS, SOCKETS, digits), strict=True))


def test_many_messages_in_flight_on_one_socket_come_back_in_order(target: Target) -> None:
    async def scenario() -> list[str | bytes]:
        async with websockets.connect(target.ws + "/echo", **PATIENT) as socket:

            async def send() -> None:
                for n in range(5000):
                    await socket.send(str(n))

            sending = asyncio.create_task(send())
            received = [await socket.recv() for _ in range(5000)]
            await sending
            return received

    assert asyncio.run(scenario()) == [str(n) for n in range(5000)]
