"""Claim 5: what a model reaches whose latent actions are told by few codes or by many."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial

from planning.commands.claims.measuring import (
    Measurement,
    Row,
    going_on,
    modelled,
    solved,
)
from planning.commands.compare import held_out
from robot_wm.cli.compose import Session
from robot_wm.commands.parts.artifacts import model
from robot_wm.core.storage.provenance import check_parent, read_manifest, sha256_of

CLAIM, FAMILY = 5, "genie"  # in the ledger
LEAK = ("actions_used", "action_r2", "named_right")  # measures of held-out episodes


def codes(session: Session) -> list[Measurement]:
    """One model is trained whole; those with other numbers of codes take over its tokenizer."""
    base, found = modelled(session, FAMILY), list[Measurement]()
    settings = base.settings
    usual = settings.train_config().latent_actions
    for count in session.settings.claims.codes:
        own = base if count == usual else going_on(
            session, FAMILY, f"{settings.name}-codes{count}", settings.model_path(),
            (f"world_model.latent_actions={count}", "train.tokenizer_steps=0"),
        )  # fmt: skip
        jobs = partial(trained, own, base), partial(_success, own)
        found.append(Measurement(CLAIM, FAMILY, count, *jobs))
    return found


def trained(session: Session, base: Session) -> Row:
    """Train a model, and the one whose parts it takes over, where missing; what the row is of.

    Raises:
        DataError: it was trained with the parts of another model.
    """
    settings = session.settings
    first, _ = model(base)
    folder, _ = model(session)
    manifest = read_manifest(folder, "world_model", verify=False)
    if folder != first:
        digest = read_manifest(first, "world_model", verify=False)["sha256"]
        check_parent(manifest, "parts", digest)
    pairs, planner = held_out(settings), asdict(settings.planner)
    return {
        "model_sha256": manifest["sha256"], "encoder_sha256": manifest["parents"]["encoder"],
        "asked_sha256": sha256_of({"pairs": pairs.sha256, "planner": planner}),
        "pair_list_sha256": pairs.sha256,
    }  # fmt: skip


def _success(session: Session) -> Row:
    folders = model(session)
    facts = read_manifest(folders[0], "world_model", verify=False)["facts"]
    told = facts["last"].get("validation", {})
    n, success = solved(session, FAMILY, folders)
    leak = {key: round(told[key], 4) for key in LEAK if math.isfinite(told.get(key, math.nan))}
    return {"n": n, "planner": asdict(session.settings.planner),
            "values": {"success_pct": success, **leak}}  # fmt: skip
