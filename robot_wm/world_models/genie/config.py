"""What decides a training of Genie, and of its twin that is told the true actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from robot_wm.core.config import Count, Natural, Within
from robot_wm.world_models.config import Width
from robot_wm.world_models.pixels.config import GeneratorConfig, Stage, TakesParts


@dataclass(frozen=True)
class TrueGenieConfig(TakesParts, GeneratorConfig):
    """Tokens, then their dynamics under the recorded actions. The tokenizer may be another model's.

    Attributes:
        codes, code_width: of the tokenizer's codebook.
        tokenizer_depth: blocks of its encoder, and of its decoder.
        tokenizer_steps, tokenizer_batch: of the first stage: optimizer steps, windows a step.
        steps: of the dynamics.
        passes: in which an imagined frame is unmasked.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("tokenizer.",)
    LEARNT: ClassVar[tuple[str, ...]] = ("tokenizer_steps",)
    codes: Annotated[int, Within(2, 2**16)] = 512
    code_width: Width = 32
    tokenizer_depth: Width = 2
    tokenizer_steps: Natural = 2_000
    tokenizer_batch: Count = 8
    steps: Count = 3_000
    passes: Annotated[int, Within(1, 100)] = 2

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by name, in their order."""
        return {
            "tokenizer": Stage(self.tokenizer_steps, self.tokenizer_batch),
            "dynamics": Stage(self.steps, self.batch),
        }


@dataclass(frozen=True)
class GenieConfig(TrueGenieConfig):
    """Tokens and latent actions, then the dynamics under latent actions, then what they are called.

    Attributes:
        latent_actions: codes of latent actions; few, or they tell more than what was done.
        action_patch: side of a patch of the latent action model [px].
        action_depth: blocks of its encoder, and of its decoder.
        action_steps, action_batch: of its stage: optimizer steps, windows a step.
        labels: transitions with recorded actions, from which the map from real to latent ones is
            learned; the rest of the training sees none.
        label_steps: of that.
    """

    latent_actions: Annotated[int, Within(2, 4096)] = 8
    action_patch: Width = 16
    action_depth: Width = 2
    action_steps: Count = 2_000
    action_batch: Count = 16
    labels: Count = 200
    label_steps: Count = 300

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by name, in their order."""
        true = super().stages
        return {
            "tokenizer": true["tokenizer"],
            "latent_actions": Stage(self.action_steps, self.action_batch),
            "dynamics": true["dynamics"],
            "labels": Stage(self.label_steps, 1),
        }
