"""``python -m wsoak token``: mint an HS256 token from the secret in ``WSOAK_JWT_SECRET``, and print it."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Final

from wsoak.commands.exits import EXIT_OK, OneSentenceParser, Refused

SECRET_VARIABLE: Final = "WSOAK_JWT_SECRET"
LONGEST_S: Final = 1e10
"""Some 300 years: beyond it, a time is no date that a server could read."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; its exit code.

    Raises:
        Refused: when there is no secret, or an argument cannot be used.
    """
    parser = OneSentenceParser(prog="python -m wsoak token", description=__doc__)
    parser.add_argument("subject", help="the token's sub, such as a user id")
    parser.add_argument(
        "--ttl", type=float, default=3600.0, metavar="SECONDS", help="its life; default: 3600"
    )
    parser.add_argument("--claims", default="{}", metavar="JSON", help="further claims, as a JSON object")
    options = parser.parse_args(arguments)
    secret = os.environ.get(SECRET_VARIABLE)
    if not secret:
        raise Refused(f"Set {SECRET_VARIABLE} to the secret that the server checks tokens with.")
    if not (math.isfinite(options.ttl) and 0 < options.ttl <= LONGEST_S):
        raise Refused(f"--ttl: {options.ttl} is not a number of seconds above 0, up to {LONGEST_S:.0e}.")
    try:
        claims = json.loads(options.claims)
        # what Python reads, a server may not: NaN and infinities are no JSON (RFC 8259 section 6)
        json.dumps(claims, allow_nan=False)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise Refused("--claims is not a JSON object.")
    if not isinstance(claims.get("iss", ""), str):
        raise Refused("--claims: iss is not a text (RFC 7519 section 4.1.1).")
    # late: a mistake is told without waiting for PyJWT and gevent
    from wsoak.load.tokens import BadSecret, mint, too_short

    try:
        token = mint(secret, options.subject, options.ttl, **claims)
    except BadSecret as error:
        raise Refused(f"{SECRET_VARIABLE}: {error}.") from None
    if short := too_short(secret):
        print(f"{SECRET_VARIABLE} is {short}.", file=sys.stderr)
    print(token)
    return EXIT_OK
