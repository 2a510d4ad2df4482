"""Claim 10: what is reached with a latent variable and without, where chance rules and elsewhere.

The models are those of ``robot-wm uncertainty``: the same predictor, with a z to choose and with a
single value of it. They plan in a scene with kicks that no picture foretells, and in the same scene
without.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from planning.commands.claims.latent_actions import trained
from planning.commands.claims.measuring import Measurement, Row, seeded, solved
from robot_wm.cli.compose import Session
from robot_wm.commands.parts.artifacts import model
from robot_wm.commands.uncertainty import FAMILY, models, variant
from robot_wm.world_models.latent_variable.acceptance import DETERMINISTIC

CLAIM = 10  # in the ledger
DISCRETE = "discrete"
NAMES = {DETERMINISTIC: "deterministic", DISCRETE: "latent"}  # there


def scenes(session: Session) -> list[Measurement]:
    """With z and without, in each of two scenes.

    Codes and price of z are those of the run, if it is one of such a model.
    """
    settings, found = session.settings, list[Measurement]()
    usual = settings
    if settings.family.name != FAMILY:
        usual = variant(session, settings.claims.scenes[0], DETERMINISTIC, ()).settings
    words = models(usual, (DISCRETE,), leaky=False)
    for task in settings.claims.scenes:
        for called, name in NAMES.items():
            named = seeded(called, settings.seed)
            plans = ("method=mpc", f"weights={settings.name}-{named}")  # so the search is checked
            own = variant(session, task, named, (*words[called], *plans))
            jobs = partial(_trained, own), partial(_success, own)
            found.append(Measurement(CLAIM, name, own.settings.train_config().codes, *jobs))
    return found


def _trained(session: Session) -> Row:
    return {"task": session.settings.task.name, **trained(session, session)}


def _success(session: Session) -> Row:
    n, success = solved(session, FAMILY, model(session))
    return {"n": n, "planner": asdict(session.settings.planner), "values": {"success_pct": success}}
