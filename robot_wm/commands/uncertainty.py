"""``robot-wm uncertainty``: whether a latent variable foresees what one prediction cannot.

Predictors that differ in nothing but z, on a scene with kicks that no picture foretells and on the
same scene without; held-out episodes judge them. What exists is not trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from robot_wm.cli.compose import Session, compose
from robot_wm.cli.paths import CHECKOUT
from robot_wm.commands.parts.artifacts import model, training_data
from robot_wm.core.config import Count, Within
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.provenance import provenance, read_manifest
from robot_wm.core.system.progress import say
from robot_wm.world_models.latent_variable.acceptance import (
    DETERMINISTIC,
    Row,
    add_rows,
    name_of,
    render,
    verdict,
)

if TYPE_CHECKING:
    from robot_wm.cli.settings import Settings
    from robot_wm.world_models.latent_variable.measures import Found, Transitions

FOLDER, FAMILY = "uncertainty", "latent_variable"
KINDS = ("discrete", "gaussian")
OWN = (
    "task=", "name=", "data_name=", "encoder_name=", "weights=", "world_model=",
    *(f"{group}.{key}=" for group in ("world_model", "train")
      for key in ("variable", "codes", "beta")),
)  # fmt: skip


@dataclass(frozen=True)
class UncertaintySettings:
    """Predictors with and without a latent variable.

    Attributes:
        still: task without kicks, otherwise like the run's.
        variables: kinds of z: discrete, gaussian.
        leak: price of z (``world_model.beta``) of the control, in which it must leak.
        transitions: held-out steps of each scene.
    """

    still: str = "two_room"
    variables: tuple[str, ...] = KINDS
    leak: Annotated[float, Within(above=0, high=1000)] = 1e-5
    transitions: Count = 2000

    def __post_init__(self) -> None:
        if not self.variables or not set(self.variables) <= set(KINDS):
            raise ConfigError(
                f"uncertainty.variables = {list(self.variables)}", f"some of {', '.join(KINDS)}",
                "correct the list",
            )  # fmt: skip


def run(session: Session) -> int:
    """Train what is missing, measure, print the verdict, write rows; exit 1 where it is missed.

    Raises:
        ConfigError: another family of world models, or one scene for both.
    """
    settings = session.settings
    chosen = settings.uncertainty
    if settings.family.name != FAMILY:
        raise ConfigError(f"world_model={settings.family.name}", FAMILY, "leave world_model= out")
    if settings.task.name == chosen.still:
        raise ConfigError(
            f"task={chosen.still} and uncertainty.still={chosen.still}",
            "a scene with kicks, and the same one without", "leave task= out",
        )  # fmt: skip
    rows = [
        *scene(session, "kicked", settings.task.name, leaky=True),
        *scene(session, "still", chosen.still, leaky=False),
    ]
    results = CHECKOUT / "results" if settings.publish else settings.run_path("uncertainty")
    path = results / FOLDER / f"{settings.task.name}.jsonl"
    add_rows(path, rows)
    print(render(rows, chosen.variables))
    print(f"rows: {path}")
    return int(not all(good for kind in chosen.variables for *_, good in verdict(rows, kind)))


def scene(session: Session, name: str, task: str, leaky: bool) -> list[Row]:
    """Rows of all models of one scene; the deterministic one comes first, the others follow it."""
    rows, reference = list[Row](), None
    for called, words in models(
        session.settings, session.settings.uncertainty.variables, leaky
    ).items():
        own = variant(session, task, called, words)
        say(f"{called} on {task}")
        steps, found, facts = measured(own)
        reference = found if reference is None else reference
        told = {"scene": name, "task": task, "model": called, **facts}
        rows.append({**told, **summary(steps, found, reference), **_origin(session)})
    return rows


def models(settings: Settings, variables: Sequence[str], leaky: bool) -> dict[str, tuple[str, ...]]:
    """Overrides of each model by its name, the one without z first.

    Args:
        variables: kinds of z.
        leaky: whether controls are among them in which z costs next to nothing.
    """
    found: dict[str, tuple[str, ...]] = {
        DETERMINISTIC: ("world_model.variable=discrete", "world_model.codes=1")
    }
    for kind in variables:
        found[kind] = (f"world_model.variable={kind}", *_codes(settings))
        if leaky:
            price = f"world_model.beta={settings.uncertainty.leak!r}"
            found[name_of(kind, leaky=True)] = (*found[kind], price)
    return found


def _codes(settings: Settings) -> tuple[str, ...]:
    config = settings.train_config()
    return f"world_model.codes={max(2, config.codes)}", f"world_model.beta={config.beta!r}"


def variant(session: Session, task: str, called: str, words: Sequence[str]) -> Session:
    """The run with another scene and another z: its own name, the data and encoder of this one."""
    settings = session.settings
    kept = [o for o in session.overrides if not o.lstrip("+~").startswith(OWN)]
    overrides = (
        *kept, f"world_model={FAMILY}", f"task={task}", f"name={settings.name}-{called}",
        f"data_name={settings.data_name}", f"encoder_name={settings.encoder_name}",
        "evaluate.validation=0", *words,
    )  # fmt: skip
    made = compose(overrides)
    made.check()
    return Session(made, overrides)


def measured(session: Session) -> tuple[Transitions, Found, Row]:
    """What a model, trained if missing, does on held-out steps; and which model it is."""
    from robot_wm.world_models.latent_variable.family import FAMILY as family
    from robot_wm.world_models.latent_variable.measures import measure, transitions

    settings = session.settings
    folder, encoder = model(session)
    network = family.load(folder, encoder).network
    data = training_data(settings, settings.train_on, encoder)
    windows = family.windows(network, data, "test", network.context + 1)
    steps = transitions(windows, settings.uncertainty.transitions)
    manifest = read_manifest(folder, "world_model", verify=False)
    config = network.config
    facts = {
        "variable": config.variable, "size": network.variable.size, "beta": config.beta,
        "train_seed": config.seed, "steps": config.steps, "batch": config.batch,
        "parameters": manifest["facts"]["parameters"], "model_sha256": manifest["sha256"],
        "encoder_sha256": manifest["parents"]["encoder"],
        "dataset_sha256": manifest["parents"]["dataset"],
    }  # fmt: skip
    return steps, measure(network, steps, config.seed), facts


def summary(steps: Transitions, found: Found, deterministic: Found) -> Row:
    """Means over held-out steps, and ratios with 95 % intervals by episode.

    Args:
        deterministic: of the predictor without z, of the same steps.
    """
    from robot_wm.core.metrics import auroc
    from robot_wm.world_models.latent_variable.measures import ratio

    row: Row = {
        "episodes": len(set(steps.episode.tolist())), "transitions": len(steps.episode),
        "likeliest_error": float(found.likeliest.mean()),
        "best_of_8_error": float(found.best.mean()), "prior_error": float(found.prior.mean()),
        "posterior_error": float(found.posterior.mean()), "lent_error": float(found.lent.mean()),
        "nats": float(found.nats.mean()),
        "energy_auroc_pct": round(100 * auroc(found.best, found.swapped), 2),
    }  # fmt: skip
    for name, above, below in (
        ("best_over_deterministic", found.best, deterministic.likeliest),
        ("lent_over_prior", found.lent, found.prior),
    ):
        row |= dict(zip((name, f"{name}_low", f"{name}_high"),
                        ratio(above, below, steps.episode), strict=True))  # fmt: skip
    return row


def _origin(session: Session) -> Row:
    return {"command": " ".join(("robot-wm uncertainty", *session.overrides)), **provenance()}
