"""The bus: both kinds carry events in order, to who listens; and a Redis that goes and comes back."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from target.bus import Bus, BusError, LocalBus, RedisBus, made_bus
from tests.target.redis_server import free_port, redis_server

PATIENCE_S = 60.0
REAL = pytest.mark.real


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis may pause, as all on a busy machine may."""
    monkeypatch.setattr("target.bus.ANSWER_TIMEOUT_S", PATIENCE_S)


class Ear:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard_texts: list[str] = []
        self.times_missed = 0

    def heard(self, text: str) -> None:
        """See ``Listener``."""
        self.heard_texts.append(text)

    def missed(self) -> None:
        """See ``Listener``."""
        self.times_missed += 1


async def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


@pytest.fixture(params=["local", pytest.param("redis", marks=REAL)])
def bus_made(request: pytest.FixtureRequest) -> Callable[[], Bus]:
    """Makes a bus; inside the loop that will use it."""
    if request.param == "local":
        return LocalBus
    url = request.getfixturevalue("redis_url")
    return lambda: made_bus(url)


def play(bus_made: Callable[[], Bus], scene: Callable[[Bus], Awaitable[None]]) -> None:
    """A scene with a bus of its own."""

    async def whole() -> None:
        await scene(bus_made())

    asyncio.run(whole())


def test_all_who_listen_on_a_topic_hear_it_in_order(bus_made: Callable[[], Bus]) -> None:
    async def scene(bus: Bus) -> None:
        first, second, other = Ear(), Ear(), Ear()
        await bus.subscribe("a", first)
        await bus.subscribe("a", second)
        await bus.subscribe("b", other)
        texts = [f"{number}: 線性代数 🚀" for number in range(200)]
        for text in texts:
            await bus.publish("a", text)
        await bus.publish("b", "the end")
        await until(lambda: other.heard_texts == ["the end"])
        assert first.heard_texts == second.heard_texts == texts

    play(bus_made, scene)


def test_what_is_published_after_a_subscription_is_heard_whatever_came_before(
    bus_made: Callable[[], Bus],
) -> None:
    async def scene(bus: Bus) -> None:
        await bus.publish("a", "before")
        for number in range(20):
            ear = Ear()
            await bus.subscribe(f"topic {number}", ear)
            await bus.publish(f"topic {number}", "after")
            await until(lambda ear=ear: ear.heard_texts == ["after"])  # type: ignore[misc]

    play(bus_made, scene)


def test_who_listens_no_more_hears_no_more(bus_made: Callable[[], Bus]) -> None:
    async def scene(bus: Bus) -> None:
        gone, staying = Ear(), Ear()
        await bus.subscribe("a", gone)
        await bus.subscribe("a", staying)
        bus.unsubscribe("a", gone)
        bus.unsubscribe("a", gone)
        bus.unsubscribe("never", gone)
        await bus.publish("a", "text")
        await until(lambda: staying.heard_texts == ["text"])
        assert gone.heard_texts == []

    play(bus_made, scene)


def test_who_leaves_while_it_hears_takes_nobody_along() -> None:
    async def scene(bus: Bus) -> None:
        class Leaving(Ear):
            """Leaves at the first text."""

            def heard(self, text: str) -> None:
                """See ``Listener``."""
                super().heard(text)
                bus.unsubscribe("a", self)

        ears = [Leaving(), Leaving(), Ear()]
        for ear in ears:
            await bus.subscribe("a", ear)
        await bus.publish("a", "one")
        await bus.publish("a", "two")
        assert [ear.heard_texts for ear in ears] == [["one"], ["one"], ["one", "two"]]

    play(LocalBus, scene)


@REAL
def test_after_a_loss_listeners_are_told_and_hear_again(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server() as server:

        async def scene(bus: Bus) -> None:
            ear = Ear()
            await bus.subscribe("a", ear)
            told = ear.times_missed
            server.kill()
            with pytest.raises(BusError):
                await bus.publish("a", "lost")
            await asyncio.to_thread(server.start)
            await until(lambda: ear.times_missed > told)
            await bus.publish("a", "back")
            await until(lambda: ear.heard_texts == ["back"])

        play(lambda: RedisBus(server.url), scene)
    assert "Redis is lost" in caplog.text


@REAL
def test_a_subscription_that_nobody_confirms_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("target.bus.LAST_RETRY_S", 0.1)
    with redis_server() as server:

        async def scene(bus: Bus) -> None:
            server.kill()
            ear = Ear()
            with monkeypatch.context() as hasty, pytest.raises(BusError, match="confirm"):
                hasty.setattr("target.bus.ANSWER_TIMEOUT_S", 0.2)
                await bus.subscribe("a", ear)
            await asyncio.to_thread(server.start)
            await bus.subscribe("b", Ear())
            await bus.publish("a", "for nobody")
            assert ear.heard_texts == []

        play(lambda: RedisBus(server.url), scene)


@REAL
def test_a_redis_that_wants_a_password_says_so_without_naming_one() -> None:
    with redis_server("right-one") as server:
        wrong = server.url.replace("right-one", "wrong-one")
        with pytest.raises(BusError, match=f"the Redis at 127.0.0.1:{server.port} wants other cred") as said:
            made_bus(wrong)
        assert "wrong" not in str(said.value)

        async def scene(bus: Bus) -> None:
            ear = Ear()
            await bus.subscribe("a", ear)
            await bus.publish("a", "text")
            await until(lambda: ear.heard_texts == ["text"])

        play(lambda: made_bus(server.url), scene)


def test_a_redis_that_is_not_there_is_named_in_one_sentence() -> None:
    port = free_port()
    with pytest.raises(BusError) as said:
        made_bus(f"redis://:secret@127.0.0.1:{port}/0")
    assert str(said.value).startswith(f"the Redis at 127.0.0.1:{port} does not answer")
    assert "secret" not in str(said.value)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:6379", "http://127.0.0.1/", "redis://", "redis://h:99999", "redis://["]
)
def test_what_is_no_redis_url_is_said_to_be_none(url: str) -> None:
    with pytest.raises(BusError, match="write redis://"):
        made_bus(url)


def test_without_a_url_the_bus_is_within_the_process() -> None:
    assert isinstance(made_bus(None), LocalBus)
