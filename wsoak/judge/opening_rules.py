"""Opening rules: which handshakes that failed speak for which finding, and where to look.

They are read in order; see ``rules``.
"""

from __future__ import annotations

from typing import Final

from wsoak.judge.rule import Facts, Rule, answered, both, dropped_in, either, observed, outcome
from wsoak.ledger.books import EndGroup, EndKind
from wsoak.ledger.outcomes import (
    BAD_UPGRADE,
    CLOSED_HELLO,
    EOF,
    HEAD_TOO_LARGE,
    PROXY_FAILED,
    REFUSED,
    RESET,
    RESOLVE_FAILED,
    TIMEOUT_HELLO,
    TIMEOUT_TCP,
    TIMEOUT_TLS,
    TIMEOUT_UPGRADE,
    TLS_FAILED,
    UNREACHABLE,
    rejected_status,
)


def _might_be_a_missing_route(kind: EndKind, _group: EndGroup, facts: Facts) -> bool:
    """What servers answer where there is no route: 404 most of them, 403 Starlette, 500 Channels.

    Where the route was there at times, it was there: the latter two refuse, or crash.
    """
    status = rejected_status(kind.outcome)
    return status == 404 or (status in (403, 500) and not facts.opened)


_TOO_MANY: Final = (429, 503, 509, 529)
"""RFC 6585 section 4, RFC 9110 section 15.6.4; hosters' "bandwidth exceeded" and "overloaded"."""

OPENING_RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "server-unreachable",
        "opening",
        either(
            outcome(REFUSED, UNREACHABLE, RESOLVE_FAILED, TIMEOUT_TCP, PROXY_FAILED),
            dropped_in("tcp", RESET, EOF),
        ),
        "did not reach the server",
        "Is the server running, on this host and port, and does its accept queue keep up "
        "(`ss -ltn`: Recv-Q against Send-Q)? Look at the name look-up, the firewall and the load "
        "balancer's targets before the application.",
    ),
    Rule(
        "tls-failed",
        "opening",
        either(outcome(TLS_FAILED, TIMEOUT_TLS), dropped_in("tls", RESET, EOF)),
        "failed in TLS",
        "Check the certificate's names, chain and dates, and the protocol versions: "
        "`openssl s_client -connect HOST:PORT -servername HOST`. A private authority needs --tls-ca. An "
        "alert `certificate required` or `handshake failure` asks for our own: --tls-client-cert FILE.",
    ),
    Rule(
        "hello-failed",
        "opening",
        either(outcome(CLOSED_HELLO, TIMEOUT_HELLO), dropped_in("hello", RESET, EOF)),
        "failed in the first-message log-in",
        "The upgrade succeeded and the application's own log-in did not: look in the server's log at the "
        "handler of the first message, and compare the message that the client sends with what it expects.",
    ),
    Rule(
        "origin-refused",
        "opening",
        both(answered(400, 401, 403, 404), observed("origin-refused")),
        "were refused for want of an Origin that the server allows",
        "The server takes sockets of the pages that it knows, and of no others: send the Origin of the page "
        "that users come from (--origin https://HOST, or `connect(…, origin=…)`), and compare it with the "
        "server's list of allowed origins.",
    ),
    Rule(
        "gateway-refused",
        "opening",
        lambda kind, _group, _facts: bool(kind.gateway) and not kind.no_backend,
        "were refused by a gateway in front of the server",
        "The answer is a CDN's, balancer's or ingress's own, and the server behind it was not asked: compare "
        "host, path, scheme and headers with the gateway's rules, and look for the request in its log.",
    ),
    Rule(
        "route-doubled",
        "opening",
        both(_might_be_a_missing_route, observed("route-doubled")),
        "asked for a path that the server has under another prefix",
        "The route answers under a variant of the prefix: look where the server includes its routers "
        "(`include_router(..., prefix=...)` twice), and list its routes at the start.",
    ),
    Rule(
        "route-not-found",
        "opening",
        either(answered(404), both(_might_be_a_missing_route, observed("route-not-found"))),
        "asked for a path that the server does not have",
        "Compare the path asked for with the server's list of routes, its prefix above all (such as "
        "`/api/v1`); `python -m wsoak routes` tries variants. Some servers answer so where they refuse the "
        "Origin (--origin). A client must not retry a missing route at once.",
    ),
    Rule(
        "credentials-expired",
        "opening",
        both(answered(401, 403), lambda _kind, _group, facts: facts.refused_later_only),
        "were turned away on a reconnect, with credentials that had been accepted before",
        "The token ended before the run did: compare its `exp` with what the server holds, and refresh the "
        "token before a reconnect instead of reusing the old one.",
    ),
    Rule(
        "upgrade-refused",
        "opening",
        answered(401, 403),
        "were refused before the socket was accepted",
        "The server checks credentials before it accepts, so that the client sees a failed handshake and no "
        "reason. Check the token (secret, `exp`, where it is sent: query or header) and the allowed origins; "
        "accept first and then close with a message, if clients are to know why.",
    ),
    Rule(
        "overload",
        "opening",
        lambda kind, _group, _facts: rejected_status(kind.outcome) in _TOO_MANY and not kind.gateway,
        "were turned away as too many",
        "The server or a proxy limits connections or their rate: look at its limits, at Retry-After, and at "
        "whether clients wait longer after each refusal.",
    ),
    Rule(
        "backend-dead",
        "opening",
        lambda kind, _group, _facts: kind.no_backend,
        "were answered by a proxy whose back end did not answer",
        "The proxy lives and the back end behind it does not answer: look at the back end's process and "
        "health, and in the proxy's log for `connect() failed`, `upstream prematurely closed connection`, "
        "`<NOSRV>` or `is DOWN`. HAProxy answers in the same words where a request has waited in its queue "
        "for `timeout queue` (`sQ` in its log): then the back end lives, and its `maxconn` is used up.",
    ),
    Rule(
        "redirected",
        "opening",
        answered(300, 301, 302, 303, 307, 308),
        "were redirected, which no WebSocket client of a browser follows",
        "Load the place that the Location names: wss:// instead of ws:// in --host, the path with its last "
        "slash, or the other host. A log-in page says that the upgrade came without a session: log in first, "
        "and send its cookie or token along (see docs/your-own-system.md).",
    ),
    Rule(
        "upgrade-crash",
        "opening",
        either(
            lambda kind, _group, _facts: 500 <= (rejected_status(kind.outcome) or 0) <= 599,
            outcome(EOF),
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
        outcome(RESET),
        "were reset while the upgrade was under way",
        "Something between client and handler resets the connection: look in a development proxy's log for "
        "`Failed to proxy … ECONNRESET`, whether it passes upgrades on (`ws: true`), and at the back end's "
        "own log for a request that never came.",
    ),
    Rule(
        "upgrade-slow",
        "opening",
        outcome(TIMEOUT_UPGRADE),
        "got no answer to the upgrade in time",
        "The connection was there and the handler did not answer: look at what it waits for before it "
        "accepts (a database look-up, a small connection pool), and for "
        "`timed out during opening handshake`.",
    ),
    Rule(
        "bad-upgrade",
        "opening",
        outcome(BAD_UPGRADE, HEAD_TOO_LARGE),
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
)
