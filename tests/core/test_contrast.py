"""Pictures without their colours: what stays the same, and what does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robot_wm.encoders.contrast import CHANNELS, FLOOR, SPREAD, contrast
from robot_wm.encoders.vit import EncoderConfig, VideoEncoder

WHITE, BLUE, RED, BLACK = (255, 255, 255), (65, 105, 225), (217, 26, 26), (13, 13, 13)


def scene(ground: tuple[int, ...], figure: tuple[int, ...], side: int = 32) -> torch.Tensor:
    """A disc on a ground, with edges that cover pixels in part, uint8 ``[1, S, S, 3]``."""
    y, x = np.mgrid[:side, :side]
    share = np.clip(7.5 - np.hypot(x - 13.3, y - 17.8), 0, 1)[..., None]
    picture = share * np.array(figure) + (1 - share) * np.array(ground)
    return torch.from_numpy(picture.round().astype(np.uint8))[None]


@pytest.mark.parametrize("colors", [(WHITE, RED), (BLACK, BLUE), (RED, WHITE), (BLUE, RED)])
def test_a_figure_is_the_same_in_all_colours(colors: tuple[tuple[int, ...], ...]) -> None:
    one, other = contrast(scene(WHITE, BLUE)), contrast(scene(*colors))
    assert one.shape == (1, 32, 32, CHANNELS)
    # Colours differ by .3 to 1.6 in RGB: the floor takes away a quarter of the faintest at most.
    assert (one - other).abs().max() < 0.2 * SPREAD
    assert (one - other).abs().mean() < 0.02 * SPREAD
    raw = (scene(WHITE, BLUE).float() - scene(*colors).float()).abs().mean() / 255
    assert raw > 5 * (one - other).abs().mean() / SPREAD


def test_ground_is_0_a_figure_1_and_an_edge_what_is_covered() -> None:
    found = contrast(scene(WHITE, BLACK))[0, ..., 0] / SPREAD
    strongest = 1 / (1 + FLOOR / (np.sqrt(3) * 242 / 255))
    assert found[2, 2] == pytest.approx(0, abs=1e-2)
    assert found[18, 13] == pytest.approx(strongest, abs=1e-2)
    y, x = 17, 20  # on the right edge
    share = np.clip(7.5 - np.hypot(x - 13.3, y - 17.8), 0, 1)
    assert 0.3 < share < 0.9
    assert found[y, x] == pytest.approx(share * strongest, abs=2e-2)


def test_an_edge_has_one_direction_from_either_side() -> None:
    up = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    up[:, :, 8:] = 200
    for picture in (up, up.flip(2)):
        edge = contrast(picture)[0, 8, 8]
        assert edge[2] > 0.9 * edge[1] > 0
        assert edge[3].abs() < 1e-3
    lying = contrast(up.transpose(1, 2))[0, 8, 8]
    assert lying[2] < -0.9 * lying[1]


def test_flat_pictures_have_numbers_and_gradients() -> None:
    flat = torch.full((2, 16, 16, 3), 40.0, requires_grad=True)
    found = contrast(flat)
    found.sum().backward()
    assert found.isfinite().all()
    assert found.abs().max() < 0.01
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_an_encoder_that_sees_contrast_has_about_the_same_tokens_in_other_colours() -> None:
    told = {}
    for sees in ("color", "contrast"):
        torch.manual_seed(0)
        encoder = VideoEncoder(EncoderConfig(image_size=32, width=32, sees=sees)).eval()
        white, red = (encoder.encode_frames(scene(*c)) for c in ((WHITE, BLUE), (BLACK, RED)))
        moved = encoder.encode_frames(scene(WHITE, BLUE).roll(4, 2))
        told[sees] = float((white - red).square().mean() / (white - moved).square().mean())
        assert encoder(torch.zeros(2, 4, 32, 32, 3)).shape == (2, 32, 32)
    assert told["contrast"] < 0.05 < 1 < told["color"]
