"""Gateways: answers that a CDN, balancer, proxy or ingress gives itself, and no application behind it.

By status where only such give it, else by the words of their own error pages. An answer that is known so says
nothing about the application's handler or its load.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class GatewayAnswer(NamedTuple):
    """What an answer of a gateway's own says.

    ``no_backend``: it could not reach, or not understand, any server behind it; else it refused the request
    itself. ``text`` completes "the gateway says that …".
    """

    no_backend: bool
    text: str


def gateway_answer(status: int | None, body: str, headers: str = "") -> GatewayAnswer | None:
    """The meaning of an answer that a gateway gave itself; ``None`` for one that may be the application's.

    Args:
        body: the start of the answer's body, as far as it was kept.
        headers: as ``ConnectionRecord.headers`` has them.
    """
    if status is None or status < 400:
        return None
    by_status = _BY_STATUS.get(status)
    pages = _BY_TEXT.get(status, ())
    if by_status is None and not pages:
        return None
    text = body.lower()
    for page in pages:
        if any(words in text for words in page.words) and not any(words in text for words in page.but):
            return page.answer
    if status == 503 and _is_of(headers, "awselb"):
        return GatewayAnswer(True, "the balancer's target group has no healthy target (AWS)")
    return by_status


def _is_of(headers: str, server: str) -> bool:
    return any(line.lower().startswith(f"server: {server}") for line in headers.splitlines())


class _Page(NamedTuple):
    """An error page: words of which one is in its body, in lower case, and words that are in none."""

    words: tuple[str, ...]
    answer: GatewayAnswer
    but: tuple[str, ...] = ()


def _dead(text: str) -> GatewayAnswer:
    return GatewayAnswer(True, text)


def _refused(text: str) -> GatewayAnswer:
    return GatewayAnswer(False, text)


_BY_STATUS: Final[Mapping[int, GatewayAnswer]] = MappingProxyType(
    {
        # RFC 9110 sections 15.6.3 and 15.6.5
        502: _dead("the back end did not answer, or not in HTTP (502)"),
        504: _dead("the back end did not answer in time (504)"),
        # Cloudflare
        520: _dead("the back end's answer was empty or broken (520, Cloudflare)"),
        521: _dead("the back end refuses connections (521, Cloudflare)"),
        522: _dead("the connection to the back end timed out (522, Cloudflare)"),
        523: _dead("the back end cannot be reached (523, Cloudflare)"),
        524: _dead("the back end took the request and did not answer in time (524, Cloudflare)"),
        525: _dead("the TLS handshake with the back end failed (525, Cloudflare)"),
        526: _dead("the back end's certificate is not valid (526, Cloudflare)"),
        527: _dead("the tunnel to the back end failed (527, Cloudflare)"),
        530: _dead("the back end's name cannot be looked up, or its tunnel is down (530, Cloudflare)"),
        # proxies that time out between themselves
        598: _dead("reading from the back end timed out (598)"),
        599: _dead("connecting to the back end timed out (599)"),
        # AWS Application Load Balancer
        460: _refused("the client closed before the back end had answered (460, AWS)"),
        463: _refused("X-Forwarded-For names more than 30 addresses (463, AWS)"),
        464: _refused("the target group speaks another version of HTTP than the client (464, AWS)"),
        561: _refused("the identity provider failed at the log-in (561, AWS)"),
        # nginx
        494: _refused("the request's headers or cookies are too large (494, nginx)"),
        495: _refused("the client's certificate is not valid: see --tls-client-cert (495, nginx)"),
        496: _refused("a client certificate is required: --tls-client-cert FILE (496, nginx)"),
        497: _refused("plain HTTP came to a port that speaks TLS: use wss:// (497, nginx)"),
        499: _refused("the client closed before the back end had answered (499, nginx)"),
        # RFC 6585 section 6
        511: _refused("the network wants a log-in first (511, captive portal)"),
    }
)
"""What only gateways answer with."""

_NO_SERVER: Final = _Page(
    (
        "no server is available to handle this request",  # HAProxy
        "no healthy upstream",  # Envoy
        "upstream connect error or disconnect/reset before headers",  # Envoy
        "no available server",  # Traefik
        "backend fetch failed",  # Varnish
        "no healthy backends",  # Fastly
        "no endpoints available for service",  # Kubernetes
        "failure to get a peer from the ring-balancer",  # Kong
        "application is not available",  # OpenShift
        "not currently serving requests at this endpoint",  # OpenShift
        "wasn't able to connect to the origin",  # CloudFront
        "our services aren't available right now",  # Azure Front Door
        "error-pages/application-error.html",  # Heroku
        "due to maintenance downtime or capacity problems",  # Apache's mod_proxy
    ),
    _dead("no server behind it can take the request (503)"),
    # Envoy ends the same sentence so where its circuit breaker sheds load
    but=("reset reason: overflow",),
)
_NO_ROUTE: Final = _Page(
    (
        "default backend - 404",  # ingress-nginx
        "default http backend - 404",
        "backend notfound), service rules",  # Google's balancer
        "no route matched with those values",  # Kong
        "error-pages/no-such-app.html",  # Heroku
        "fault filter abort",  # Envoy
    ),
    _refused("none of its rules leads this host and path to a server: look at the ingress's hosts and paths"),
)
_BAD_REQUEST: Final = (
    _Page(
        (
            "the plain http request was sent to https port",  # nginx
            "client sent an http request to an https server",  # Go
            "speaking plain http to an ssl-enabled server port",  # Apache
        ),
        _refused("plain HTTP came to a port that speaks TLS: use wss://"),
    ),
    _Page(
        ("no required ssl certificate was sent",),
        _refused("a client certificate is required: --tls-client-cert FILE"),
    ),
    _Page(("the ssl certificate error",), _refused("the client's certificate is not valid")),
    _Page(
        ("request header or cookie too large",),
        _refused("the request's headers or cookies are too large"),
    ),
)

_BY_TEXT: Final[Mapping[int, tuple[_Page, ...]]] = MappingProxyType(
    {
        400: _BAD_REQUEST,
        403: (
            _Page(
                ("missing authentication token",),
                _refused("the API gateway has no such route or stage (AWS)"),
            ),
        ),
        404: (_NO_ROUTE,),
        503: (_NO_SERVER,),
    }
)
