"""Answers that a gateway gives itself are told from those of the application behind it."""

from __future__ import annotations

import pytest

from wsoak.ledger.gateways import gateway_answer

ENVOY = "upstream connect error or disconnect/reset before headers. reset reason:"
NGINX_503 = "<title>503 Service Temporarily Unavailable</title>"

DEAD = [
    (502, "", ""),
    (503, "<h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n", ""),
    (503, "no healthy upstream", ""),
    (503, f"{ENVOY} connection failure", ""),
    (503, "no available server", ""),
    (503, "<title>503 Backend fetch failed</title>", ""),
    (503, NGINX_503, "Server: awselb/2.0"),
    (503, "The application is currently not serving requests; Application is not available", ""),
    (504, "upstream request timeout", ""),
    (520, "error code: 520", "Server: cloudflare"),
    (530, "error code: 1016", ""),
]
REFUSED = [
    (400, "<center><h1>400 Bad Request</h1></center>The plain HTTP request was sent to HTTPS port", ""),
    (400, "Client sent an HTTP request to an HTTPS server.\n", ""),
    (400, "<title>400 No required SSL certificate was sent</title>", ""),
    (403, '{"message":"Missing Authentication Token"}', ""),
    (404, "default backend - 404", ""),
    (404, '{"message":"no Route matched with those values"}', ""),
    (464, "", ""),
    (497, "", ""),
]
NONE = [
    (None, "no healthy upstream", ""),
    (101, "", ""),
    (200, "No server is available to handle this request.", ""),
    (400, "Bad Request", ""),
    (403, "", ""),
    (404, "404 page not found", ""),
    (429, "", ""),
    (500, "no healthy upstream", ""),
    (503, "", ""),
    (503, NGINX_503, "Server: nginx"),
    (503, f"{ENVOY} overflow", ""),
]


@pytest.mark.parametrize(("status", "body", "headers"), DEAD)
def test_a_gateway_without_a_back_end_is_known(status: int, body: str, headers: str) -> None:
    answer = gateway_answer(status, body, headers)
    assert answer is not None and answer.no_backend


@pytest.mark.parametrize(("status", "body", "headers"), REFUSED)
def test_a_gateway_that_refuses_is_known(status: int, body: str, headers: str) -> None:
    answer = gateway_answer(status, body, headers)
    assert answer is not None and not answer.no_backend


@pytest.mark.parametrize(("status", "body", "headers"), NONE)
def test_what_an_application_may_say_is_no_gateways(status: int | None, body: str, headers: str) -> None:
    assert gateway_answer(status, body, headers) is None
