"""Sizes of pictures: a number for a square, height and width for any other."""

import json
from typing import Annotated, Any

import numpy as np
import pytest

from robot_wm.core.config import convert
from robot_wm.core.errors import ConfigError, InputError
from robot_wm.core.images import (
    Sides,
    Size,
    check_image,
    patch_of,
    sides,
    size_of,
    spelled,
    token_grid,
)
from robot_wm.core.specs import ModelSpec, spec_from_json, spec_to_json

KIND = Annotated[Size, Sides(8, 1024)]


def test_a_size_is_a_number_or_height_and_width() -> None:
    assert convert(KIND, 64, "image_size") == 64
    assert convert(KIND, [48, 64], "image_size") == (48, 64)
    assert sides(64) == (64, 64)
    assert sides((48, 64)) == (48, 64)
    assert size_of(48, 64) == (48, 64)
    assert size_of(64, 64) == 64
    assert spelled((48, 64)) == "64x48"


@pytest.mark.parametrize("wrong", [4, 2000, [48, 4], [48], [48, 64, 3], "64", 64.0, True, None])
def test_other_sizes_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="image_size"):
        convert(KIND, wrong, "image_size")


@pytest.mark.parametrize(
    ("size", "patch"),
    [(64, 8), (96, 12), (128, 16), (100, 10), ((48, 64), 8), (61, 1), (10**9, 1000)],
)
def test_a_picture_is_cut_into_about_64_patches(size: Size, patch: int) -> None:
    assert patch_of(size) == patch


def test_pictures_of_another_shape_are_refused() -> None:
    frames = np.zeros((2, 48, 64, 3), np.uint8)
    check_image(frames)
    check_image(frames, (48, 64))
    for size in (48, 64, (64, 48)):
        with pytest.raises(InputError, match="64x48 pixels"):
            check_image(frames, size)


@pytest.mark.parametrize(("size", "stored"), [(64, 64), ((48, 64), [48, 64])])
def test_specs_keep_their_size_and_read_those_of_before(size: Size, stored: Any) -> None:
    spec = ModelSpec("toy", (-1.0,) * 6, (1.0,) * 6, 3, 0.1, 2, 3, size)
    value = json.loads(json.dumps(spec_to_json(spec)))
    assert value["image_size"] == stored
    assert spec_from_json(value) == spec
    assert (spec.image_height, spec.image_width, spec.block) == (*sides(size), 2)


def test_a_grid_of_tokens_is_the_one_most_like_the_picture() -> None:
    assert token_grid(64, 64, 64) == (8, 8)
    assert token_grid(12, 48, 64) == (3, 4)
    assert token_grid(12, 64, 48) == (4, 3)
    assert token_grid(49, 48, 64) == (7, 7)  # a network that squeezed the picture
