"""Close rules: which ends of opened sockets speak for which finding, and where to look.

They are read in order; see ``rules``.
"""

from __future__ import annotations

from typing import Final

from wsoak.judge.rule import Rule, broke, by_policy, closed_with, is_reset
from wsoak.ledger.books import EndGroup
from wsoak.ledger.outcomes import (
    DETAIL_BAD_REASON,
    DETAIL_EOF,
    DETAIL_HEARTBEAT_LOST,
    DETAIL_INVALID_ON_WIRE,
    DETAIL_PROTOCOL,
    NO_STATUS,
)


def _keepalive(group: EndGroup) -> bool:
    """Whether the server says itself that it closed for want of our pongs, and not because it crashed."""
    return bool(group.reasons.texts) and all("ping timeout" in text for text in group.reasons.texts)


CLOSE_RULES: Final[tuple[Rule, ...]] = (
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
        "lifetime-cap",
        "close",
        lambda kind, _group, facts: kind in facts.capped_ends,
        "were cut at one same age, whatever they were doing",
        "A balancer, gateway or server ends each socket at a fixed age: look for its cap on a connection's "
        "or request's duration (Envoy `max_connection_duration`, an ingress's or a cloud balancer's "
        "back-end or request time-out, a gateway's limit of hours), and raise it for this route. A client "
        "must expect it: reconnect with jitter before or after, and resume. Heartbeats do not help.",
    ),
    Rule(
        "credentials-expired",
        "close",
        lambda kind, _group, facts: facts.refused_later_only and by_policy(kind),
        "were turned away on a reconnect, with credentials that had been accepted before",
        "The token ended before the run did: compare its `exp` with what the server holds, and refresh the "
        "token before a reconnect instead of reusing the old one.",
    ),
    Rule(
        "closed-policy-denied",
        "close",
        lambda kind, _group, _facts: kind.denied and by_policy(kind),
        "were closed by the server, which said why",
        "The server's own check refused this user: its message names the check. Compare the session's owner "
        "with the token's user, and what the scenario asks for with what it may.",
    ),
    Rule(
        "closed-policy-silent",
        "close",
        lambda kind, _group, _facts: by_policy(kind),
        "were closed by the server with a policy code and no error message",
        "The handler gave up without saying why: look in the server's log for an exception inside the "
        "socket's handler, such as `Object of type datetime is not JSON serializable`. In the client, log "
        "the close code: the error event carries nothing.",
    ),
    Rule(
        "overload",
        "close",
        closed_with(1013),
        "were closed by the server as too many",
        "The server sheds load (1013, try again later): look at its connection limit, and at whether clients "
        "wait longer after each refusal.",
    ),
    Rule(
        "backend-dead",
        "close",
        closed_with(1014),
        "were closed by a gateway whose back end failed",
        "The gateway lives and the back end behind it does not: look at the back end's process and health.",
    ),
    Rule(
        "server-restart",
        "close",
        closed_with(1001, 1012),
        "were closed because the server went away",
        "The server was stopped or deployed during the run: compare the time with its log, and look at how "
        "long the clients took to come back, and whether all came at once.",
    ),
    Rule(
        "server-crash",
        "close",
        lambda kind, group, facts: (
            (kind.initiator == "server" and kind.code == 1011 and not _keepalive(group))
            or (broke(kind) and kind.detail == DETAIL_EOF)
            or (is_reset(kind) and facts.resets_while_active)
        ),
        "ended because the server's handler failed",
        "The handler died while the socket was in use: look in the server's log for a traceback, such as "
        '`Cannot call "send" once a close message has been sent`, and for a restarted worker.',
    ),
    Rule(
        "connection-reset",
        "close",
        lambda kind, _group, _facts: broke(kind),
        "broke without a close frame",
        "The connection was reset under an open socket: look for a killed process, a proxy or firewall that "
        "drops connections, and `ECONNRESET` in either log. The client must go back to its start state.",
    ),
    Rule(
        "closed-no-status",
        "close",
        closed_with(NO_STATUS),
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
        "library's version and at proxies that touch the stream. HTTP instead of a frame comes from a "
        "proxy or server that has lost sight of the upgrade: its log has the request that it answered so.",
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
