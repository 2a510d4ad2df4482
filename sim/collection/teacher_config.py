"""What the teacher is asked and how it answers."""

from __future__ import annotations

from dataclasses import dataclass

from robot_wm.core.errors import ConfigError
from sim.policies.registry import make_policy

KINDS = ("ahead", "elsewhere", "correction", "visited")


@dataclass(frozen=True)
class TeacherConfig:
    """What is asked and how it is answered.

    Attributes:
        task: registry name; its scripted expert is the teacher.
        recorded: data sets from whose training episodes states and goals are drawn.
        visited: data sets of an agent's own episodes (``planning.evaluation.rollout_collection``),
            asked about with the goals that it pursued; they name pairs of the first data set in
            ``recorded``.
        shares: how often each kind of question is asked, see ``KINDS``: goals ``ahead`` in the same
            episode, ``elsewhere`` in another, ``correction`` of a block that is nearly right, and
            states ``visited`` by an agent.
        offset: control steps from a state to a goal ahead.
        nearest: of so many states of other episodes, at least and at most, the nearest one becomes
            the goal elsewhere; of 1 it is any state.
        budget: control steps in which an answer must reach its goal.
        ways: ways tried per question.
        kept: at most so many of them become lessons.
        slack: control steps by which a kept way may be longer than the quickest.
        disturbed: share of the ways in which some blocks are disturbed.
        disturbance: share of disturbed blocks in those.
        families: predicates that a way must satisfy, each at some time.
        block: control steps of a block.
        seed: root of every random stream.
        questions_per_shard: unit of atomic writing and of parallel work.
    """

    task: str
    recorded: tuple[str, ...]
    visited: tuple[str, ...] = ()
    shares: tuple[float, ...] = (0.5, 0.2, 0.3, 0.0)
    offset: int = 25
    nearest: tuple[int, int] = (4, 39)
    budget: int = 60
    ways: int = 16
    kept: int = 2
    slack: int = 4
    disturbed: float = 0.25
    disturbance: float = 0.25
    families: tuple[str, ...] = ("official", "strict")
    block: int = 5
    seed: int = 0
    questions_per_shard: int = 100

    def __post_init__(self) -> None:
        make_policy(self.task, "expert")
        if (
            not self.recorded
            or len(self.shares) != len(KINDS)
            or min(self.shares) < 0
            or sum(self.shares) <= 0
            or (self.shares[3] > 0 and not self.visited)
            or min(self.ways, self.kept, self.questions_per_shard, self.block) < 1
            or self.budget < self.block
            or not 1 <= self.nearest[0] <= self.nearest[1]
        ):
            raise ConfigError(
                f"{self}",
                f"recorded episodes, a share for each of {KINDS} (of visited states only where "
                "there are such), counts of 1 or more (nearest: the lesser first), a budget of a "
                "block or more",
                "correct the teacher's configuration",
            )
