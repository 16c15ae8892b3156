"""How a pass over many targets shares its time: rescues come in between, decisions wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from serve_worlds import QUICK, V1, SmallWorld

from ullage.core.service import LimitProposal, ServiceQuestion, TargetHistory
from ullage.core.units import GIB, MIB
from ullage.testing.doubles import LargestNeed


class SlowNeed(LargestNeed):
    """Takes 0.3 s of the world's time for an answer; keeps who asked."""

    def __init__(self) -> None:
        super().__init__()
        self.small: SmallWorld | None = None
        self.asked: list[str] = []

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        assert self.small is not None
        self.small.world.clock.advance(0.3)
        self.asked.append(question.target_id)
        return super().recommend(history, question)


def test_a_pass_decides_for_so_long_and_the_others_come_first_in_the_next_one() -> None:
    policy = SlowNeed()
    settings = replace(QUICK, decide_interval=timedelta(seconds=300))
    small = SmallWorld([V1] * 6, settings=settings, policies=[policy])
    policy.small = small
    small.run.advance(120)  # settled
    small.world.clock.advance(400)  # all are overdue now
    rounds = []
    for _ in range(3):
        policy.asked.clear()
        small.run.tick()
        rounds.append(list(policy.asked))
    assert [len(names) for names in rounds] == [2, 2, 2]
    assert len({name for names in rounds for name in names}) == 6


def test_an_answer_slower_than_the_whole_budget_still_comes() -> None:
    policy = SlowNeed()
    settings = replace(QUICK, decide_at_most=timedelta(milliseconds=100))
    small = SmallWorld([V1] * 3, settings=settings, policies=[policy])
    policy.small = small
    small.run.advance(600)
    assert len(set(policy.asked)) == 3


def test_a_rescue_does_not_wait_for_the_end_of_a_pass() -> None:
    small = SmallWorld([V1] * 10, host_bytes=1024 * GIB)
    for number in range(100):
        small.world.add(f"z{number:03d}", kind=V1, limit_bytes=4 * GIB)
    small.run.advance(90)
    controller, now = small.daemon.controller, small.world.clock.now()
    read_before = [one.read_count for one in controller.targets()]
    raised_when: list[int] = []

    def peek() -> None:
        if small.target.demand_bytes < 9 * GIB:  # the look after listing: now the readings begin
            small.world.leap(small.target.target_id, 9 * GIB)
            return
        small.run.deliver()
        if not raised_when and small.target.limit_bytes == 5 * GIB + 64 * MIB:
            read = [one.read_count for one in controller.targets()]
            raised_when.append(sum(a > b for a, b in zip(read, read_before, strict=True)))

    controller.run_once(now, peek=peek)
    assert raised_when == [32]
    assert not small.target.is_waiting
    small.run.advance(600)
    assert small.target.oom_kills == 0
