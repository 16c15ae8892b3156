"""The end block says what happened, what is unknown, what it cost and what comes next."""

from __future__ import annotations

from datetime import timedelta

import pytest
from record_builders import attempt, decision, run

from ullage.core.decision import Reason, RunDecision
from ullage.core.prices import MemoryPrice
from ullage.core.units import GIB, MIB
from ullage.core.workload import ControlKind, Outcome, Run
from ullage.outcomes.end_block import end_block


def block(
    ended: Run, started: RunDecision | None = None, following: RunDecision | None = None
) -> str:
    return end_block(ended, started or decision(), following or decision())


def line(text: str, name: str) -> str:
    return next(each for each in text.splitlines() if each.startswith(f"  {name} "))


def killed(**changes: object) -> Run:
    base: dict[str, object] = {
        "outcome": Outcome.OOM_KILLED,
        "exit_code": 137,
        "oom_kills": 1,
        "limit_bytes": GIB,
        "final_limit_bytes": GIB,
        "peak_bytes": GIB,
    }
    return run(attempt(**(base | changes)))


def test_a_good_run_shows_peak_limit_headroom_and_cost() -> None:
    text = block(run())
    assert "ok, exit 0, 20.0 s" in text
    assert "peak 1000 MiB of a limit of 1.17 GiB, headroom 200 MiB (17 %)" in text
    assert line(text, "verdict").endswith("fits")
    assert "reserved 23.4 GiB-seconds, used 17.6 GiB-seconds of it (75 %)" in text
    assert "0.003557 USD per GiB-hour (Dataflow memory" in text
    assert "next     1.07 GiB, growing up to 16.0 GiB as it needs" in text
    assert "chance that it must grow: 1.8 %" in text
    assert "learned from 12 past runs" in text


@pytest.mark.parametrize(
    ("peak", "words"), [(1190, "only just"), (1000, "fits"), (200, "far too much room")]
)
def test_the_verdict_follows_the_headroom(peak: int, words: str) -> None:
    assert words in line(block(run(attempt(peak_bytes=peak * MIB))), "verdict")


def test_a_run_kept_alive_says_by_how_much() -> None:
    text = block(run(attempt(limit_bytes=512 * MIB, raises=3, waits=2)))
    assert "kept alive: it needed 488 MiB more than the 512 MiB" in text
    assert "raised 3 times from 512 MiB, waited twice at the limit" in text


def test_a_raise_that_was_not_needed_claims_no_rescue() -> None:
    text = block(run(attempt(limit_bytes=1010 * MIB, raises=1)))
    assert "kept alive" not in text
    assert "as a precaution" in text


def test_a_raise_without_a_known_peak_claims_nothing() -> None:
    text = block(run(attempt(limit_bytes=512 * MIB, raises=1, peak_bytes=None)))
    assert "kept alive" not in text
    assert "could not be measured" in text


def test_out_of_memory_says_at_least_and_unknown() -> None:
    text = block(killed(), decision(Reason.FIXED))
    assert "OUT OF MEMORY, exit 137 (SIGKILL)" in text
    assert "peak at least 1.00 GiB" in text
    assert "how much more is unknown" in text
    assert "headroom" not in text
    assert "Leave out --limit" in text
    assert "without --limit" in line(text, "next")


def test_out_of_memory_names_the_way_out_that_fits() -> None:
    assert "--retries" in block(killed(), decision(can_grow=False))
    assert "--max-memory" in block(killed(), decision(can_grow=True))
    assert "a child was killed" in block(killed(exit_code=1))


def test_exit_0_with_kills_is_a_warning() -> None:
    text = line(block(run(attempt(oom_kills=2))), "verdict")
    assert "WARNING" in text
    assert "2 processes" in text


def test_every_attempt_is_told() -> None:
    first = killed().attempts[0]
    text = block(run(first, attempt(number=2)), None, decision(can_grow=False, attempts_left=1))
    assert "1.00 GiB OOM-killed after 20.0 s; 1.17 GiB ok after 20.0 s" in text
    assert "ok, exit 0, 40.0 s" in text
    assert "finished after 1 OOM-killed attempt" in text
    assert "1.07 GiB, then 1.56 GiB; chance of an OOM kill: 1.8 %" in text


def test_what_ended_early_has_no_headroom() -> None:
    for outcome, words in [
        (Outcome.ERROR, "failed by itself"),
        (Outcome.SIGNALLED, "signal"),
        (Outcome.INTERRUPTED, "stopped before its end"),
    ]:
        text = block(run(attempt(outcome=outcome, exit_code=130)))
        assert words in line(text, "verdict")
        assert "peak at least" in text
        assert "headroom" not in text


def test_observing_claims_no_savings() -> None:
    ended = run(
        attempt(limit_bytes=None, final_limit_bytes=None, reserved_byte_seconds=None),
        control=ControlKind.OBSERVE,
    )
    text = block(ended, decision(Reason.OBSERVE))
    assert "no limit set (sampled" in text
    assert "nothing saved" in text
    assert "USD" not in text
    assert "if memory could be limited here" in line(text, "next")
    wished = block(run(ended.attempts[0]), decision(Reason.OBSERVE))
    assert "without --observe" in line(wished, "next")


def test_unknown_is_said_as_unknown() -> None:
    ended = run(attempt(peak_bytes=None, used_byte_seconds=None))
    text = end_block(ended, None, None)
    assert "peak unknown" in text
    assert "used: unknown" in text
    assert "next     unknown" in text


def test_savings_are_against_the_request_and_only_where_it_would_have_lasted() -> None:
    asked = decision(Reason.REQUEST, request_bytes=4 * GIB)
    cheap = run(attempt(reserved_byte_seconds=1.0 * GIB * 3600, runtime=timedelta(hours=1)))
    assert "75 % less than a fixed 4.00 GiB (0.0142 USD)" in block(cheap, asked)
    dear = run(attempt(reserved_byte_seconds=6.0 * GIB * 3600, runtime=timedelta(hours=1)))
    assert "50 % more than a fixed 4.00 GiB" in block(dear, asked)
    small = decision(Reason.REQUEST, request_bytes=512 * MIB)
    assert "a fixed 512 MiB would have been OOM-killed" in block(cheap, small)
    same = run(attempt(reserved_byte_seconds=4.0 * GIB * 20))
    assert "the same as a fixed 4.00 GiB" in block(same, asked)
    assert "fixed 4.00 GiB" not in block(killed(), asked)


def test_money_uses_the_price_given() -> None:
    ended = run(attempt(reserved_byte_seconds=1.0 * GIB * 3600))
    price = MemoryPrice(gib_hour_usd=2.0, name="own")
    assert "2.00 USD; at 2 USD per GiB-hour (own" in end_block(ended, None, None, prices=price)


@pytest.mark.parametrize("outcome", Outcome)
def test_four_to_seven_plain_lines_for_every_outcome(outcome: Outcome) -> None:
    for ended in (
        run(attempt(outcome=outcome)),
        run(attempt(), attempt(number=2), outcome=outcome),
    ):
        lines = block(ended).splitlines()
        assert 4 <= len(lines) <= 7
        assert all(each.isprintable() for each in lines)
    none = run(attempts=(), outcome=outcome)
    assert 4 <= len(block(none).splitlines()) <= 7
