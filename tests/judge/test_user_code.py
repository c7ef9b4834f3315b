"""What the scenario's own code raised, in the summary, among the doubts and in the verdict."""

from __future__ import annotations

import pytest

from tests.judge.booked import START_S, books, healthy, row
from wsoak.judge.summary import happened
from wsoak.judge.user_code import callback_errors, callbacks_failed, user_errors
from wsoak.judge.verdict import Verdict
from wsoak.judge.verdict_text import conclusion, markdown
from wsoak.ledger.books import Books
from wsoak.ledger.records import UserError

PLACE = "locustfile.py:9 in on_start"


def raised_in(*errors: tuple[str, str, int], received: int = 100) -> Books:
    """Books of a run in which these were raised: where, what, how often."""
    made = books([healthy()])
    made.add_row(START_S, "s", row(received=received))
    for where, error, count in errors:
        made.add_user_error(UserError(START_S, "0", "ChatUser", where, error, PLACE, count))
    return made


def test_the_summary_says_what_was_raised_where_and_how_often() -> None:
    made = raised_in(("on_start", "KeyError 'token'", 3), ("task", "TypeError", 40))

    (said,) = [each for each in happened(made, {}) if "raised" in each]

    assert said == (
        "The scenario's own code raised 43 exceptions: 40 × TypeError in a task of ChatUser "
        f"({PLACE}) and 3 × KeyError 'token' in on_start of ChatUser ({PLACE})."
    )


def test_a_run_whose_own_code_raised_nothing_says_nothing_of_it() -> None:
    assert not [each for each in happened(raised_in(), {}) if "raised" in each]
    assert list(callbacks_failed(raised_in(), {})) == []


def test_only_the_commonest_kinds_are_said() -> None:
    made = raised_in(*(("task", f"Error{number}", 10 + number) for number in range(8)))

    (said,) = [each for each in happened(made, {}) if "raised" in each]

    assert "17 × Error7" in said
    assert "Error2 " not in said
    assert "3 more kinds" in said
    assert len(user_errors(made)) == 8


@pytest.mark.parametrize("where", ["reply_id", "usable_when", "expect", "subscribe", "hello"])
@pytest.mark.parametrize(("count", "invalid"), [(1, False), (2, True)])
def test_a_callback_that_raises_is_a_doubt_beyond_one_in_a_hundred_messages_an_invalid_run(
    where: str, count: int, invalid: bool
) -> None:
    (doubt,) = callbacks_failed(raised_in((where, "NameError 'x'", count)), {})

    assert doubt.invalid is invalid
    assert f"{count} × NameError 'x' in {where} of ChatUser ({PLACE})" in doubt.reason
    assert "not the server's" in doubt.reason


@pytest.mark.parametrize("where", ["on_start", "on_stop", "task"])
def test_what_a_method_raises_is_no_mistake_of_a_callback(where: str) -> None:
    made = raised_in((where, "KeyError", 9))

    assert callback_errors(made) == []
    assert list(callbacks_failed(made, {})) == []


@pytest.mark.parametrize("count", [1, 50])
def test_under_gates_a_callback_that_raises_is_an_error_in_use(count: int) -> None:
    verdict = Verdict("r", (), tuple(callbacks_failed(raised_in(("expect", "KeyError", count)), {})))

    assert (verdict.exit_code, verdict.word) == (2, "error")
    assert conclusion(verdict).startswith("Verdict: ERROR (the scenario's own code failed")
    assert "KeyError in expect of ChatUser" in markdown(verdict)


def test_hostile_names_are_printed_safely() -> None:
    made = raised_in(("task", "Bad\x1b[31mError", 1))

    assert not [each for each in happened(made, {}) if "\x1b" in each]
