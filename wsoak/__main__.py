"""Small commands: ``python -m wsoak token`` mints a JSON Web Token from the secret in the environment."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from wsoak import __version__

SECRET_VARIABLE = "WSOAK_JWT_SECRET"
EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0, or 2 for a usage error."""
    parser = argparse.ArgumentParser(prog="python -m wsoak", description=__doc__)
    parser.add_argument("--version", action="version", version=f"wsoak {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    token = commands.add_parser("token", help="mint an HS256 token, and print it")
    token.add_argument("subject", help="the token's sub, such as a user id")
    token.add_argument("--ttl", type=float, default=3600.0, metavar="SECONDS", help="its life; default: 3600")
    token.add_argument("--claims", default="{}", metavar="JSON", help="further claims, as a JSON object")
    options = parser.parse_args(arguments)
    return _token(options)


def _token(options: argparse.Namespace) -> int:
    secret = os.environ.get(SECRET_VARIABLE)
    if not secret:
        return _refuse(f"Set {SECRET_VARIABLE} to the secret that the server checks tokens with.")
    try:
        claims = json.loads(options.claims)
    except ValueError:
        claims = None
    if not isinstance(claims, dict):
        return _refuse("--claims is not a JSON object.")
    # late: the other commands have no use for PyJWT
    from wsoak.load.tokens import mint

    print(mint(secret, options.subject, options.ttl, **claims))
    return 0


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
