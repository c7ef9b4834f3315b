"""``python -m wsoak routes``: find out at which prefixes a WebSocket path answers.

The path is asked for, its prefix variants, and one that cannot exist: what is answered otherwise than that
one is there. Exit code 0 where something is, else 4.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsoak.commands.exits import EXIT_FAILED, EXIT_OK, OneSentenceParser, Refused

if TYPE_CHECKING:
    from wsoak.load.checks.answers import Answer

Row = tuple[str, "Answer"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; its exit code.

    Raises:
        Refused: when an argument cannot be used.
    """
    parser = OneSentenceParser(prog="python -m wsoak routes", description=__doc__)
    parser.add_argument(
        "path", metavar="PATH", help="the path that should answer, such as /api/v1/ws/tasks/7"
    )
    parser.add_argument("--host", required=True, metavar="URL", help="http(s)://HOST[:PORT] or ws(s)://…")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="sent with each")
    parser.add_argument("--tls-ca", default="", metavar="FILE", help="PEM file of certificates to trust")
    parser.add_argument("--tls-insecure", action="store_true", help="accept any certificate")
    options = parser.parse_args(arguments)
    headers = [_header(text) for text in options.header]

    # late: a mistake above is told without waiting for gevent; Locust's patches come before all sockets
    import locust  # noqa: F401

    from wsoak.load.checks.answers import Prober
    from wsoak.load.checks.variants import impossible, variants
    from wsoak.wire.client import FastOpener, Settings
    from wsoak.wire.dial import Request, tls_context
    from wsoak.wire.endpoint import BadUrl, Endpoint

    try:
        endpoint = Endpoint.of(options.host)
        path = endpoint.resource(options.path)
        request = Request(options.path, headers)
        tls = tls_context(options.tls_ca or None, insecure=options.tls_insecure)
    except BadUrl as error:
        raise Refused(str(error)) from None
    except OSError:
        raise Refused(f"--tls-ca: {Path(options.tls_ca)} is not a PEM file that can be used.") from None
    nowhere_path = endpoint.resource(impossible(secrets.token_hex(8)))
    paths = [nowhere_path, path, *(variant.path for variant in variants(path))]
    with Prober(Settings(), tls, FastOpener) as prober:
        nowhere, *found = prober.answers(endpoint, request, paths)
    return _tell(list(zip(paths[1:], found, strict=True)), (nowhere_path, nowhere))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        # not the text: it may hold a token
        raise Refused("--header is not NAME:VALUE.")
    return name.strip(), value.strip()


def _tell(found: Sequence[Row], nowhere: Row) -> int:
    """Print what answers; the exit code."""
    from wsoak.judge.terminal import safe
    from wsoak.judge.words import counted
    from wsoak.load.checks.answers import UNASKABLE
    from wsoak.load.checks.routes import same
    from wsoak.wire.endpoint import mask_query

    asked = found[0]
    if asked[1].outcome == UNASKABLE:
        raise Refused(
            "The path or a header cannot be sent: it holds a control character or a #, or is a "
            "header of the handshake's own."
        )
    there = [
        (path, answer)
        for path, answer in found
        if answer.status is not None and not same(path, answer, *nowhere)
    ]
    everywhere = nowhere[1].is_open
    print(f"A path that cannot exist: {safe(nowhere[1].words)}")
    for path, answer in [asked, *(row for row in there if row is not asked and row[0] != asked[0])]:
        mark = "answers" if (path, answer) in there else "as one that cannot exist"
        mark = "as any path" if everywhere and answer.is_open else mark
        print(f"  {answer.words:28}  {safe(mask_query(path))}  ({mark})")
    if asked[1].status is None:
        print(f"{safe(mask_query(asked[0]))} got no answer: {safe(asked[1].outcome)}.")
    elif everywhere:
        print("The server opens a socket at any path: its routes cannot be told apart.")
        return EXIT_OK if asked[1].is_open else EXIT_FAILED
    elif not there:
        print(f"None of {counted(len(found), 'path')} is a route.")
    return EXIT_OK if there else EXIT_FAILED
