"""The claims of the debate on world models, each with the test that could refute it here."""

from __future__ import annotations

from dataclasses import dataclass

from planning.ledger import judges
from planning.ledger.judges import Judge
from planning.ledger.rules import (
    AHEAD,
    ALIVE,
    CHANCE,
    DROP,
    LANDED,
    LEARNT,
    MOMENTUM,
    NEARER,
    NOISE,
    REAL,
    SEEDS,
    SOONER,
    TASKS,
    VALID,
    WON,
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        title: a few words.
        said: the claim in plain words.
        test: what is run.
        holds_if: the rule of :mod:`planning.ledger.rules` in words.
        judge: from rows to numbers and verdict.
    """

    title: str
    said: str
    test: str
    holds_if: str
    judge: Judge


CLAIMS = (
    Claim(
        "Predicting features learns sooner",
        "Predicting the features of hidden parts of a video needs less training than rebuilding "
        "their pixels.",
        "Masked autoencoding and V-JEPA pretrain the same encoder on the same clips and cores. "
        "Measured are the processor minutes and the pictures until V-JEPA knows the block's angle "
        "as well as the other knows it in the end, if the other's training taught it the angle at "
        "all. The same of positions is told beside.",
        f"for both costs the ratio is {SOONER:g} or more in the mean of {SEEDS} seeds or more, and "
        "its 95 % interval lies above 1",
        judges.efficiency,
    ),
    Claim(
        "Noise wastes what generative models can hold",
        "A model that draws every pixel spends itself on noise that nobody can predict; one that "
        "predicts features ignores it.",
        "Noise is laid over everything seen, new in every frame or fixed through an episode, and "
        "the same goals are pursued. Noise fixed through an episode is shown whoever wins: it can "
        "be predicted, and features may well encode it.",
        f"under noise new in every frame ours loses less than {NOISE:g} of what the generative "
        "models lose in the mean, as shares of their own success",
        judges.noise,
    ),
    Claim(
        "No decoder, cheaper planning",
        "A planner that needs no picture of the future plans faster and no worse.",
        "The same planner with every world model: success and time of a plan.",
        f"on {WON} or more of {TASKS} tasks ours reaches no less than every generative model in no "
        "more time, and one of the two is better",
        judges.cheaper,
    ),
    Claim(
        "A moving average prevents collapse",
        f"A target encoder that follows with momentum {MOMENTUM:g} keeps features from collapsing.",
        "Pretraining without any other remedy, and with all, at several momenta. S/S0 is what is "
        "left of the features' spread once each position's mean is taken away.",
        f"the plain recipe at {MOMENTUM:g} keeps S/S0 at {ALIVE:g} or above in every run",
        judges.moving_average,
    ),
    Claim(
        "Latent actions need the right number of codes",
        "With too few latent actions the model can do too little, with too many they leak the "
        "future.",
        "The model with latent actions is trained with several numbers of codes and plans.",
        "success is best at a number between the least and the most tried",
        judges.codes,
    ),
    Claim(
        "Generative models hallucinate physics",
        "What draws the world does not know its laws; what predicts features does.",
        "Matched clips, of which one breaks a law: which of the two surprises more? Beside the "
        "models stands copying the last latent, which knows no law.",
        f"ours tells {AHEAD:g} points more of the pairs apart than copying and than every "
        "generative model",
        judges.physics,
    ),
    Claim(
        "One can learn in a dream",
        "A controller that learnt in the imagination of a world model acts well in the world.",
        "The controller evolves in dreams of several temperatures, and acts in the scene.",
        f"at the temperature with the best real score, that is {100 * REAL:g} % or more of the "
        f"dreamt one, and {LEARNT:g} points more than random actions reach",
        judges.dreams,
    ),
    Claim(
        "The world model's capacity sets how abstract features become",
        "A deeper predictor that is told how a picture was changed lets the encoder keep more of "
        "the change; a shallow one makes it forget.",
        "Pretraining with predictors of several depths; then a linear probe reads the light.",
        f"the mean over {SEEDS} seeds rises, or falls, with every step of depth",
        judges.capacity,
    ),
    Claim(
        "Zero-shot transfer",
        "A frozen encoder and a frozen planner work where things look otherwise.",
        "The same goals at held-out levels of every factor; the camera is told beside them.",
        f"no held-out colour or light costs more than {DROP:g} points of success",
        judges.transfer,
    ),
    Claim(
        "A deterministic predictor lacks uncertainty",
        "Where chance rules, a predictor with a latent variable plans better than one without.",
        "Both plan in a scene that kicks at random, and in the same scene without kicks.",
        "more goals with it in the scene that kicks (95 % Wilson intervals apart), and as many "
        "elsewhere (they overlap)",
        judges.chance,
    ),
    Claim(
        "Abstraction absorbs chance",
        "Of a falling leaf one can predict that it will land, not where: features can say just "
        "that, pixels cannot.",
        "An object falls from a ridge to the left or to the right at random. Probes read from the "
        "predicted state whether it has landed, on which side, and whether height and contact can "
        "be at all.",
        f"landed is told with an area of {LANDED:g} or more, the side with one within {CHANCE:g} "
        f"of one half, and {100 * VALID:g} % of what is predicted is possible (the last two "
        "bounds are ours)",
        judges.ridge,
    ),
    Claim(
        "What a probe reads is what the model uses",
        "That physics can be read from a state does not say that the prediction makes use of it.",
        "The state is moved along a probe's direction, as if the block lay 2 cm further, and "
        "rolled out; the truth is a simulation in which it does lie there.",
        f"for ours and every rival the edited rollout is nearer to that truth than the unedited "
        f"one in {NEARER:g} % of pairs or more",
        judges.edits,
    ),
)  # fmt: skip
