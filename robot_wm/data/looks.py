"""The same episodes in another look: what is seen when colours, light and camera differ.

A collection ``<source>-looks`` has the states, actions and episode numbers of its source, frame for
frame, so a learner can be shown one state in two looks and told that it is one. Its schema is its
source's, but for ``config["looks"]``, its number; each record says which states were drawn.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.data.episodes import Schema
from robot_wm.data.formats.base import EpisodeReader

KEY, SOURCE = "looks", "source_states"  # in a schema's configuration, in an episode's record


def label(schema: Schema) -> str:
    """A collection's name with its looks' number: ``nominal``, ``nominal-looks2`` and so on."""
    number = schema.config.get(KEY)
    return schema.collection + ("" if number is None else suffix(int(number)))


def suffix(number: int) -> str:
    """What the name of a collection in other looks ends with."""
    return "-looks" if number == 1 else f"-looks{number}"


def parted(collection: str) -> tuple[str, int]:
    """A name without such an end, and the looks' number; 0: it has none."""
    found = re.fullmatch(r"(.+)-looks([2-9]|[1-9]\d+)?", collection)
    return (found[1], int(found[2] or 1)) if found else (collection, 0)


def digest(states: np.ndarray) -> str:
    """Which states these are, float64 ``[T+1, S]``."""
    return hashlib.sha256(np.ascontiguousarray(states, "<f8").tobytes()).hexdigest()


def source_of(stores: Sequence[EpisodeReader], index: int) -> int | None:
    """Where among ``stores`` the source of one of them is; None: it has no source there."""
    schema = stores[index].schema
    if KEY not in schema.config:
        return None
    plain = {key: value for key, value in schema.config.items() if key != KEY}
    wanted = replace(schema, config=plain).to_json()
    return next((j for j, s in enumerate(stores) if s.schema.to_json() == wanted), None)


def twins(look: EpisodeReader, source: EpisodeReader, positions: Sequence[int]) -> list[int]:
    """Positions in ``source`` of what the episodes at ``positions`` of ``look`` show.

    Raises:
        DataError: an episode that ``source`` has no more, or with other states.
    """
    where, found = {source.meta(j)["id"]: j for j in range(len(source))}, []
    for record in map(look.meta, positions):
        j = where.get(record["id"])
        if j is None or digest(source[j].states) != record.get(SOURCE):
            raise DataError(
                f"episode {record['id']} of {look.root} shows other states than {source.root} has",
                "looks of the episodes that are stored", f"delete {look.root} and draw it again",
            )  # fmt: skip
        found.append(j)
    return found


def twin_rows(
    stores: Sequence[EpisodeReader], places: Sequence[tuple[int, int]], lengths: Sequence[int]
) -> np.ndarray | None:
    """Row that shows the state of each row as it was recorded, ``[F]``; None without looks.

    Args:
        stores: data sets.
        places: data set and position of each episode, in the order of its rows.
        lengths: its rows.

    Raises:
        DataError: looks of other states than their source has.
    """
    sources = [source_of(stores, p) for p in range(len(stores))]
    if all(source is None for source in sources):
        return None
    starts = dict(zip(places, np.cumsum([0, *lengths])[:-1], strict=True))
    shown = dict(starts)
    for p, source in enumerate(sources):
        own = [i for q, i in places if q == p]
        if source is not None:
            for i, j in zip(own, twins(stores[p], stores[source], own), strict=True):
                shown[p, i] = starts[source, j]
    parts = [shown[place] + np.arange(n) for place, n in zip(places, lengths, strict=True)]
    return np.concatenate(parts)
