"""Observed rules: findings that scenarios and probes establish, and that no end of a connection shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from wsoak.judge.rule import Severity


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
        "origin-refused": ObservedRule(
            "error",
            "probes found that the server refuses sockets without its own origin",
            "Send the Origin of the page that users come from (--origin), and compare it with the server's "
            "list of allowed origins.",
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
        "replies-unmatched": ObservedRule(
            "critical",
            "got no answer that the scenario knows for one: messages came, none with the id of the request",
            "`reply_id` must give, for an answer, the very id that `request(…, reply_to=…)` was told, of the "
            "same type. EchoUser takes only the very text that it sent: where the server adds words of its "
            "own, write a scenario with a `reply_id` that finds the id (docs/your-own-system.md).",
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
        "source-unusable": ObservedRule(
            "error",
            "the generator's source addresses cannot reach the host",
            "Give --source-ips addresses of this machine, of the host's own family (IPv4 or IPv6).",
        ),
        "sessions-not-released": ObservedRule(
            "error",
            "sessions were still there after their end",
            "Look at what ends a session on the server: a hang-up, a lost socket and a time-out must each "
            "remove it. Users who are refused as busy (409) while they are not meet the same fault.",
            gauges="open_",
        ),
        "closed-socket-in-a-loop": ObservedRule(
            "error",
            "closed sockets were called again and again by the scenario",
            "End the scenario's loop when `ws.is_open` is false, or let the task end, so that `connect` "
            "opens the socket again as --reconnect says: until then this user makes no load.",
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
