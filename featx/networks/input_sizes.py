"""Networks with positions for another input size: embeddings of positions are interpolated."""

import warnings
from typing import Any

import torch
from torch import nn


def set_input_size(body: nn.Module, size_px: int) -> None:
    """Change a network whose parameters depend on the size of its input; others take any size as they are.

    timm's networks do it themselves where they can (``set_input_size``), torchvision's vision transformers by bicubic
    interpolation of the positions, which is also the method of timm.

    Parameters
    ----------
    body
        The network with its weights.
    size_px
        Side of the input in pixels.

    Raises
    ------
    ValueError
        The side is not a multiple of the patches.
    """
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    patch_px = _patch_px(body)
    if patch_px and size_px % patch_px:
        raise ValueError(f"its patches have {patch_px} px, expected a multiple of them")
    if isinstance(body, VisionTransformer):
        state: Any = dict(body.state_dict())
        position_embedding = interpolate_embeddings(size_px, body.patch_size, state)["encoder.pos_embedding"]
        body.encoder.pos_embedding = nn.Parameter(position_embedding.contiguous())
        body.image_size = size_px
    elif callable(resize := getattr(body, "set_input_size", None)):
        # timm's interpolation of windows warns about its own use of torch.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            resize(img_size=(size_px, size_px))


def _patch_px(body: nn.Module) -> int | None:
    """Return the side of the patches of a network in pixels; None if it has no patches."""
    patch_size = getattr(getattr(body, "patch_embed", body), "patch_size", None)
    side = patch_size[0] if isinstance(patch_size, tuple) else patch_size
    return side if isinstance(side, int) else None
