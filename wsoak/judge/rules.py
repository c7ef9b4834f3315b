"""Rules: which end of a connection speaks for which finding, and where to look.

The tables are read in order, and the first rule that claims a way to end has it: one connection never
speaks for two findings (a reconnect can be part of a storm besides). What the harness itself did (closes at
the end of a run, cancelled openings, its own lack of ports) is claimed by no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from wsoak.ledger.books import EndGroup, EndKind
from wsoak.ledger.outcomes import (
    ABNORMAL,
    BAD_UPGRADE,
    CLOSED_HELLO,
    DETAIL_BAD_REASON,
    DETAIL_EOF,
    DETAIL_HEARTBEAT_LOST,
    DETAIL_INVALID_ON_WIRE,
    DETAIL_PROTOCOL,
    EOF,
    HEAD_TOO_LARGE,
    NO_STATUS,
    OPEN,
    OUTCOMES,
    REFUSED,
    RESET,
    RESOLVE_FAILED,
    TIMEOUT_HELLO,
    TIMEOUT_TCP,
    TIMEOUT_TLS,
    TIMEOUT_UPGRADE,
    TLS_FAILED,
    UNREACHABLE,
    close_class,
    is_failure,
    rejected_status,
)

Severity = Literal["critical", "error", "warning", "info"]
SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "error", "warning", "info")
"""Worst first. ``critical``: an outage, data loss, or a door open."""

Basis = Literal["opening", "close"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of all the connections of one name, beyond a single way to end.

    ``observed``: ids that an observation of this name speaks for. ``opened``: some handshake succeeded.
    ``refused_later_only``: log-ins were refused on reconnects, and never on a first attempt.
    ``resets_while_active``: most resets came while the server was writing. ``idle_ends``: the ways to end
    that came after one same time of silence.
    """

    observed: frozenset[str] = frozenset()
    opened: bool = False
    refused_later_only: bool = False
    resets_while_active: bool = False
    idle_ends: frozenset[EndKind] = frozenset()


Claim = Callable[[EndKind, EndGroup, Facts], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A finding that ends of connections speak for.

    ``seen`` completes the sentence "12 of 200 handshakes/sockets …"; ``hint`` says where to look.
    """

    id: str
    basis: Basis
    claims: Claim
    seen: str
    hint: str


# ------------------------------------------------------------------------------------ facts about an end


def counts_against_server(kind: EndKind) -> bool:
    """Whether this end is anything that the server or the network did."""
    if kind.outcome == OPEN:
        return not kind.ended_by_run
    known = kind.outcome in OUTCOMES or rejected_status(kind.outcome) is not None
    return known and is_failure(kind.outcome)


def is_refusal(kind: EndKind) -> bool:
    """Whether the server turned the user away, by status or by closing with an error or a policy code."""
    if kind.outcome != OPEN:
        return rejected_status(kind.outcome) in (401, 403)
    return _by_policy(kind) and not kind.usable


def is_reset(kind: EndKind) -> bool:
    """Whether the opened connection broke without a close frame, and not by an orderly end of stream."""
    return _broke(kind) and kind.detail not in (DETAIL_EOF, DETAIL_HEARTBEAT_LOST)


def may_be_idle_end(kind: EndKind) -> bool:
    """Whether a proxy or server that loses patience with a silent socket could end it in this way."""
    if kind.outcome != OPEN or kind.ended_by_run:
        return False
    by_eof = _broke(kind) and kind.detail == DETAIL_EOF
    return by_eof or (kind.initiator == "server" and kind.code in (1001, NO_STATUS))


def _broke(kind: EndKind) -> bool:
    return kind.code == ABNORMAL and kind.initiator == "network"


def _by_policy(kind: EndKind) -> bool:
    if kind.initiator != "server" or kind.code is None:
        return False
    # a framework's default code is 1000: a refusal is then known by its message
    by_message = kind.denied and kind.code in (1000, NO_STATUS) and not kind.usable
    return by_message or close_class(kind.code) == "policy"


def _outcome(*outcomes: str) -> Claim:
    return lambda kind, _group, _facts: kind.outcome in outcomes


def _dropped_in(phase: str, *drops: str) -> Claim:
    return lambda kind, _group, _facts: kind.phase == phase and kind.outcome in drops


def _answered(*statuses: int) -> Claim:
    return lambda kind, _group, _facts: rejected_status(kind.outcome) in statuses


def _either(*claims: Claim) -> Claim:
    return lambda kind, group, facts: any(claim(kind, group, facts) for claim in claims)


def _both(*claims: Claim) -> Claim:
    return lambda kind, group, facts: all(claim(kind, group, facts) for claim in claims)


def _observed(finding: str) -> Claim:
    return lambda _kind, _group, facts: finding in facts.observed


def _closed_with(*codes: int) -> Claim:
    return lambda kind, _group, _facts: kind.initiator == "server" and kind.code in codes


def _might_be_a_missing_route(kind: EndKind, _group: EndGroup, facts: Facts) -> bool:
    """What servers answer where there is no route: 404 most of them, 403 Starlette, 500 Channels.

    Where the route was there at times, it was there: the latter two refuse, or crash.
    """
    status = rejected_status(kind.outcome)
    return status == 404 or (status in (403, 500) and not facts.opened)


def _keepalive(group: EndGroup) -> bool:
    """Whether the server says itself that it closed for want of our pongs, and not because it crashed."""
    return bool(group.reasons.texts) and all("ping timeout" in text for text in group.reasons.texts)


# ------------------------------------------------------------------------------------------------ tables

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "server-unreachable",
        "opening",
        _either(
            _outcome(REFUSED, UNREACHABLE, RESOLVE_FAILED, TIMEOUT_TCP),
            _dropped_in("tcp", RESET, EOF),
        ),
        "did not reach the server",
        "Is the server running, on this host and port, and does its accept queue keep up "
        "(`ss -ltn`: Recv-Q against Send-Q)? Look at the name look-up, the firewall and the load "
        "balancer's targets before the application.",
    ),
    Rule(
        "tls-failed",
        "opening",
        _either(_outcome(TLS_FAILED, TIMEOUT_TLS), _dropped_in("tls", RESET, EOF)),
        "failed in TLS",
        "Check the certificate's names, chain and dates, and the protocol versions: "
        "`openssl s_client -connect HOST:PORT -servername HOST`. A private authority needs --tls-ca.",
    ),
    Rule(
        "hello-failed",
        "opening",
        _either(_outcome(CLOSED_HELLO, TIMEOUT_HELLO), _dropped_in("hello", RESET, EOF)),
        "failed in the first-message log-in",
        "The upgrade succeeded and the application's own log-in did not: look in the server's log at the "
        "handler of the first message, and compare the message that the client sends with what it expects.",
    ),
    Rule(
        "route-doubled",
        "opening",
        _both(_might_be_a_missing_route, _observed("route-doubled")),
        "asked for a path that the server has under another prefix",
        "The route answers under a variant of the prefix: look where the server includes its routers "
        "(`include_router(..., prefix=...)` twice), and list its routes at the start.",
    ),
    Rule(
        "route-not-found",
        "opening",
        _either(_answered(404), _both(_might_be_a_missing_route, _observed("route-not-found"))),
        "asked for a path that the server does not have",
        "Compare the path asked for with the server's list of routes, its prefix above all (such as "
        "`/api/v1`); `python -m wsoak routes` tries variants. A client must not retry a missing route "
        "at once.",
    ),
    Rule(
        "credentials-expired",
        "opening",
        _both(_answered(401, 403), lambda _kind, _group, facts: facts.refused_later_only),
        "were turned away on a reconnect, with credentials that had been accepted before",
        "The token ended before the run did: compare its `exp` with what the server holds, and refresh the "
        "token before a reconnect instead of reusing the old one.",
    ),
    Rule(
        "upgrade-refused",
        "opening",
        _answered(401, 403),
        "were refused before the socket was accepted",
        "The server checks credentials before it accepts, so that the client sees a failed handshake and no "
        "reason. Check the token (secret, `exp`, where it is sent: query or header) and the allowed origins; "
        "accept first and then close with a message, if clients are to know why.",
    ),
    Rule(
        "overload",
        "opening",
        lambda kind, _group, _facts: rejected_status(kind.outcome) in (429, 503) and not kind.no_backend,
        "were turned away as too many",
        "The server or a proxy limits connections or their rate: look at its limits, at Retry-After, and at "
        "whether clients wait longer after each refusal.",
    ),
    Rule(
        "backend-dead",
        "opening",
        _either(_answered(502, 504), lambda kind, _group, _facts: kind.no_backend),
        "were answered by a proxy whose back end did not answer",
        "The proxy lives and the back end behind it does not answer: look at the back end's process and "
        "health, and in the proxy's log for `connect() failed`, `upstream prematurely closed connection`, "
        "`<NOSRV>` or `is DOWN`. HAProxy answers in the same words where a request has waited in its queue "
        "for `timeout queue` (`sQ` in its log): then the back end lives, and its `maxconn` is used up.",
    ),
    Rule(
        "upgrade-crash",
        "opening",
        _either(
            lambda kind, _group, _facts: 500 <= (rejected_status(kind.outcome) or 0) <= 599,
            _outcome(EOF),
        ),
        "crashed the server's handler before it answered",
        "The handler fails during the upgrade: look in the server's log for a panic or traceback at that "
        "moment, such as `interface {} is nil, not string` or an identity that no middleware had set. Where "
        "the request never reached it, a proxy ended the connection by a rule of its own (HAProxy's "
        "`reject`, nginx's `return 444`).",
    ),
    Rule(
        "upgrade-reset",
        "opening",
        _outcome(RESET),
        "were reset while the upgrade was under way",
        "Something between client and handler resets the connection: look in a development proxy's log for "
        "`Failed to proxy … ECONNRESET`, whether it passes upgrades on (`ws: true`), and at the back end's "
        "own log for a request that never came.",
    ),
    Rule(
        "upgrade-slow",
        "opening",
        _outcome(TIMEOUT_UPGRADE),
        "got no answer to the upgrade in time",
        "The connection was there and the handler did not answer: look at what it waits for before it "
        "accepts (a database look-up, a small connection pool), and for "
        "`timed out during opening handshake`.",
    ),
    Rule(
        "bad-upgrade",
        "opening",
        _outcome(BAD_UPGRADE, HEAD_TOO_LARGE),
        "got an answer that breaks RFC 6455",
        "The answer to the upgrade is not a WebSocket server's (accept key, Upgrade header, subprotocol): "
        "look at the proxies and caches between client and server.",
    ),
    Rule(
        "upgrade-rejected",
        "opening",
        lambda kind, _group, _facts: rejected_status(kind.outcome) is not None,
        "got an HTTP answer instead of an upgrade",
        "An ordinary HTTP handler answered: look at whether the path reaches the WebSocket route, and "
        "whether a proxy passes the Upgrade and Connection headers on (400 and 426 often say that it "
        "does not).",
    ),
    # -------------------------------------------------------------------------------- opened sockets
    Rule(
        "peer-silent",
        "close",
        lambda kind, _group, _facts: kind.detail == DETAIL_HEARTBEAT_LOST,
        "went silent: open, and no byte for three heartbeats",
        "The server no longer answers on a socket that it keeps open: look for a blocked event loop, a dead "
        "worker behind a proxy, or a network that drops packets. A client must end such a socket itself.",
    ),
    Rule(
        "too-big",
        "close",
        lambda kind, _group, _facts: 1009 in (kind.code, kind.sent_code),
        "ended over a message that was too big",
        "A message was larger than a side allows: compare the greatest message with the server's and "
        "proxy's limits (`ws_max_size`, `max_payload_length`).",
    ),
    Rule(
        "idle-timeout",
        "close",
        lambda kind, _group, facts: kind in facts.idle_ends,
        "ended after one same time of silence",
        "Sockets that end after equal silence meet a time-out, mostly a proxy's (`proxy_read_timeout`, "
        "`timeout tunnel`, a load balancer's idle time-out): send heartbeats more often than that, or "
        "raise it.",
    ),
    Rule(
        "credentials-expired",
        "close",
        lambda kind, _group, facts: facts.refused_later_only and _by_policy(kind),
        "were turned away on a reconnect, with credentials that had been accepted before",
        "The token ended before the run did: compare its `exp` with what the server holds, and refresh the "
        "token before a reconnect instead of reusing the old one.",
    ),
    Rule(
        "closed-policy-denied",
        "close",
        lambda kind, _group, _facts: kind.denied and _by_policy(kind),
        "were closed by the server, which said why",
        "The server's own check refused this user: its message names the check. Compare the session's owner "
        "with the token's user, and what the scenario asks for with what it may.",
    ),
    Rule(
        "closed-policy-silent",
        "close",
        lambda kind, _group, _facts: _by_policy(kind),
        "were closed by the server with a policy code and no error message",
        "The handler gave up without saying why: look in the server's log for an exception inside the "
        "socket's handler, such as `Object of type datetime is not JSON serializable`. In the client, log "
        "the close code: the error event carries nothing.",
    ),
    Rule(
        "overload",
        "close",
        _closed_with(1013),
        "were closed by the server as too many",
        "The server sheds load (1013, try again later): look at its connection limit, and at whether clients "
        "wait longer after each refusal.",
    ),
    Rule(
        "backend-dead",
        "close",
        _closed_with(1014),
        "were closed by a gateway whose back end failed",
        "The gateway lives and the back end behind it does not: look at the back end's process and health.",
    ),
    Rule(
        "server-restart",
        "close",
        _closed_with(1001, 1012),
        "were closed because the server went away",
        "The server was stopped or deployed during the run: compare the time with its log, and look at how "
        "long the clients took to come back, and whether all came at once.",
    ),
    Rule(
        "server-crash",
        "close",
        lambda kind, group, facts: (
            (kind.initiator == "server" and kind.code == 1011 and not _keepalive(group))
            or (_broke(kind) and kind.detail == DETAIL_EOF)
            or (is_reset(kind) and facts.resets_while_active)
        ),
        "ended because the server's handler failed",
        "The handler died while the socket was in use: look in the server's log for a traceback, such as "
        '`Cannot call "send" once a close message has been sent`, and for a restarted worker.',
    ),
    Rule(
        "connection-reset",
        "close",
        lambda kind, _group, _facts: _broke(kind),
        "broke without a close frame",
        "The connection was reset under an open socket: look for a killed process, a proxy or firewall that "
        "drops connections, and `ECONNRESET` in either log. The client must go back to its start state.",
    ),
    Rule(
        "closed-no-status",
        "close",
        _closed_with(NO_STATUS),
        "were closed by the server without a status",
        "The server closed cleanly and gave no code: look for a handler that returns early or calls "
        "`close()` bare; the client's log says `received 1005 (no status code [internal])`. The client must "
        "look at the socket's state before it sends.",
    ),
    Rule(
        "protocol-violation",
        "close",
        lambda kind, _group, _facts: (
            kind.detail in (DETAIL_PROTOCOL, DETAIL_INVALID_ON_WIRE, DETAIL_BAD_REASON)
        ),
        "ended over frames that break RFC 6455",
        "The server, or something between, sent frames that a WebSocket client may not accept: look at the "
        "library's version and at proxies that touch the stream.",
    ),
    Rule(
        "closed-by-server",
        "close",
        lambda kind, _group, _facts: (
            kind.initiator == "server" and (kind.code != 1000 or kind.usable is False)
        ),
        "were closed by the server before their work was done",
        "The close code and reason are the server's own words: look for them in its source, and at what the "
        "socket was doing.",
    ),
)


@dataclass(frozen=True, slots=True)
class ObservedRule:
    """A finding that scenarios and probes establish; ``seen`` completes "3 of 200 …".

    ``gauges`` begins the names of those gauges of scenarios that speak for it too; empty: there are none.
    """

    severity: Severity
    seen: str
    hint: str
    gauges: str = ""


_ACCEPTED: Final = "Authenticate before the socket is used, and test this door in the server's own tests."

OBSERVED: Final[Mapping[str, ObservedRule]] = MappingProxyType(
    {
        "history-lost": ObservedRule(
            "critical",
            "acknowledged messages were missing from the history, or not there once and in order",
            "Messages were answered and then not kept: look at when the server commits them, at swallowed "
            "database errors, and at writes that go on after the answer.",
        ),
        "relay-lost": ObservedRule(
            "critical",
            "relayed messages never reached the other party",
            "Look at how the server finds the other party's socket, and at what it does with messages while "
            "that one is not connected.",
        ),
        "sequence-gap": ObservedRule(
            "critical",
            "pushed events were missing from their sequence",
            "Events are lost between the worker that makes them and the socket that forwards them: look at "
            "fire-and-forget publishing (Redis pub/sub keeps nothing), and at the moment between history "
            "and subscription.",
        ),
        "messages-repeated": ObservedRule(
            "error",
            "messages came more than once",
            "Look at history that overlaps the live stream, at retries without an idempotency key, and at "
            "a socket subscribed twice.",
        ),
        "messages-reordered": ObservedRule(
            "error",
            "messages came out of order",
            "Look at several workers that publish for one socket, and at sends that are not awaited.",
        ),
        "route-not-found": ObservedRule(
            "error",
            "probes found that the server has no such route",
            "Compare the path asked for with the server's list of routes, its prefix above all; "
            "`python -m wsoak routes` tries variants.",
        ),
        "route-doubled": ObservedRule(
            "error",
            "probes found the route under another prefix",
            "Look where the server includes its routers (`include_router(..., prefix=...)` twice), and list "
            "its routes at the start.",
        ),
        "log-in-refused": ObservedRule(
            "critical",
            "log-ins were refused, so that no socket was tried",
            "Check the accounts (--accounts FILE, WSOAK_PASSWORD), and that they exist on this server.",
        ),
        "log-in-failed": ObservedRule(
            "critical",
            "log-ins failed, so that no socket was tried",
            "Check --host and which API the server serves there; look at the log-in's status in Locust's "
            "tables, and at the server's log.",
        ),
        "server-unreachable": ObservedRule(
            "critical",
            "log-ins found nothing that answers",
            "Check --host and the port, that the server runs and listens on that address, and what stands "
            "between: firewalls, proxies, DNS.",
        ),
        "health-failed": ObservedRule(
            "critical",
            "the health check before the load failed",
            "Check --host: another service may answer there. Look at the server's log, and at what its "
            "health depends on.",
        ),
        "rehearsal-failed": ObservedRule(
            "critical",
            "one user alone, before the load, did not come to its end",
            "`python -m wsoak check` repeats it: compare what the scenario asks for with what the server "
            "answers, request by request.",
        ),
        "no-answer": ObservedRule(
            "critical",
            "one user alone, before the load, got no answer on an open socket",
            "The server takes messages and does not answer: look at its handler's log, and at whether the "
            "scenario knows an answer when it sees one (`reply_id`, `usable_when`).",
        ),
        "descriptors-exhausted": ObservedRule(
            "error",
            "the generator has fewer file descriptors than the load needs",
            "Raise the limit before the run (`ulimit -n`), or use more processes.",
        ),
        "ports-exhausted": ObservedRule(
            "error",
            "the generator has fewer local ports than the load needs",
            "Use more source addresses (--source-ips), or widen net.ipv4.ip_local_port_range.",
        ),
        "sessions-not-released": ObservedRule(
            "error",
            "sessions were still there after their end",
            "Look at what ends a session on the server: a hang-up, a lost socket and a time-out must each "
            "remove it. Users who are refused as busy (409) while they are not meet the same fault.",
            gauges="open_",
        ),
        "users-busy": ObservedRule(
            "error",
            "users were refused for what another run had begun with their accounts",
            "Another run uses these accounts now, or one that was killed left it behind: "
            "`python -m wsoak clean --run ID` removes what a run left, ID being the other run's.",
        ),
        "unauthenticated-accepted": ObservedRule(
            "critical", "probes without credentials were let in", _ACCEPTED
        ),
        "expired-token-accepted": ObservedRule(
            "critical", "probes with an expired token were let in", "Check `exp`. " + _ACCEPTED
        ),
        "forged-token-accepted": ObservedRule(
            "critical", "probes with a wrong signature were let in", "Verify the signature. " + _ACCEPTED
        ),
        "unsigned-token-accepted": ObservedRule(
            "critical", "probes with `alg: none` were let in", "Fix the algorithms allowed. " + _ACCEPTED
        ),
        "made-up-token-accepted": ObservedRule(
            "critical", "probes with a made-up token were let in", "Look the token up. " + _ACCEPTED
        ),
        "foreign-session-accepted": ObservedRule(
            "critical", "probes entered another user's session", "Check the session's owner. " + _ACCEPTED
        ),
        "identity-mismatch-accepted": ObservedRule(
            "critical",
            "probes were let in under an identity that is not their token's",
            "Take the identity from the token alone. " + _ACCEPTED,
        ),
        "wrong-token-kind-accepted": ObservedRule(
            "critical",
            "probes with a token of another kind were let in",
            "Check the token's kind or audience. " + _ACCEPTED,
        ),
    }
)
"""Findings that no end of a connection shows. An id that is not here is reported with its own text."""

OBSERVED_OTHERWISE: Final = ObservedRule(
    "error", "things were wrong", "The scenario reports this itself: look at the check that it names."
)

DOOR_OPEN: Final = "-accepted"
"""How the id of a door that opened ends; a scenario may have doors of its own kind."""

DOOR_OTHERWISE: Final = ObservedRule("critical", "probes were let in that must not be", _ACCEPTED)

STORM: Final = ObservedRule(
    "warning",
    "came back without waiting",
    "Back off exponentially with full jitter and a cap, and start over only when a socket has held for a "
    "while; do not retry at all after codes such as 1008, 4001, 4003, 4401 and 4403. On the server, answer "
    "with Retry-After, and let clients in at a rate that it can bear.",
)
"""``reconnect-storm``: a client's fault beside the server's, told from the attempts of each second."""

TELLS_OF_STORM: Final = frozenset({"route-not-found", "route-doubled", "upgrade-refused"})
"""Findings of which a storm is a part, as nothing but a client that does not give up keeps them going: they
tell its figures, and it is no finding of its own."""

DO_NOT_RETRY: Final = frozenset({1008, 4001, 4003, 4401, 4403})
"""Close codes after which trying again is in vain: who the client is would have to change."""

AFTERMATH: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "server-restart": frozenset(
            {
                "server-unreachable",
                "backend-dead",
                "overload",
                "upgrade-crash",
                "upgrade-reset",
                "connection-reset",
                "server-crash",
            }
        ),
        "route-doubled": frozenset({"route-not-found"}),
        # a proxy ends the sockets of a server that died, and says afterwards that there is none
        "backend-dead": frozenset({"connection-reset", "server-crash"}),
    }
)
"""Findings that another one explains, if they lie within its time: they become a line of its evidence."""

SILENCES: Final = frozenset({"peer-silent"})
"""Findings dated by when the silence began: three heartbeats pass until such a socket has ended."""

ONE_A_SOCKET: Final = frozenset({"connection-reset", "server-crash"})
"""Findings that a socket speaks for once, where an attempt that fails can be repeated any number of times."""

AFTERMATH_BEFORE_S: Final = 2.0
AFTERMATH_AFTER_S: Final[Mapping[str, float]] = MappingProxyType({"backend-dead": 2.0})
"""How long after its last sign a finding still explains another one; ``AFTERMATH_S`` unless given. Sockets
that break when the proxy has a back end again broke for a reason of their own."""
AFTERMATH_S: Final = 60.0

IDLE_AT_LEAST_S: Final = 5.0
"""A silence below this is no proxy's time-out."""
IDLE_ENDS_AT_LEAST: Final = 5
IDLE_SPREAD: Final = 0.05
IDLE_SPREAD_S: Final = 1.0


def idle_ends(ends: Iterable[tuple[EndKind, EndGroup]]) -> frozenset[EndKind]:
    """Of the ways to end that an idle time-out may have caused, those that one did cause."""
    candidates = list(ends)
    clusters = [group for _, group in candidates if _after_equal_silence(group)]
    # a few that differ in something else, such as a user's first attempt, met the same time-out
    return frozenset(
        kind
        for kind, group in candidates
        if any(
            cluster.idle_min_s - IDLE_SPREAD_S <= group.idle_min_s
            and group.idle_max_s <= cluster.idle_max_s + IDLE_SPREAD_S
            for cluster in clusters
        )
    )


def _after_equal_silence(group: EndGroup) -> bool:
    """Whether these sockets ended after one same silence, at times that nothing else explains.

    Sockets that end together after equal silence may as well have met a restart: their ends must lie further
    apart than their silences do.
    """
    spread_s = group.idle_max_s - group.idle_min_s
    return (
        group.count >= IDLE_ENDS_AT_LEAST
        and group.idle_min_s >= IDLE_AT_LEAST_S
        and spread_s <= max(IDLE_SPREAD_S, IDLE_SPREAD * group.idle_min_s)
        and group.last_s - group.first_s > 3 * spread_s + 2
    )
