"""The paper's ReSTR in plain PyTorch, as a baseline with our weights.

It implements the preset `paper` in the usual way: a whole forward pass for each
expression, and the decoder in the paper's order (upsample, linear, activation). It has
no stochastic depth.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

EPSILON = 1e-5  # of every LayerNorm


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, mlp_dim: int):
        """Creates its parameters."""
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, EPSILON) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, mlp_dim), nn.Linear(mlp_dim, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Applies the layer to [B, T, D]; mask [B, T] is true where attended."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if mask is not None:
            mask = mask[:, None, None, :]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class TorchReSTR(nn.Module):
    """The model of a configuration's preset `paper`, fusion CME, with decoder."""

    def __init__(self, config, vocab_size: int):
        """Creates its parameters.

        Args:
            config: the `model` part of a configuration (configs/common.py).
            vocab_size: rows of the word table.
        """
        super().__init__()
        vision, language, fusion = config.vision, config.language, config.fusion
        size, width = config.patch_size, fusion.width
        self.grid = [side // size for side in config.image_size]
        self.patch_size = size
        self.patch_embedding = nn.Linear(3 * size**2, vision.width)
        tokens = math.prod(self.grid)
        self.positions = nn.Parameter(torch.zeros(1, tokens, vision.width))
        self.words = nn.Embedding(vocab_size, language.width, padding_idx=0)
        self.vision = _blocks(vision, vision.num_layers)
        self.language = _blocks(language, language.num_layers)
        self.visual_linguistic = _blocks(fusion, fusion.num_layers // 2)
        self.linguistic_seed = _blocks(fusion, fusion.num_layers // 2)
        self.vision_norm = nn.LayerNorm(vision.width, EPSILON)
        self.language_norm = nn.LayerNorm(language.width, EPSILON)
        self.fusion_norm = nn.LayerNorm(width, EPSILON)
        self.visual_linear = nn.Linear(vision.width, width)
        self.language_linear = nn.Linear(language.width, width)
        self.seed = nn.Parameter(torch.zeros(1, width))
        doublings = size.bit_length() - 1
        widths = [vision.width + width, *(width // 2**i for i in range(doublings))]
        self.decoder = nn.ModuleList(
            nn.Linear(i, o, bias=False)
            for i, o in zip(widths, widths[1:], strict=False)
        )
        self.to_logit = nn.Linear(widths[-1], 1, bias=False)

    def forward(
        self, image: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Segments images [B, H, W, 3] for tokens [B, L].

        Returns:
            Logits of pixels [B, H, W] and of patches [B, h, w].
        """
        z_v = self.encode_image(image)
        return self.segment(z_v, *self.encode_text(tokens))

    def segment(
        self, z_v: torch.Tensor, z_l: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fuses and decodes; see `forward`."""
        patches = self.visual_linear(F.normalize(z_v, dim=-1))
        words = self.language_linear(F.normalize(z_l, dim=-1)) * mask[..., None]
        always = mask.new_ones(patches.shape[:2])
        x, joint = torch.cat([patches, words], 1), torch.cat([always, mask], 1)
        for block in self.visual_linguistic:
            x = block(x, joint)
        patches, words = x.split([patches.shape[1], words.shape[1]], 1)
        x = torch.cat([words, self.seed.expand(len(words), 1, -1)], 1)
        seeded = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        for block in self.linguistic_seed:
            x = block(x, seeded)
        classifier = self.fusion_norm(x[:, -1:])
        scores = (patches * classifier).sum(-1, keepdim=True)
        scores = scores / math.sqrt(patches.shape[-1])
        pixels = self._decode(torch.cat([z_v, patches * torch.sigmoid(scores)], -1))
        return pixels, scores.reshape(-1, *self.grid)

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        """Returns z_v."""
        size, (rows, columns) = self.patch_size, self.grid
        x = image.reshape(len(image), rows, size, columns, size, 3)
        x = x.transpose(2, 3).reshape(len(image), rows * columns, -1)
        x = self.patch_embedding(x) + self.positions
        for block in self.vision:
            x = block(x, None)
        return self.vision_norm(x)

    def encode_text(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns z_l, and a mask that is true for words."""
        mask, width = tokens != 0, self.words.embedding_dim
        places = torch.arange(tokens.shape[1], device=tokens.device)[:, None]
        columns = torch.arange(0, width, 2, device=tokens.device)
        angles = places * 10000.0 ** (-columns / width)
        table = torch.stack([angles.sin(), angles.cos()], -1).reshape(-1, width)
        x = self.words(tokens) + table
        for block in self.language:
            x = block(x, mask)
        return self.language_norm(x), mask

    def _decode(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2).reshape(len(x), -1, *self.grid)
        for linear in self.decoder:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = F.leaky_relu(F.conv2d(x, linear.weight[:, :, None, None]), 0.01)
        return F.conv2d(x, self.to_logit.weight[:, :, None, None])[:, 0]


def _blocks(config, number: int) -> nn.ModuleList:
    return nn.ModuleList(
        Block(config.width, config.num_heads, config.mlp_dim) for _ in range(number)
    )


def loss_of(
    output: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor, config
) -> torch.Tensor:
    """Returns the mean of Eq. 12 over a batch.

    Args:
        output: output of the model.
        mask: [B, H, W], 0 or 1.
        config: the `loss` part of a configuration.
    """
    pixels, patches = (x.float() for x in output)
    share = F.adaptive_avg_pool2d(mask[:, None], patches.shape[1:])[:, 0]
    labels = (share > config.patch_threshold).float()
    cross_entropy = F.binary_cross_entropy_with_logits
    return cross_entropy(pixels, mask) + config.patch_weight * cross_entropy(
        patches, labels
    )


def load(model: TorchReSTR, params: Any) -> None:
    """Copies Flax parameters into a model.

    Args:
        model: a model of the same sizes.
        params: parameter tree of a Flax model of the preset `paper`, NumPy arrays.
    """
    vision, language, fusion = (params[k] for k in ("vision", "language", "fusion"))
    decoder = params["decoder"]
    with torch.no_grad():
        _set(model.patch_embedding, vision["patch_embedding"])
        model.positions.copy_(_tensor(vision["positions"]))
        model.words.weight.copy_(_tensor(language["words"]["embedding"]))
        model.seed.copy_(_tensor(fusion["seed"]))
        stacks = {
            model.vision: vision["encoder"],
            model.language: language["encoder"],
            model.visual_linguistic: fusion["visual_linguistic"],
            model.linguistic_seed: fusion["linguistic_seed"],
        }
        for blocks, theirs in stacks.items():
            for i, block in enumerate(blocks):
                _set_block(block, theirs[f"block_{i}"])
        _set(model.vision_norm, vision["norm"])
        _set(model.language_norm, language["norm"])
        _set(model.fusion_norm, fusion["norm"])
        _set(model.visual_linear, fusion["visual_linear"])
        _set(model.language_linear, fusion["language_linear"])
        for i, linear in enumerate(model.decoder):
            _set(linear, decoder[f"linear_{i}"])
        _set(model.to_logit, decoder["to_logit"])


def _set_block(block: Block, params: Any) -> None:
    _set(block.norm1, params["norm1"])
    _set(block.norm2, params["norm2"])
    _set(block.qkv, params["attention"]["qkv"])
    _set(block.out, params["attention"]["out"])
    _set(block.fc1, params["mlp"]["fc1"])
    _set(block.fc2, params["mlp"]["fc2"])


def _set(module: nn.Module, params: Any) -> None:
    if isinstance(module, nn.LayerNorm):
        module.weight.copy_(_tensor(params["scale"]))
    else:
        module.weight.copy_(_tensor(params["kernel"]).T)
    if module.bias is not None:
        module.bias.copy_(_tensor(params["bias"]))


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))
