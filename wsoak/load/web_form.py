"""Web form: Locust's start form refuses mistaken options itself, in our own words."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from flask import Response, jsonify, request
from locust.env import Environment

from wsoak.load.options import OPTIONS
from wsoak.load.shape_follower import offer_shape, with_shape


def check_form(environment: Environment, mistakes: Callable[[Namespace], list[str]]) -> None:
    """Look at each start form before Locust does.

    Args:
        mistakes: says what is wrong with options, a sentence each.
    """
    assert environment.web_ui is not None
    assert environment.web_ui.app is not None

    def check() -> Response | None:
        if request.endpoint != "locust.swarm":
            return None
        merged = Namespace(**vars(environment.parsed_options or Namespace()))
        merged.host = request.form.get("host") or environment.host
        for option in OPTIONS:
            if option.dest in request.form:
                setattr(merged, option.dest, request.form[option.dest])
        found = mistakes(merged)
        if found:
            return jsonify({"success": False, "message": " ".join(found)})
        offer_shape(environment, getattr(merged, "shape", ""))
        request.form = with_shape(environment, request.form)
        return None

    environment.web_ui.app.before_request(check)
