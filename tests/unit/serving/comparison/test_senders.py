"""What senders may and may not decide about a canary."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from math import inf

import pytest

from serving.comparison.analysis import Faults, Rules, Spread, find_faults
from serving.comparison.counters import Counters
from serving.comparison.senders import Answered, Evidence, Sender, read_evidence
from serving.figures import SENDER

HOLDOUT = Spread(52, {"0": 0.36, "1": 0.31, "2": 0.33})
VARIED = {"0": 34.0, "1": 33.0, "2": 33.0}


def gather(*senders: Iterable[Sender]) -> Evidence:
    return Evidence({(sender.address, sender.user): sender for sender in chain(*senders)})


def people(count: int, *, first: int = 10, requests: float = 5, **faults: float) -> list[Sender]:
    """Each has an address."""
    return [Sender(first + number, 0, requests, **faults) for number in range(count)]


def one_address(users: int, *, address: int = 0, requests: float = 100, **faults: float) -> list[Sender]:
    """As many users as an address can invent, or the people behind it."""
    return [Sender(address, user, requests, **faults) for user in range(users)]


def judge(evidence: Evidence, share: float = 0.02, rules: Rules | None = None) -> Faults:
    return find_faults(evidence, rules or Rules(), share, HOLDOUT)


FAULTS = {
    "errors": {"failures": 1.0},
    "not a number": {"nan": 1.0},
    "latency": {"slow": 1.0, "slow_ms": 120.0, "stable_ms": 1.0},
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_fault_that_several_people_meet_is_a_breach_however_much_one_asks(cause: str) -> None:
    attacker = one_address(1, requests=100_000)
    found = judge(gather(people(80, **FAULTS[cause]), people(320, first=100), attacker))
    assert cause in (found.breach or "")


@pytest.mark.parametrize("cause", FAULTS)
def test_no_address_alone_condemns_a_version(cause: str) -> None:
    found = judge(gather(people(20), one_address(64, **FAULTS[cause])))
    assert found.breach is None
    assert cause in (found.doubt or "")


@pytest.mark.parametrize("cause", FAULTS)
def test_two_addresses_do_not_condemn_a_version_either(cause: str) -> None:
    attackers = chain(one_address(64, **FAULTS[cause]), one_address(64, address=1, **FAULTS[cause]))
    assert judge(gather(people(20), attackers)).breach is None


@pytest.mark.parametrize("cause", FAULTS)
def test_where_one_address_is_all_there_is_its_users_decide(cause: str) -> None:
    evidence = gather(one_address(12, **FAULTS[cause]), [Sender(0, 50 + user, 5) for user in range(40)])
    assert cause in (judge(evidence).breach or "")


@pytest.mark.parametrize("witnesses", [1, 2])
def test_one_or_two_failed_requests_decide_nothing(witnesses: int) -> None:
    assert judge(gather(people(witnesses, failures=1), people(20, first=30))) == Faults()


def test_a_flood_of_one_bad_row_by_one_sender_neither_condemns_nor_promotes() -> None:
    found = judge(gather([Sender(0, 0, 5000, failures=20)]))
    assert found.breach is None
    assert "from 1 of 1 senders" in (found.doubt or "")


def test_invented_users_of_one_address_do_not_outnumber_people() -> None:
    assert judge(gather(people(4, failures=2), people(16, first=30), one_address(64))).breach is not None


def test_faults_of_fewer_senders_than_allowed_are_none() -> None:
    assert judge(gather(people(3, failures=1), people(197, first=30))) == Faults()


def test_a_slow_answer_is_judged_by_the_rules_of_the_rollout() -> None:
    evidence = gather(people(10, slow=1, slow_ms=120.0, stable_ms=90.0))
    assert judge(evidence) == Faults()
    assert judge(evidence, rules=Rules(latency_factor=1.1, latency_margin_ms=10)).breach is not None


def answer(canary: dict[str, float], stable: dict[str, float], times: float = 1.0) -> Answered:
    return Answered(
        *(Counters(rows=100 * times, classes={k: n * times for k, n in c.items()}) for c in (canary, stable))
    )


def test_answers_that_differ_for_one_address_alone_are_a_doubt() -> None:
    odd, same = answer({"1": 100.0}, VARIED, times=5), answer(VARIED, VARIED)
    assert judge(Evidence(answers={1: odd})).breach is not None
    found = judge(Evidence({(n, 0): Sender(n, 0, 9) for n in range(6)}, {0: odd, **dict.fromkeys(range(1, 6), same)}))
    assert found == Faults()
    found = judge(Evidence({(n, 0): Sender(n, 0, 9) for n in range(2)}, {0: odd, 1: answer({"1": 5.0}, {"1": 5.0})}))
    assert (found.breach, "too few addresses" in (found.doubt or "")) == (None, True)


def test_the_same_answer_to_the_same_row_is_no_fault() -> None:
    assert judge(Evidence(answers={0: answer({"1": 100.0}, {"1": 100.0})})) == Faults()


def test_extreme_values_of_both_versions_are_no_fault() -> None:
    huge = Counters(rows=200, values=(1e300, inf))
    evidence = Evidence(answers={0: Answered(huge, huge)})
    assert find_faults(evidence, Rules(), 0.02, Spread(100, mean=5.0, deviation=4.0)) == Faults()


def test_evidence_of_another_version_or_rollout_is_not_read() -> None:
    numbers = [3, 4, 10, 1, 0, 0, 0.0, 0.0]
    answers = {
        "3": {"samples": 2, "canary": {"0": 2}, "stable": {"1": 2}, "canary_values": [0, 0], "stable_values": [0, 0]}
    }
    model = {"version": "4", "mark": "m", "senders": [numbers], "answers": answers}
    body = {"process": "p", "models": {"iris": model}}
    found = read_evidence(body, "iris", "4", "m")
    assert found is not None
    assert found[1].senders == {(3, 4): Sender(*numbers)}
    assert found[1].answers[3].canary.classes == {"0": 2}
    assert len(numbers) == len(SENDER)
    for other in (("iris", "5", "m"), ("iris", "4", "n"), ("ships", "4", "m")):
        assert read_evidence(body, *other) is None


def test_two_processes_add_up() -> None:
    total = gather([Sender(1, 1, 5, failures=1)]).plus(gather([Sender(1, 1, 2, slow=1, slow_ms=9.0), Sender(2, 0, 1)]))
    assert total.senders == {(1, 1): Sender(1, 1, 7, failures=1, slow=1, slow_ms=9.0), (2, 0): Sender(2, 0, 1)}
