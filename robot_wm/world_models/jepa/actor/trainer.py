"""Train actor and critic of a world model on a teacher's lessons; all else stays as it is.

Three kinds of rows make a step: lessons, seen truly or from up to three blocks before in the
predictor's imagination; the same ways in hindsight, where any later state is a goal; and, where
they are given, recorded episodes in hindsight. Hindsight rows carry a mark that shifts the trunk by
one learned vector, so that they teach how to get about and not what to do.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.config import (
    Count,
    Fraction,
    Natural,
    NonNegative,
    Seed,
    Within,
    check_fields,
)
from robot_wm.training.checkpoint import (
    half_precision,
    load_artifact,
    save_artifact,
)
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import fit, generators_of
from robot_wm.training.schedule import Schedule
from robot_wm.world_models.jepa.actor.critic import CriticConfig, train_critic, validate_critic
from robot_wm.world_models.jepa.actor.dataset import Draw, RecordedRows, Taught
from robot_wm.world_models.jepa.actor.lesson_training import LessonTraining
from robot_wm.world_models.jepa.actor.model import Actor
from robot_wm.world_models.jepa.model import KIND, JEPAWorldModel, Network
from robot_wm.world_models.jepa.visualization import SHEET

# These may change between the two halves of a resumed run; everything else decides the result.
FREE = ("threads", "checkpoint_every", "log_every")


@dataclass(frozen=True)
class ActorConfig(Schedule):
    """How an actor is trained.

    Attributes:
        steps, batch: optimizer steps, lesson rows a step.
        hindsight, recorded: rows in hindsight of lessons and of recorded demonstrations, where
            there are any, as a share of ``batch``.
        imagined: share of the lesson rows that are seen in imagination.
        lost: share of the rows without what was before, as a first frame has none.
        ahead: control steps to a goal in hindsight, at most.
        heads, width, blocks: of :class:`Actor`.
        cost: of the model that comes out, see :class:`JEPAWorldModel`; empty keeps the parent's. A
            critic that knows far goals may judge better alone (docs/log.md).
        half: compute in bfloat16. Measure first: small networks may lose by it (docs/log.md).
        seed, threads: of torch; the command line sets the threads, here they are recorded.
        checkpoint_every, log_every: in steps.
        critic: its own training, after the actor's.
    """

    steps: Count = 12_000
    batch: Annotated[int, Within(2, 10**6)] = 512
    hindsight: NonNegative = 0.25
    recorded: NonNegative = 0.25
    imagined: Fraction = 0.5
    lost: Fraction = 0.25
    ahead: Count = 40
    heads: Annotated[int, Within(1, 1024)] = 8
    width: Annotated[int, Within(1, 4096)] = 256
    blocks: Annotated[int, Within(1, 4096)] = 6
    lr: Annotated[float, Within(above=0, high=10)] = 1e-3
    cost: Literal["", "latent", "distance", "both"] = ""
    half: bool = False
    seed: Seed = 0
    threads: Annotated[int, Within(1, 1024)] = 1
    checkpoint_every: Count = 1_000
    log_every: Natural = 100
    critic: CriticConfig = field(default_factory=CriticConfig)

    def __post_init__(self) -> None:
        check_fields(self, "teach.actor")


def train_actor(
    config: ActorConfig,
    taught: Taught,
    recorded: RecordedRows | None,
    model: JEPAWorldModel,
    parent: Path,
    out: Path,
    facts: Mapping[str, Any],
) -> Path:
    """Train, and write ``out/world_model``: ``parent`` with another actor and critic.

    Args:
        taught, recorded: what it learns from; the latents must be ``model``'s.
        model: loaded from ``parent``. One that already has an actor of this shape is trained on.
        out: run folder; an interrupted run there goes on.
        facts: what the lessons were, kept in the manifest.

    Raises:
        WeightsError: ``out`` holds a run with another configuration.
    """
    make = partial(ActorTraining, config, taught, recorded, model, parent, Path(out), facts)
    return fit(make, out)


class ActorTraining(LessonTraining):
    """An actor, learning from lessons; see :func:`train_actor`."""

    title, section = "train the actor", "teach.actor"

    def __init__(
        self,
        config: ActorConfig,
        taught: Taught,
        recorded: RecordedRows | None,
        model: JEPAWorldModel,
        parent: Path,
        out: Path,
        facts: Mapping[str, Any],
    ) -> None:
        state = Averaged(actor_of(config, model, taught))
        super().__init__(config, config.steps, state, config.log_every, config.checkpoint_every)
        self.config, self.taught, self.recorded = config, taught, recorded
        self.model, self.parent, self.out = model, parent, out
        _, self.stored, self.manifest = load_artifact(parent, KIND)
        decisive = {k: v for k, v in asdict(config).items() if k not in FREE}
        parents = {**self.manifest["parents"], "latent": self.manifest["sha256"]}
        self.identity = {**decisive, "parents": parents, **facts}

    def drawn_loss(self, step: int) -> Tensor:
        """Negative log likelihood of a step's rows."""
        return _step(self.config, step, self.taught, self.recorded, self.state.live)

    def finish(self) -> Path:
        """Train the critic, too, and write the world model with both."""
        network = with_actor(self.model.network, self.state.ema, self.config)
        facts = {k: self.identity[k] for k in self.identity if k not in asdict(self.config)}
        network.distance = train_critic(
            self.config.critic, self.taught, network.distance, self.out / "critic", facts,
            self.config.log_every, self.config.checkpoint_every,
        )  # fmt: skip
        measured = validate(network.proposer, self.taught)
        measured |= validate_critic(network.distance, self.taught)
        return _ship(
            network, self.stored, self.manifest, self.parent, self.out, self.identity, measured
        )


def actor_of(config: ActorConfig, model: JEPAWorldModel, taught: Taught) -> Actor:
    """The model's own actor if it has one of this shape, else a fresh one."""
    sizes, own = model.network.sizes, model.network.proposer
    shape = (config.heads, config.width, config.blocks)
    if isinstance(own, Actor) and shape == (
        sizes.heads, sizes.proposer_width, sizes.proposer_blocks
    ):  # fmt: skip
        return copy.deepcopy(own).train().requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        actor = Actor(sizes.latent, sizes.action, sizes.horizon, *shape)
    std, mean = torch.std_mean(taught.blocks[taught.train], dim=0)
    actor.scale.mean.copy_(mean)
    actor.scale.std.copy_(std.clamp(min=1e-3))
    actor.place.load_state_dict(model.network.predictor.place.state_dict())
    return actor


def with_actor(network: Network, actor: Actor, config: ActorConfig) -> Network:
    """A copy of the network that proposes with this actor."""
    sizes = replace(
        network.sizes, actor=True, heads=config.heads, proposer_width=config.width,
        proposer_blocks=config.blocks,
    )  # fmt: skip
    made, state = Network(sizes), network.state_dict()
    state = {k: v for k, v in state.items() if not k.startswith("proposer.")}
    made.load_state_dict(state | {f"proposer.{k}": v for k, v in actor.state_dict().items()})
    return made.eval().requires_grad_(False)


def _step(
    config: ActorConfig, step: int, taught: Taught, recorded: RecordedRows | None, live: Actor
) -> Tensor:
    """Loss of a step, whose rows are drawn by (seed, step)."""
    c, (rng, _) = config, generators_of(config.seed, step)
    draws = [taught.draw(c.batch, rng, c.imagined, c.lost)]
    if count := round(c.hindsight * c.batch):
        draws.append(taught.wander(count, rng, c.ahead))
    if recorded is not None and (count := round(c.recorded * c.batch)):
        draws.append(recorded.wander(count, rng, c.ahead // taught.block, c.lost))
    z_prev, z, a_prev, goal, action = (
        torch.cat([getattr(draw, name) for draw in draws])
        for name in ("z_prev", "z", "a_prev", "goal", "action")
    )
    marks = torch.cat([torch.full((len(d.z),), float(i > 0)) for i, d in enumerate(draws)])
    with torch.autocast("cpu", torch.bfloat16, enabled=c.half):
        loss: Tensor = live.loss(z_prev, z, a_prev, goal, action, marks)
    return loss


@torch.no_grad()
def validate(actor: Actor, taught: Taught) -> dict[str, float]:
    """On lessons held out, seen truly and from two blocks before: likelihood and errors.

    ``first`` is the mean squared error of the likeliest component, ``best`` of the nearest, in
    variances of the blocks.
    """
    found: dict[str, float] = {}
    for deep in (0, 2):
        rows = taught.held_out[taught.age[taught.held_out] >= taught.block * max(deep, 1)]
        rows = rows[np.linspace(0, len(rows) - 1, min(4000, len(rows))).astype(int)]
        if not len(rows):
            continue
        d: Draw = taught.gather(rows, np.full(len(rows), deep), np.zeros(len(rows), bool))
        mean, _, logits = actor(d.z_prev, d.z, d.a_prev, d.goal)
        error = (mean - actor.scale(d.action)[:, None]).square().mean(dim=-1)
        likeliest = error.gather(1, logits.argmax(dim=-1, keepdim=True))
        found |= {
            f"actor_nll_{deep}": float(actor.loss(d.z_prev, d.z, d.a_prev, d.goal, d.action)),
            f"actor_first_{deep}": float(likeliest.mean()),
            f"actor_best_{deep}": float(error.min(dim=1).values.mean()),
        }
    return found


def _ship(
    network: Network,
    stored: Mapping[str, Any],
    manifest: Mapping[str, Any],
    parent: Path,
    out: Path,
    identity: Mapping[str, Any],
    measured: Mapping[str, float],
) -> Path:
    """Write the artefact: the parent's facts with what was done to its actor."""
    before = manifest["facts"]
    last = {**before.get("last", {})}
    last["validation"] = {**last.get("validation", {}), **measured}
    for gone in ("proposer_best", "proposer_first"):
        last["validation"].pop(gone, None)
    facts = {
        **before, "last": last, "actor": dict(identity),
        "parameters": sum(p.numel() for p in network.parameters()),
    }  # fmt: skip
    cost = identity["cost"] or stored["cost"]
    described = {**stored, "sizes": asdict(network.sizes), "cost": cost}
    card = (Path(parent) / "card.md").read_text(encoding="utf-8")
    card = "".join(x for x in card.splitlines(True) if not x.startswith("| proposer_")).rstrip()
    count = f"{before.get('parameters', 0):,} parameters"
    card = card.replace(count, f"{facts['parameters']:,} parameters")
    card += "".join(f"\n| {name} | {value:.3f} |" for name, value in measured.items())
    critic = identity["critic"]["steps"]
    card += (
        "\n\nIts actor was taught one block at a time by a scripted expert led to the goal "
        f"(`robot-wm teach`, {identity['steps']:,} steps of {identity['batch']} rows, seed "
        f"{identity['seed']}) and proposes by acting in imagination. Its critic learned for "
        f"{critic:,} steps how far it is to the goals of the same lessons.\n"
    )
    sheet = Path(parent) / SHEET
    extra = {SHEET: sheet.read_bytes()} if sheet.is_file() else {}
    parents = {**manifest["parents"], "latent": manifest["sha256"]}
    folder = Path(out) / KIND
    save_artifact(folder, KIND, half_precision(network), described, parents, facts, card, extra)
    return folder
