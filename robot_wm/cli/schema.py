"""Sections of the configuration that belong to the commands themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from robot_wm.core.config import Count, Fraction, Natural, NonNegative, Positive, Seed, Within
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.atomic_io import check_name


@dataclass(frozen=True)
class TaskSettings:
    """One task and its data.

    Attributes:
        name: registry name of the scene with its task.
        steps: control steps per recorded episode.
        nominal, varied: episodes of the unvaried and of the randomised collection.
        train_on: collections that train its world model; the root's ``train_on`` overrides.
        mix: behaviours with their share and noise levels.
    """

    name: str
    steps: Count
    nominal: Count
    varied: Count
    train_on: tuple[str, ...]
    mix: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class CollectSettings:
    """How episodes are stored.

    Attributes:
        frame_every: control steps between two stored frames; the block of the world model.
        episodes_per_shard: unit of atomic writing and of parallel work.
    """

    frame_every: Count = 5
    episodes_per_shard: Count = 50


@dataclass(frozen=True)
class ObjectiveSettings:
    """The pretraining objective.

    Attributes:
        name: registered name.
        options: of that objective, checked by its own dataclass.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannerSettings:
    """The planner around the optimiser.

    Attributes:
        optimiser: registered name.
        options: of that optimiser, checked by its own dataclass.
        horizon: blocks planned.
        execute: blocks executed before the next plan.
        proposals: plans asked of the model per search: of its learned actor, or, by the oracle, of
            the scripted expert.
        memory_mb: working memory for candidates [MiB].
        warm_start: whether a search starts at the previous plan.
        discount: 0 costs the last block alone; above 0 sums all blocks with that factor per block.
        levels: steps from the lowest to the highest action to which plans are rounded, so that two
            runtimes of one model act alike; 0 does not round.
        cost: the world model's step cost: latent, distance or both; empty takes the model's own.
        mirror: whether a learned model judges every candidate in the scene's mirror image, too,
            where it has one (:mod:`planning.agent.symmetrized_model`).
    """

    optimiser: str
    options: dict[str, Any] = field(default_factory=dict)
    horizon: Annotated[int, Within(1, 100)] = 5
    execute: Annotated[int, Within(1, 100)] = 1
    proposals: Annotated[int, Within(0, 100_000)] = 0
    memory_mb: Annotated[int, Within(0, 2**20)] = 512
    warm_start: bool = True
    discount: Annotated[float, Within(0, 100)] = 0.0
    levels: Annotated[int, Within(0, 2**20)] = 256
    cost: Literal["", "latent", "distance", "both"] = ""
    mirror: bool = False


@dataclass(frozen=True)
class EvaluateSettings:
    """Which episodes are run.

    Attributes:
        seeds: evaluation seeds, one pair list each.
        limit: run only the first pairs of a list; 0 runs all.
        factors: factors of variation set to these values, e.g. ``{camera_yaw: 5.0}``.
        families: further success predicates to score on the same episodes, e.g.
            ``[moderate, strict]``; the pair list's own stays the result.
        clock: whether the world moves on while the planner thinks: empty (it waits), ``d3`` (a plan
            takes three control steps) or ``measured``; rows are then named ``clock/task/d3``.
        modifiers: appended to the row name, e.g. ``[rest]``.
        rows: first part of the row's and its file's name; empty takes the pair list's family.
        only: bodies that matter, e.g. ``[block]``: the goal is then pictures in which these are
            where they should be and all others anywhere, any of which will do.
        via: pictures of the recording between start and goal that are to be passed on the way.
        validation: validation episodes run at every ``train.eval_every``; 0 runs none.
    """

    seeds: tuple[Seed, ...] = (0,)
    limit: Natural = 0
    factors: dict[str, Any] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    clock: str = ""
    modifiers: tuple[str, ...] = ()
    rows: str = ""
    only: tuple[str, ...] = ()
    via: Annotated[int, Within(0, 100)] = 0
    validation: Natural = 20

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ConfigError("evaluate.seeds = []", "one seed or more", "name one of the lists'")
        if self.rows:
            check_name(self.rows, "evaluate.rows")
        for name in self.modifiers:
            check_name(name, "evaluate.modifiers")


@dataclass(frozen=True)
class ImproveSettings:
    """Rounds of practice, see ``robot-wm improve``.

    Attributes:
        rounds: of practice and training.
        episodes: practised per round, one per pair of the training split.
        episodes_per_shard: unit of atomic writing and of parallel work.
        noise: standard deviations added to the actions; an episode draws one.
        options: of the planner's optimiser while practising, over its own, e.g. iterations: 1; a
            smaller search makes nearly the same mistakes in a fraction of the time.
        share: of training windows that come from practice.
        settle, lr: steps of every training, and its learning rate.
        kept: share of the weights before a round in those after it, see ``TrainConfig.kept``.
        pairs: validation pairs that judge every model.
    """

    rounds: Count = 1
    episodes: Count = 2000
    episodes_per_shard: Count = 50
    noise: tuple[NonNegative, ...] = (0.0, 0.1, 0.2)
    options: dict[str, Any] = field(default_factory=dict)
    share: Annotated[float, Within(above=0, below=1)] = 0.25
    settle: Count = 4000
    lr: Annotated[float, Within(above=0, high=10)] = 1e-3
    kept: Annotated[float, Within(0, below=1)] = 0.5
    pairs: Count = 150

    def __post_init__(self) -> None:
        if not self.noise:
            raise ConfigError("improve.noise = []", "one level or more", "name one")


@dataclass(frozen=True)
class TeachSettings:
    """A taught actor, see ``robot-wm teach``.

    Attributes:
        rounds: in which the teacher answers from where the agent went, after the first from
            recorded states.
        questions: of a round.
        shares: of questions with goals ahead in the same episode, in another one, with a block that
            is nearly right, and, after the first round, from visited states.
        ways: in which the expert tries to answer each.
        budget: control steps of an answer, at most.
        families: predicates that an answer must satisfy.
        episodes: of the agent a round, one per pair of the training split.
        noise: standard deviations added to its actions; an episode draws one.
        actor: of :class:`robot_wm.world_models.jepa.actor.trainer.ActorConfig`.
        pairs: validation pairs that judge every round.
    """

    rounds: Natural = 2
    questions: Count = 6000
    shares: tuple[NonNegative, NonNegative, NonNegative, NonNegative] = (0.5, 0.2, 0.3, 1.0)
    ways: Count = 12
    budget: Count = 60
    families: tuple[str, ...] = ("official", "strict")
    episodes: Count = 1500
    noise: tuple[NonNegative, ...] = (0.0, 0.0, 0.1, 0.2)
    actor: dict[str, Any] = field(default_factory=dict)
    pairs: Count = 150


@dataclass(frozen=True)
class AblateSettings:
    """The ablation of the encoder's recipe.

    Attributes:
        variants: some of them, e.g. ``[no-dense-loss]``, beside the full recipe; empty runs all.
    """

    variants: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReachSettings:
    """A goal to order; without image, pose or recording a random scene is the goal.

    Attributes:
        image: a picture file.
        pose: entries of the scene's pose to set in a random scene, e.g. ``{block_x: 0.3}``.
        recording: folder of a data set or a robot's log, whose episode ends at the goal.
        episode: which of its episodes.
        every: pictures of it to pass on the way, one per so many stored ones; 0 passes none.
        only: bodies that matter, see ``evaluate.only``.
        seed: of the start, and, one higher, of the random scene with the goal.
        steps: control steps to get there; the episode ends where the goal is reached.
    """

    image: str = ""
    pose: dict[str, float] = field(default_factory=dict)
    recording: str = ""
    episode: Natural = 0
    every: Natural = 0
    only: tuple[str, ...] = ()
    seed: Seed = 0
    steps: Annotated[int, Within(1, 100_000)] = 300


@dataclass(frozen=True)
class SoakSettings:
    """The controller under faults.

    Attributes:
        ticks: control steps.
        rate: faults per look at the camera.
        length: control steps per goal.
        max_change: the controller's rate limit, per action entry and control step.
    """

    ticks: Count = 1_000_000
    rate: Fraction = 0.1
    length: Count = 100
    max_change: Positive = 0.5


@dataclass(frozen=True)
class ReportSettings:
    """The HTML page.

    Attributes:
        episodes: pairs shown with everything the planner saw and imagined.
        max_plans: plans drawn per episode.
        explain: say of every failure shown whether prediction, cost or search was at fault, by
            running it again with the true simulator in their place (a minute each).
    """

    episodes: Natural = 6
    max_plans: Natural = 4
    explain: bool = True


@dataclass(frozen=True)
class DemoSettings:
    """The demonstration.

    Attributes:
        tasks: tasks to show.
        pairs: held-out pairs per task.
    """

    tasks: tuple[str, ...]
    pairs: Count = 20
