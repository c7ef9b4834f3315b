"""Background: where a loop of ours raises, the run ends as an internal error, and is not believed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.load.session import often, rest, script, session
from tests.wire.harness import Peer, listening, until
from wsoak.load.background import guarded


def echo(peer: Peer) -> None:
    peer.accept()
    peer.echo()


PARTS = {
    "the keeper": "wsoak.load.keeper.Keeper._look_at_gates",
    "the reporter": "wsoak.load.producer.Producer._resend",
    "the gauges": "wsoak.load.gauges.WaitReader.read",
    "the arrivals": "wsoak.load.open_model.Arrivals._forget_unserved",
}


@pytest.mark.parametrize("part", PARTS)
def test_a_loop_that_raises_ends_the_run_with_code_2(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    often(monkeypatch)
    broken: list[bool] = []

    def breaks(*_: Any, **__: Any) -> Any:
        broken.append(True)
        raise RuntimeError("a mistake of ours")

    def body(user: Any) -> None:
        user.connect("/x", name="x")
        rest()

    arguments = ("--arrival-rate", "50") if part == "the arrivals" else ()
    with listening(echo) as listener:
        host = f"ws://127.0.0.1:{listener.port}"
        with session(script(body), host=host, run_dir=tmp_path / "r", arguments=arguments) as made:
            path = made.run_dir
            made.start(2)
            monkeypatch.setattr(PARTS[part], breaks)
            until(lambda: made.runner.state == "stopped" and not made.under_way)
            monkeypatch.undo()
            assert made.quit() == 2
    assert broken
    header = json.loads((path / "run.json").read_text())
    assert header["ended_by"] == "internal-error"
    said = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert f"Internal error of wsoak in {part}" in said[0].getMessage()
    assert said[0].exc_info is not None


def test_the_next_run_is_a_new_one(tmp_path: Path) -> None:
    def body(user: Any) -> None:
        user.connect("/x")
        rest()

    with listening(echo, may_fail=True) as listener:
        user = script(body)
        host = f"ws://127.0.0.1:{listener.port}"
        with session(user, host=host, run_dir=tmp_path / "r", web=True) as made:
            made.start()

            def breaks() -> None:
                raise RuntimeError("a mistake of ours")

            guarded(made.environment, "the keeper", breaks)()
            until(lambda: made.runner.state == "stopped" and not made.under_way)
            made.start()
            until(lambda: made.books().count("opened") == 1)
            made.stop()
            assert made.quit() != 2
