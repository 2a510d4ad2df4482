"""Goals that are more than a picture: bodies that matter, pictures on the way, sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from planning.commands.parts.agents import agent_of
from planning.commands.parts.language import aligned_path, speaker, text_goals
from planning.evaluation.goal_pairs import predicate_of
from robot_wm.cli.settings import Settings
from robot_wm.commands.parts.artifacts import dataset
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.instantiate import deferred

if TYPE_CHECKING:
    from planning.evaluation.goal_pairs import PairList
    from robot_wm.cli.main import Session

DEMO = "demo"  # what `evaluate.via` may be instead of a number
WORDS = "words"  # family of rows, and the predicate that scores them (`sim.captions`)


def family_of(settings: Settings) -> str:
    """First part of the name of rows and of their file."""
    section = settings.evaluate
    if section.clock:
        return "clock"
    told = "goals" if section.only or section.via else settings.pairs.family
    return section.rows or (WORDS if section.words else told)


def families_of(settings: Settings) -> tuple[str, ...]:
    """Predicates that score a row; the first is the result."""
    spoken = family_of(settings) == WORDS
    first = WORDS if spoken else predicate_of(settings.pairs.family)
    return tuple(dict.fromkeys((first, *settings.evaluate.families)))


def asked_of(settings: Settings) -> list[str]:
    """What a row's name says of its goals."""
    section = settings.evaluate
    asked = [f"only_{body}" for body in section.only]
    asked += [DEMO if section.via == DEMO else f"via{section.via}"] * bool(section.via)
    return asked + ["sentence"] * section.words


def runs_of(session: Session, method: str) -> list[Session]:
    """The run as it is configured, last; before it one whose goals are the pairs' own pictures.

    That is where there are demonstrations, or sentences, of which whoever does not plan from
    pictures has nothing.
    """
    settings, section = session.settings, session.settings.evaluate
    if section.via != DEMO and not section.words:
        return [session]
    known = agent_of(settings, method)
    sees = known.needs_model and known.inputs == "pixels"
    plain = replace(section, via=0, words=False, rows=family_of(settings))
    return [replace(session, settings=settings.replace(evaluate=plain)), *([session] * sees)]


def goal_of(settings: Settings) -> Any:
    """What makes the goal pictures; None takes the one of the pair.

    Raises:
        ConfigError: pictures of their recording, of pairs without one.
    """
    section = settings.evaluate
    if section.words:
        folder = str(aligned_path(settings))
        return deferred("planning.commands.parts.language.goal_in_words", folder=folder)
    if not section.only and not section.via:
        return None
    if section.via == DEMO:
        return deferred("sim.demonstrations.goals_with_demonstration", keep=section.only)
    if section.via and not settings.pairs.offset:
        raise ConfigError(
            f"evaluate.via={section.via} with pairs.offset=0", "recorded pairs, or via=demo",
            "give pairs.offset=25, or evaluate.via=demo",
        )  # fmt: skip
    options: dict[str, Any] = {"keep": section.only, "via": section.via}
    if section.via:
        options["dataset"] = str(dataset(settings, "nominal"))
    return deferred("sim.goal_images.goals_for_pair", **options)


def spoken(session: Session, pairs: PairList) -> PairList:
    """Pairs for goals in words: those of which something else is true in the end.

    Raises:
        ConfigError: a scene that cannot be put in words, or a model without latents.
        DataError: no such pair.
    """
    speaks = speaker(session.settings)
    text_goals(session)
    told = [
        [speaks.meaning(np.asarray(x)) for x in (p.start_pose, p.goal_pose)] for p in pairs.pairs
    ]
    kept = tuple(
        pair for pair, (start, goal) in zip(pairs.pairs, told, strict=True) if start != goal
    )
    if not kept:
        raise DataError(
            f"{len(pairs.pairs)} pairs whose start is as the goal, in words", "one that is not",
            "take goals further away, e.g. pairs.family=long pairs.offset=50",
        )  # fmt: skip
    return replace(pairs, pairs=kept)
