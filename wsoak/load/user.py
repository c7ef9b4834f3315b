"""User: a Locust user that opens WebSockets.

    from wsoak.load import WebSocketUser
    from locust import task

    class ChatUser(WebSocketUser):
        @task
        def chat(self):
            with self.connect("/chat", name="chat") as ws:
                answer = ws.request({"type": "ask", "id": 7}, reply_to=7)

Everything that happens on its sockets is in the run's ledger and in Locust's tables; nothing that a server
does raises.
"""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Literal, NoReturn, cast

import gevent
from gevent.event import Event
from gevent.pool import Group
from locust import User
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from locust.exception import CatchResponseError, StopUser

from wsoak.ledger import outcomes
from wsoak.ledger.units import NS_PER_S, s_to_ns
from wsoak.load.accounts_file import Account, BadAccounts
from wsoak.load.api import UNREADABLE, Answer, answer_of, unreadable
from wsoak.load.backoff import delay_s, retry_after_s
from wsoak.load.clock import unix_ns_of
from wsoak.load.cookies import Cookies
from wsoak.load.door import Door
from wsoak.load.generator import Generator
from wsoak.load.http_addresses import pin
from wsoak.load.names import name_of
from wsoak.load.options import Options
from wsoak.load.presence import ENDED_BY_POLICY, GAVE_UP
from wsoak.load.request_events import RequestEvents
from wsoak.load.sequence import Counts
from wsoak.load.sequence import Sequence as PushSequence
from wsoak.load.standalone import generator_of
from wsoak.wire.client import Hello
from wsoak.wire.connection import Connection
from wsoak.wire.dial import Request
from wsoak.wire.endpoint import Endpoint, mask_query, path_of
from wsoak.wire.message import Predicate
from wsoak.wire.replies import ReplyId, reply_to

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
MetricKind = Literal["counter", "gauge", "trend"]

HELD_S: Final = 5.0
"""A socket that worked for so long was a success: after it the back-off begins anew."""
ANY_HOST: Final = "http://127.0.0.1"
LONGEST_DELIVERY_S: Final = 3600.0
"""Any longer is no other figure: all of it lies beyond the histogram, which ends at a minute."""

PRUNE_AT_LEAST: Final = 2
"""A user that remembers more sockets than this looks now and then which of them have ended.

Few, as each weighs kilobytes: those of a thousand users would fill up for minutes, and look like a leak.
"""


class WebSocketUser(User):
    """A user with any number of WebSockets, and an HTTP client when it needs one.

    Attributes:
        number: 0, 1, 2, … in the order in which this process made its users.
        options: wsoak's options of this run.
        cookies: of its HTTP calls and its sockets.
    """

    abstract = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.generator: Generator = generator_of(environment)
        self.number = self.generator.next_user()
        # a fork inherits the parent's random state: seeded by who we are, not by when
        self.random = random.Random(f"{self.generator.run_id}/{self.generator.worker_index}/{self.number}")
        if self.generator.arrivals is not None:
            self.tasks = [partial(_when_one_arrives, task) for task in self.tasks]
            # what a user waits for is the next arrival
            setattr(self, "wait_time", _no_wait)  # noqa: B010 - Locust declares a method
        self._sockets: list[Connection] = []
        self._prune_at = PRUNE_AT_LEAST
        self._accounts: list[tuple[str, int]] = []
        self._last: dict[tuple[str, int], tuple[Connection, int]] = {}
        self._http: FastHttpSession | None = None
        self.cookies = Cookies()

    @property
    def options(self) -> Options:
        """wsoak's options of this run."""
        return self.generator.options

    @property
    def endpoint(self) -> Endpoint:
        """Where the sockets go: derived from Locust's host, http(s) or ws(s)."""
        return self.generator.endpoint(self.host or self.environment.host or ANY_HOST)

    @property
    def run_id(self) -> str:
        """The run's id: sent as ``X-Run-Id`` on what creates something, so that it can be cleaned up."""
        return self.generator.run_id

    def new_id(self) -> str:
        """An id for a message, 16 hexadecimal digits: no other message of the run has it, on any worker.

        For ``request(…, reply_to=…)`` where the server may send to all what one of them says.
        """
        return self.generator.ids.new()

    # ------------------------------------------------------------------------------------------- sockets

    def connect(
        self,
        path: str = "",
        *,
        name: str | None = None,
        headers: Headers = (),
        subprotocols: Sequence[str] = (),
        origin: str | None = None,
        hello: Hello | None = None,
        reply_id: ReplyId = reply_to,
        usable_when: Predicate | None = None,
        heartbeat_s: float | None = None,
        slot: int = 0,
        fresh: bool | None = None,
    ) -> Connection:
        """Open a WebSocket; it may outlive the task, and is closed with the user.

        After a failure of this socket the user first waits as ``--reconnect`` says: a user in a hot loop
        against a server that refuses is a storm, and should be one only when that is wanted.

        Args:
            path: with query, under the host's own path; the host's path itself where empty; or an absolute
                URL (ws, wss, http, https), such as one that the server gave, with nothing of the host's own.
            name: for the books and Locust's tables, the same for all sockets of one kind; unless given, the
                path without its query, with ``{id}`` for what looks like an id (see ``names``).
            origin: the ``Origin`` header, as a browser sends its page's; ``--origin`` unless given.
            hello: a first-message log-in, as the last phase of the opening.
            reply_id: gives the id of the request that a message answers, a list where it answers several; its
                ``reply_to`` unless given. A message whose id is of no request in flight goes to ``expect``
                and ``subscribe``.
            usable_when: says which message makes the socket usable; the first answer, or the first message
                that ``expect`` was asked for, unless given.
            heartbeat_s: seconds between pings, instead of ``--heartbeat``.
            slot: tells apart sockets of one name that a user holds at the same time.
            fresh: ``True``: this is about something new, such as a new session, and no second attempt at the
                same: a close code that forbids one does not count. ``False``: this is the same again, such as
                a feed that is to be held: also after a close with 1000 it is a reconnect. Unless given, what
                follows a usable socket that the server closed with 1000 is new.

        Returns:
            the connection, open or not: see ``is_open``, ``outcome``.

        Raises:
            ValueError: when the request cannot be sent (a line break in a header, a URL of no socket, …).
            locust.exception.StopUser: under ``--reconnect none``, instead of an attempt after a failure; and
                after the end of the load, where the user was not ended in time.
        """
        self._while_the_load_lasts()
        name = self.generator.recorder.series(name or name_of(path_of(path))).name
        endpoint, path = self.endpoint.aim(path)
        attempt = self._wait_for_turn(name, slot, fresh)
        self._while_the_load_lasts()
        last, _ = self._last.get((name, slot), (None, 0))
        waited_s = last.age_s if attempt and last is not None and last.outcome != outcomes.OPEN else None
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        pairs += self.cookies.of_upgrade(endpoint, path, pairs)
        request = Request(path, pairs, subprotocols, origin or self.options.origin or None)
        connection = self.generator.client.open(
            endpoint,
            request,
            name,
            hello=hello,
            attempt=attempt,
            waited_s=waited_s,
            reply_id=reply_id,
            usable_when=usable_when,
            heartbeat_s=heartbeat_s,
            listener=self._listener(endpoint, request),
            owner=weakref.ref(self),
        )
        self.cookies.keep(endpoint, path, connection.headers)
        self.generator.routes.saw(connection, endpoint, request)
        self._last[name, slot] = (connection, attempt)
        if not connection.ended:
            self._sockets.append(connection)
        if len(self._sockets) > self._prune_at:
            self._sockets = [socket for socket in self._sockets if not socket.ended]
            # not at each call: a user may have ten thousand
            self._prune_at = max(PRUNE_AT_LEAST, 2 * len(self._sockets))
        return connection

    def _listener(self, endpoint: Endpoint, request: Request) -> RequestEvents | None:
        if not self.options.request_events:
            return None
        origin = endpoint.ws_url.removesuffix(endpoint.prefix)
        return RequestEvents(self, origin + mask_query(endpoint.resource(request.path)))

    def connect_many(self, number: int, open_one: Callable[[int], Connection]) -> list[Connection]:
        """Open many sockets at a time: ``open_one(index)`` for each, as with ``connect(…, slot=index)``.

        Returns:
            the connections, by index; those that failed too.

        Raises:
            locust.exception.StopUser: where one of the calls did, after all of them; the user's end closes
                what they opened.
        """
        stops: list[StopUser] = []
        connections = self.generator.client.open_many(
            number, lambda index: cast("Connection", _unless_stopped(partial(open_one, index), stops))
        )
        if stops:
            raise stops[0]
        return connections

    def gather(self, functions: Sequence[Callable[[], Any]]) -> None:
        """Run these at the same time, each on a greenlet, until all are done; they end with the user.

        Raises:
            locust.exception.StopUser: when all are done, where one of them raised it.
            Exception: what another of them raised, as soon as it does; the others are ended then.
        """
        stops: list[StopUser] = []
        greenlets = [gevent.spawn(_unless_stopped, function, stops) for function in functions]
        try:
            gevent.joinall(greenlets, raise_error=True)
        finally:
            gevent.killall(greenlets)
        if stops:
            raise stops[0]

    def _while_the_load_lasts(self) -> None:
        """Go no further once the run was told to stop: no socket opens after it."""
        client = self.generator.client
        if client.load_ended:
            client.await_end()
            raise StopUser

    def _wait_for_turn(self, name: str, slot: int, fresh: bool | None) -> int:
        """Wait before a reconnect as the policy says; the attempt's number, 0 where it is no reconnect."""
        last, attempt = self._last.get((name, slot), (None, 0))
        if last is None or not _went_wrong(last) or (fresh is not False and _was_done(last)):
            return 0
        attempt = 1 if last.usable and last.age_s >= HELD_S else attempt + 1
        if self.options.reconnect == "none":
            setattr(self, ENDED_BY_POLICY, True)
            raise StopUser
        if self.options.reconnect == "immediate":
            # what a bad client does; but even that must let the others run
            gevent.sleep(self.options.retry_pause)
            return attempt
        if last.code in self.options.no_retry_codes and not fresh:
            # the server said that there is no point: the user is still there, and stays without this socket
            Event().wait()
        # what the server asked for, and a part drawn at random: its clients must not come back in step
        asked_s = retry_after_s(last.headers.get("retry-after"), time.time())
        gevent.sleep(asked_s + delay_s(attempt, self.random))
        return attempt

    # ---------------------------------------------------------------------------------------------- HTTP

    @property
    def http(self) -> FastHttpSession:
        """Locust's fast HTTP client for the same host, made when first used; it fills Locust's tables.

        It follows no redirects: they may lead to a host that nobody named, with the body of a log-in.
        """
        if self._http is None:
            self._http = FastHttpSession(
                base_url=self.endpoint.http_url,
                request_event=self.environment.events.request,
                user=self,
                insecure=self.options.tls_insecure,
                ssl_context_factory=lambda: self.generator.tls,
                network_timeout=self.options.reply_timeout,
                connection_timeout=self.options.handshake_timeout,
                # as FastHttpUser has it: what is tried again in silence is load that nobody asked for
                max_retries=0,
            )
            # geventhttpclient declares it for the class
            self._http.cookiejar = self._http.client.cookiejar = self.cookies.jar
            pin(self._http, self.generator.client.settings.pins)
            self._http.auth_header = self.endpoint.authorization
            setattr(self._http.client, "redirect_response_codes", frozenset())  # noqa: B010
        return self._http

    def api(
        self,
        method: str,
        path: str,
        *,
        name: str | None = None,
        json: Any = None,
        token: str | None = None,
        needs: Sequence[str] = (),
        accepts: Container[int] = (),
    ) -> Answer:
        """Ask the server's HTTP API something; in Locust's tables it failed unless the answer is good.

        Args:
            name: for the tables; unless given, the path without its query, with ``{id}`` for what looks like
                an id.
            json: the body.
            token: sent as bearer token.
            needs: a good answer is a 2xx, and a JSON object with these members where any are named.
            accepts: statuses that are as good as a 2xx, such as 404 where what is to be deleted may be gone.
        """
        headers = {"Accept": "application/json", "X-Run-Id": self.run_id}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        name = name or name_of(path)
        try:
            with self.http.request(
                method, path, name=name, json=json, headers=headers, catch_response=True
            ) as response:
                answer = answer_of(response, needs, accepts)
                if answer.error:
                    response.failure(answer.error)
                else:
                    response.success()
        except UNREADABLE as cause:
            # its text is nobody's to see: it can quote a token that the server made up
            answer = Answer(0, None, unreadable(cause))
            self.environment.events.request.fire(
                request_type=method,
                name=name,
                response_time=None,
                response_length=0,
                exception=CatchResponseError(answer.error),
                context=self.context(),
            )
        except Exception:
            raise
        except BaseException:
            # killed, or a gevent.Timeout of the scenario's own: it can lose the client's only connection, and
            # what the user still asks when it stops would wait for it for ever
            self.drop_http()
            raise
        return answer

    def logged_in(self) -> None:
        """Say that this user has logged in."""
        self.generator.log_ins.succeeded()

    def log_in_failed(self, answer: Answer) -> NoReturn:
        """Stop this user, as it cannot log in; and the run, where nobody can.

        Raises:
            locust.exception.StopUser: always.
        """
        self.generator.log_ins.failed(answer, self.endpoint.http_url)
        setattr(self, GAVE_UP, True)
        raise StopUser

    def drop_http(self) -> None:
        """Give the HTTP client and its connections back, such as after the log-in."""
        if self._http is not None:
            self._http.client.clientpool.close()
            self._http = None

    # ------------------------------------------------------------------------------------------- figures

    def account(self, made: Callable[[int], Account]) -> Account:
        """An account for this user until it ends: from ``--accounts``, else the n-th that ``made`` makes.

        Raises:
            locust.exception.StopUser: when ``--accounts`` has none for it; the run is stopped then.
        """
        kind = type(self).__name__
        try:
            number, account = self.generator.accounts.take(kind, made)
        except BadAccounts as error:
            self.generator.bad_accounts = error
            self.generator.give_up(str(error))
            setattr(self, GAVE_UP, True)
            raise StopUser from None
        self._accounts.append((kind, number))
        return account

    def check(self, name: str, ok: Any) -> bool:
        """Count a check of the scenario's own, passed or failed; whether it passed."""
        series = self.generator.recorder.series(name)
        if ok:
            series.check_passed += 1
        else:
            series.check_failed += 1
        return bool(ok)

    def metric(self, name: str, value: float = 1.0, kind: MetricKind = "counter") -> None:
        """Count, gauge or time something of the scenario's own.

        Args:
            kind: ``counter`` adds ``value`` up; ``gauge`` keeps it as a reading; ``trend`` takes it as a
                duration in seconds, of which there will be percentiles.
        """
        # a number of numpy's would not reach the master: msgpack takes plain ones
        value = float(value)
        recorder = self.generator.recorder
        if kind == "gauge":
            recorder.gauge("scenario", name, value)
            return
        series = recorder.series(name)
        series.metric_count += 1
        if kind == "trend":
            series.metric_ns.append(s_to_ns(value))
        else:
            series.metric_sum += value

    def observe(
        self, finding: str, name: str, count: int, of: int, text: str = "", at_ns: int | None = None
    ) -> None:
        """Say that ``count`` of ``of`` things were wrong, in a way that only the scenario can know.

        Args:
            finding: the id of the finding that it speaks for, such as ``history-lost``.
            name: the name of the socket that it is about.
            text: evidence in a few words.
            at_ns: when it was so, on ``perf_counter_ns``, as a message's ``received_ns``; now unless given.
        """
        self.generator.recorder.observe(finding, name, count, of, text, at_ns)

    def delivery(self, name: str, duration_s: float) -> None:
        """Count a push that took so many seconds, by one clock: of these there will be percentiles.

        Args:
            name: the name of the socket that it came on.
        """
        series = self.generator.recorder.series(name)
        series.delivery_ns.append(s_to_ns(min(max(0.0, duration_s), LONGEST_DELIVERY_S)))

    def delivered(self, name: str, sent_at: Any, received_ns: int) -> float | None:
        """Count a push that the server says it sent at ``sent_at``, its clock's offset taken off.

        The offset is estimated once a process and server, from the ``time`` at ``health_path``; the first to
        need it wait for it. A push that came before it was sent counts as 0, which lies below the
        histogram's range and is counted there; by more than the estimate may be off, it is made anew too.

        Args:
            name: the name of the socket that it came on.
            sent_at: an ISO 8601 time, UTC unless it says otherwise.
            received_ns: when it came: the message's ``received_ns``.

        Returns:
            seconds, as measured and so perhaps below 0; ``None``, and nothing counted, where ``sent_at`` is
            no time.
        """
        sent_unix_ns = unix_ns_of(sent_at)
        if sent_unix_ns is None:
            return None
        recorder, clocks, endpoint = self.generator.recorder, self.generator.clocks, self.endpoint
        received_unix_ns = recorder.unix_ns(received_ns)
        duration_ns = received_unix_ns - sent_unix_ns
        offset = clocks.offset(endpoint, self.health_path)
        if offset is not None:
            duration_ns += offset.offset_ns
            if duration_ns < -offset.uncertainty_at(received_unix_ns):
                clocks.doubt(endpoint, self.health_path)
        duration_s = duration_ns / NS_PER_S
        self.delivery(name, duration_s)
        return duration_s

    def observe_sequence(self, name: str, sequence: PushSequence, *, over: bool = True) -> Counts:
        """Report what became of numbered pushes since the last time: gaps, repeats and what came too late.

        Args:
            name: the name of the socket that they came on.
            over: nothing more will come; see ``sequence.Sequence.take``.
        """
        counts = sequence.take(over=over)
        gaps, expected = counts.gaps, counts.expected
        if gaps > 1:
            # so that the first and the last of them are dated
            self.observe("sequence-gap", name, gaps - 1, max(0, expected - 1), "", counts.gap_until_ns)
            gaps, expected = 1, min(1, expected)
        lost = f"number {counts.first_gap} never came" if gaps else ""
        for finding, wrong, of, text, at_ns in (
            ("sequence-gap", gaps, expected, lost, counts.gap_since_ns),
            ("messages-repeated", counts.repeated, counts.received, "pushes by their number", None),
            ("messages-reordered", counts.reordered, counts.received, "pushes by their number", None),
        ):
            if wrong or of:
                self.observe(finding, name, wrong, of, text if wrong else "", at_ns)
        return counts

    # ------------------------------------------------------------------------- what a scenario says of itself

    health_path: ClassVar[str | None] = None
    """Answers 2xx where the server is well, with its ``time`` if it gives one; ``None``: no such path."""

    account_columns: ClassVar[Sequence[str]] = ()
    """What each account of ``--accounts`` must have; a file without is refused before the run."""

    def rehearse(self) -> None:
        """Do once what the load will do many times: log in, open one socket, exchange one message, clean up.

        The preflight calls it, on a user of its own, and judges what the ledger then says, as it would judge
        a run. Nothing is rehearsed unless a scenario overrides this.
        """

    def doors(self) -> Sequence[Door]:
        """The ways in that this server must keep shut: what ``--checks security`` tries.

        Called on a user of the preflight's own; it may log in and create what it needs, and ``on_stop`` is
        called afterwards.
        """
        return ()

    def clear(self, run_id: str) -> int:
        """Remove everything that a run with this id left on the server; how many things there were.

        ``python -m wsoak clean`` calls it, on a user of its own.
        """
        del run_id
        return 0

    # ------------------------------------------------------------------------------------ Locust's own

    def start(self, group: Group) -> gevent.Greenlet:
        """See ``locust.User.start``; however the user ends, its sockets are closed then."""
        greenlet = super().start(group)
        greenlet.rawlink(self._release)
        return greenlet

    def _release(self, _: gevent.Greenlet) -> None:
        for connection in self._sockets:
            connection.begin_close(1000, self.generator.client.end_reason)
        self._sockets = []
        for kind, number in self._accounts:
            self.generator.accounts.give_back(kind, number)
        self._accounts = []
        self.drop_http()


def _no_wait() -> float:
    return 0.0


def _when_one_arrives(task: Any, user: WebSocketUser) -> None:
    """Run a task, a function or a nested set of them, for the next arrival of the open model."""
    assert user.generator.arrivals is not None
    if not user.generator.arrivals.take():
        raise StopUser
    begun = task(user)
    if isinstance(task, type):
        begun.run()


def _unless_stopped(function: Callable[[], Any], stops: list[StopUser]) -> Any:
    """What it returns; a wish to stop the user is kept for whoever waits, as gevent would print it."""
    try:
        return function()
    except StopUser as stop:
        stops.append(stop)
        return None


def _was_done(connection: Connection) -> bool:
    """Whether the server closed it as one that had served its purpose: a conversation that went well."""
    return connection.usable and connection.code == 1000 and not connection.close_error


def _went_wrong(connection: Connection) -> bool:
    """Whether opening it again is a reconnect: it failed, or the peer ended it, or gave us cause to."""
    return (
        connection.outcome != outcomes.OPEN
        or connection.initiator in ("server", "network")
        or connection.reason == outcomes.DROPPED
        or bool(connection.close_error)
    )
