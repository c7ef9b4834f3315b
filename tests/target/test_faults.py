"""The table of faults, and what is made of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from target.app import SYSTEMS
from target.faults import (
    FAULTS,
    SOCKET_SYSTEMS,
    Active,
    Delay,
    Eof,
    FaultChoice,
    FaultError,
    Faults,
    Reject,
    Reset,
    checked_params,
    known_faults,
    parse_fault,
)


def test_every_default_of_the_table_is_allowed_by_the_table() -> None:
    for system, rows in FAULTS.items():
        for name, row in rows.items():
            params = checked_params(system, name, {})
            assert params == {key: parameter.default for key, parameter in row.parameters.items()}


def test_the_faults_of_the_server_can_be_narrowed_to_every_system_that_is_served() -> None:
    assert set(SOCKET_SYSTEMS) == {system.name for system in SYSTEMS}


@pytest.mark.parametrize(
    ("text", "name", "params"),
    [
        ("dialogue:session-denied", "session-denied", {}),
        ("dialogue:lost-history", "lost-history", {"share": 0.05}),
        ("dialogue:lost-history:share=0.5", "lost-history", {"share": 0.5}),
        ("dialogue:datetime-crash:when=message", "datetime-crash", {"when": "message"}),
        ("server:slow-upgrade:delay_s=0.25", "slow-upgrade", {"delay_s": 0.25, "share": 1.0, "only": "all"}),
        (
            "server:reject:status=503:body=see http://x/y:only=echo",
            "reject",
            {"status": 503, "body": "see http://x/y", "share": 1.0, "only": "echo"},
        ),
    ],
)
def test_a_fault_is_read_with_its_parameters(text: str, name: str, params: dict[str, object]) -> None:
    assert parse_fault(text) == FaultChoice(text.split(":")[0], name, params)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "dialogue:lost-history"),
        ("dialogue:", "dialogue:lost-history"),
        ("chat:lost-history", "the systems with faults are dialogue, "),
        ("dialogue:lost", "dialogue:lost-history"),
        ("dialogue:session-denied:share=1", "it has none"),
        ("dialogue:lost-history:portion=1", "its parameters are share"),
        ("dialogue:lost-history:share=0", "from 0.0001 to 1"),
        ("dialogue:lost-history:share=nan", "from 0.0001 to 1"),
        ("dialogue:lost-history:share=often", "from 0.0001 to 1"),
        ("dialogue:lost-history:0.5", "is not key=value"),
        ("dialogue:datetime-crash:when=never", "accept, message"),
        ("server:reject:status=403.5", "a whole number"),
        ("server:reject:status=101", "from 200 to 599"),
        ("server:reject:only=mail", "all, echo, dialogue"),
    ],
)
def test_a_mistake_is_answered_with_what_is_known(text: str, says: str) -> None:
    with pytest.raises(FaultError) as caught:
        parse_fault(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [True, None, [], {}, float("inf")])
def test_a_json_value_of_the_wrong_type_is_refused(value: object) -> None:
    with pytest.raises(FaultError):
        checked_params("dialogue", "lost-history", {"share": value})


@settings(deadline=None)
@given(share=st.floats(0.0001, 1.0), occasions=st.integers(1, 2000))
def test_a_share_hits_as_many_occasions_as_it_says_at_every_moment(share: float, occasions: int) -> None:
    active = Active({"share": share})
    for asked in range(1, occasions + 1):
        active.strikes()
        assert asked * share - 1 < active.hits <= asked * share + 1e-6


def test_the_default_share_hits_every_twentieth_occasion() -> None:
    active = Active({"share": 0.05})
    assert [n for n in range(1, 101) if active.strikes()] == [20, 40, 60, 80, 100]


def test_a_fault_without_a_share_hits_always() -> None:
    active = Active({})
    assert all(active.strikes() for _ in range(10))


STEPS = {
    "server:reject:status=418:body=tea": Reject(418, "tea"),
    "server:missing-route": Reject(404, "Not Found"),
    "server:reset-in-upgrade": Reset(),
    "server:eof-in-upgrade": Eof(),
    "server:slow-upgrade:delay_s=2": Delay(2.0),
}


@pytest.mark.parametrize(("text", "step"), STEPS.items())
def test_a_fault_of_the_server_is_a_step_of_the_handshake_until_it_is_switched_off(
    text: str, step: object
) -> None:
    choice = parse_fault(text)
    faults = Faults([choice])
    assert faults.upgrade_steps("dialogue") == [step]
    assert faults.upgrade_steps("none") == [step]
    faults.switch_off(choice.system, choice.name)
    assert faults.upgrade_steps("dialogue") == []
    assert faults.hits()[choice.system, choice.name] == 2


def test_a_delay_comes_before_what_ends_the_handshake() -> None:
    faults = Faults(map(parse_fault, ["server:reject", "server:slow-upgrade:delay_s=1"]))
    assert faults.upgrade_steps("echo") == [Delay(1.0), Reject(403, "")]


def test_a_fault_narrowed_to_one_system_leaves_the_others_alone() -> None:
    faults = Faults([parse_fault("server:missing-route:only=dialogue")])
    assert faults.upgrade_steps("echo") == []
    assert faults.upgrade_steps("dialogue") == [Reject(404, "Not Found")]


def test_a_fault_that_is_not_of_the_handshake_leaves_the_handshake_alone() -> None:
    faults = Faults(parse_fault(name) for name in known_faults() if name.startswith("dialogue:"))
    assert faults.upgrade_steps("dialogue") == []


def test_switching_on_again_takes_the_new_parameters_and_keeps_the_count() -> None:
    faults = Faults([parse_fault("dialogue:lost-history:share=1")])
    assert faults.strikes("dialogue", "lost-history")
    faults.switch_on(parse_fault("dialogue:lost-history:share=0.5"))
    assert [faults.strikes("dialogue", "lost-history") for _ in range(4)] == [False, True, False, True]
    assert faults.hits() == {("dialogue", "lost-history"): 3}
