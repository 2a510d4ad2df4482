"""Small pictures as text: inline SVG charts and images as data URIs. Nothing is fetched."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

WIDTH, HEIGHT, MARGIN = 320, 180, 34
# Five stops of viridis: dark is cheap. Readable in grey and by colour-blind eyes.
RAMP = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])


def ramp(fractions: np.ndarray) -> list[str]:
    """CSS colours of values in [0, 1]; 0 (cheap) is dark violet, 1 (costly) yellow."""
    position = np.clip(np.asarray(fractions, float), 0, 1) * (len(RAMP) - 1)
    colours = [np.interp(position, range(len(RAMP)), RAMP[:, c]) for c in range(3)]
    return ["#" + bytes(int(v) for v in rgb).hex() for rgb in zip(*colours, strict=True)]


def scaled(values: np.ndarray) -> np.ndarray:
    """Values mapped linearly to [0, 1]; all zeros if they are equal."""
    values = np.asarray(values, float)
    span = np.ptp(values)
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def png(image: np.ndarray) -> bytes:
    """uint8 ``[height, width, 3]`` as a file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def png_uri(image: np.ndarray) -> str:
    """The same as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def animation(frames: Sequence[np.ndarray], dt: float) -> bytes:
    """Frames ``dt`` [s] apart as a looping lossless WebP; the last one stays for a second."""
    stream = io.BytesIO()
    images = [Image.fromarray(frame) for frame in frames]
    durations = [max(20, round(1000 * dt))] * (len(images) - 1) + [1000]
    images[0].save(
        stream, "WEBP", save_all=True, append_images=images[1:], duration=durations, loop=0,
        lossless=True,
    )  # fmt: skip
    return stream.getvalue()


def animation_uri(frames: Sequence[np.ndarray], dt: float) -> str:
    """The same as a data URI."""
    return "data:image/webp;base64," + base64.b64encode(animation(frames, dt)).decode()


def picture(uri: str, alt: str, size: int, scale: int = 3) -> str:
    """An image tag, enlarged by the browser without smoothing (``class=px``)."""
    side = size * scale
    return f'<img class="px" src="{uri}" alt="{escape(alt)}" width="{side}" height="{side}">'


def _svg(title: str, body: list[str], width: int = WIDTH, height: int = HEIGHT) -> str:
    kind = "" if width == WIDTH else ' class="small"'
    return (
        f'<svg{kind} viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(words)}</text>'


def _points(xy: np.ndarray) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in xy)


def line_chart(title: str, x: np.ndarray, y: np.ndarray, x_label: str, mark: float | None) -> str:
    """One line over control steps, y from 0 (or the minimum, if negative), optional x mark."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    low, high = min(0.0, float(y.min())), float(y.max())
    span = high - low or 1.0
    last = max(float(x.max()), 1.0)
    across = MARGIN + (WIDTH - 2 * MARGIN) * x / last
    up = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (y - low) / span
    base = HEIGHT - MARGIN
    body = [
        f'<path class="axis" d="M{MARGIN} {MARGIN}V{base}H{WIDTH - MARGIN}"/>',
        f'<polyline class="line" points="{_points(np.stack([across, up], 1))}"/>',
        *(f'<circle class="dot" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>'
          for a, b in zip(across, up, strict=True) if len(x) <= 20),
        _text(MARGIN, 16, title),
        _text(2, MARGIN + 4, f"{high:.3g}"),
        _text(2, base, f"{low:.3g}"),
        _text(WIDTH - MARGIN, HEIGHT - 8, f"{x_label} {last:.0f}", "end"),
    ]  # fmt: skip
    if mark is not None:
        at = MARGIN + (WIDTH - 2 * MARGIN) * mark / last
        body.append(f'<path class="mark" d="M{at:.1f} {MARGIN}V{base}"/>')
    return _svg(title, body)


def fan(title: str, paths: np.ndarray, costs: np.ndarray, chosen: np.ndarray) -> str:
    """Summed actions of the candidates, coloured by cost, and the chosen plan in bold.

    Args:
        paths: ``[M, S, 2]`` cumulative actions, y up.
        costs: ``[M]``.
        chosen: ``[S, 2]``.
    """
    side, origin = 240, np.zeros((1, 2))
    reach = max(float(np.abs(paths).max(initial=0)), float(np.abs(chosen).max()), 1e-6)

    def place(path: np.ndarray) -> str:
        xy = np.concatenate([origin, path]) / reach * (side / 2 - 14)
        return _points(np.stack([side / 2 + xy[:, 0], side / 2 - xy[:, 1]], 1))

    colours, order = ramp(scaled(costs)), np.argsort(-np.asarray(costs), kind="stable")
    body = [
        f'<polyline class="ray" stroke="{colours[i]}" points="{place(paths[i])}"/>' for i in order
    ]
    body.append(f'<polyline class="chosen" points="{place(chosen)}"/>')
    body.append(f'<circle class="dot" cx="{side / 2}" cy="{side / 2}" r="3"/>')
    return _svg(title, body, side, side)


def heat_map(
    title: str, costs: np.ndarray, low: np.ndarray, high: np.ndarray, at: np.ndarray
) -> str:
    """Costs over a plane of actions, with a ring at the chosen one.

    Args:
        costs: ``[G, G]``, first axis along x, second along y (up).
        low, high: bounds of the plane ``[2]``.
        at: chosen point ``[2]``.
    """
    side, grid = 240, len(costs)
    cell = (side - 40) / grid
    colours = ramp(scaled(costs).ravel())
    body = [
        f'<rect x="{20 + i * cell:.1f}" y="{20 + (grid - 1 - j) * cell:.1f}" '
        f'width="{cell + 0.3:.1f}" height="{cell + 0.3:.1f}" fill="{colours[i * grid + j]}"/>'
        for i in range(grid)
        for j in range(grid)
    ]
    x, y = (np.asarray(at) - low) / (np.asarray(high) - low)
    body += [
        f'<circle class="ring" cx="{20 + x * (side - 40):.1f}" '
        f'cy="{20 + (1 - y) * (side - 40):.1f}" r="6"/>',
        _text(20, side - 6, f"x {low[0]:g} … {high[0]:g}, y likewise"),
        _text(20, 14, f"cost {costs.min():.3g} … {costs.max():.3g}"),
    ]
    return _svg(title, body, side, side)
