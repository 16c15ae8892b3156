"""A new replica: what is known of the others in its group reaches the policy and its limit."""

from __future__ import annotations

from serve_worlds import V1, SmallWorld

from ullage.core.service import EntryKind, LimitProposal, ServiceQuestion, TargetHistory
from ullage.core.units import GIB
from ullage.policies.services import UllageServicePolicy
from ullage.testing.doubles import LargestNeed


class Listening(LargestNeed):
    """Keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[ServiceQuestion] = []

    def recommend(self, history: TargetHistory, question: ServiceQuestion) -> LimitProposal:
        self.asked.append(question)
        return super().recommend(history, question)


def test_only_a_target_without_a_past_is_told_what_the_others_needed() -> None:
    policy = Listening()
    small = SmallWorld([V1] * 3, policies=[policy], max_bytes=16 * GIB)
    small.targets[1].demand_bytes = 2 * GIB
    small.run.advance(1200)
    policy.asked.clear()
    new = small.world.add("new", kind=V1, limit_bytes=GIB)
    small.run.advance(90)
    told = {asked.target_id: asked.group_needs_bytes for asked in policy.asked}
    others = sorted(told.pop(new.target_id))
    assert others == sorted([GIB, 2 * GIB, GIB])
    assert set(told.values()) == {()}


def test_a_new_replica_gets_what_the_hottest_of_its_group_may_need() -> None:
    small = SmallWorld([V1] * 3, policies=[UllageServicePolicy()], max_bytes=16 * GIB)
    small.targets[1].demand_bytes = 2 * GIB
    small.run.advance(600)
    new = small.world.add("new", kind=V1, limit_bytes=GIB + GIB // 8, need_bytes=GIB // 2)
    small.run.advance(120)
    assert new.limit_bytes == 3 * GIB  # max(1.2 x 2 GiB, 2 GiB + (2 GiB - median 1 GiB))
    rows = [row for row in small.rows(EntryKind.DECISION) if row.entry.target_id == new.target_id]
    assert [row.entry.body["reasons"] for row in rows] == [["group"]]
    assert rows[0].entry.body["inputs"]["group_largest_bytes"] == 2 * GIB
