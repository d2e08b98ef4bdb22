"""Models of torchvision, timm and transformers, small and each broken in one place, with what a right answer has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Crash:
    """How a model is broken: `path` and `code` are where it raises, `numbers` both sides, `fix` what mends it."""

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[str, ...]
    path: str
    code: str
    numbers: tuple[str, ...]
    fix: str
    train: bool = False


def _torchvision(name: str, **options: Any) -> nn.Module:
    import torchvision

    model: nn.Module = getattr(torchvision.models, name)(weights=None, **options)
    return model


def _timm(name: str, **options: Any) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def _transformer(kind: str, head: str = "AutoModel", **options: Any) -> nn.Module:
    import transformers

    config = transformers.AutoConfig.for_model(kind, **options)
    model: nn.Module = getattr(transformers, head).from_config(config)
    return model


_BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 100,
}
_LLAMA = {
    **{"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    **{"intermediate_size": 96, "vocab_size": 120, "max_position_embeddings": 64},
}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 24, "vocab_size": 90}


def _with(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
    return model


def _with_parameter(model: nn.Module, path: str, *shape: int) -> nn.Module:
    import torch

    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, nn.Parameter(torch.ones(*shape)))
    return model


def _half(model: nn.Module, path: str) -> nn.Module:
    model.bfloat16().get_submodule(path).float()
    return model


_VIT = {"img_size": 64, "depth": 2, "num_classes": 10}
_IMAGE = ("2x3x64x64",)
_IDS = ("input_ids=2x12:int64:0..80",)

CRASHES = (
    Crash("resnet18 head", lambda: _with(_torchvision("resnet18"), "fc", nn.Linear(256, 10)), ("2x3x64x64",),
          "fc", "self.fc(x)", ("256", "512"), "in_features=512 in fc"),
    Crash("resnet18 grey", lambda: _with(_torchvision("resnet18"), "conv1", nn.Conv2d(1, 64, 7, 2, 3)), _IMAGE,
          "conv1", "self.conv1(x)", ("1 channel", "3"), "in_channels=3 in conv1|x of 2×1×64×64"),
    Crash("resnet18 block", lambda: _with(_torchvision("resnet18"), "layer2.0.conv2", nn.Conv2d(64, 128, 3, 1, 1)),
          _IMAGE, "layer2.0.conv2", "self.conv2(out)", ("64", "128"),
          "in_channels=128 in layer2.0.conv2|out_channels=64 in layer2.0.conv1"),
    Crash("resnet18 norm", lambda: _with(_torchvision("resnet18"), "layer3.0.bn1", nn.BatchNorm2d(128)), _IMAGE,
          "layer3.0.bn1", "self.bn1(out)", ("128", "256"), "num_features=256 in layer3.0.bn1"),
    Crash("resnet18 shortcut", lambda: _with(_torchvision("resnet18"), "layer2.0.downsample.0",
          nn.Conv2d(64, 128, 1, 1)), _IMAGE, "layer2.0", "out += identity", ("8", "16"),
          "stride=2 in layer2.0.downsample.0"),
    Crash("resnet18 one example", lambda: _torchvision("resnet18"), ("1x3x32x32",), "layer4.0.bn1", "self.bn1(out)",
          ("1×512×1×1",), "x of 2×3×32×32", train=True),
    Crash("alexnet", lambda: _with(_torchvision("alexnet"), "classifier.1", nn.Linear(4096, 4096)), ("1x3x96x96",),
          "classifier.1", "self.classifier(x)", ("4096", "9216"), "in_features=9216 in classifier.1"),
    Crash("mobilenet head", lambda: _with(_torchvision("mobilenet_v3_small"), "classifier.0", nn.Linear(960, 1024)),
          _IMAGE, "classifier.0", "self.classifier(x)", ("960", "576"), "in_features=576 in classifier.0"),
    Crash("squeezenet", lambda: _with(_torchvision("squeezenet1_1"), "classifier.1", nn.Conv2d(256, 10, 1)), _IMAGE,
          "classifier.1", "self.classifier(x)", ("256", "512"), "in_channels=512 in classifier.1"),
    Crash("vit_b_16 image", lambda: nn.Sequential(__import__("torchvision").models.VisionTransformer(
          image_size=64, patch_size=16, num_layers=1, num_heads=2, hidden_dim=32, mlp_dim=32)), ("1x3x96x96",),
          "0", "_process_input|torch._assert|self._process_input", ("64", "96"), "x of 1×3×64×64|input of 1×3×64×64"),
    Crash("timm positions", lambda: _with_parameter(_timm("vit_tiny_patch16_224", **_VIT), "pos_embed", 1, 10, 192),
          _IMAGE, "", "pos_embed", ("pos_embed 1×10×192", "2×17×192"), "pos_embed 1×17×192"),
    Crash("timm image", lambda: _timm("vit_tiny_patch16_224", **_VIT), ("2x3x96x96",), "patch_embed", "",
          ("96", "64"), "x of 2×3×64×64"),
    Crash("timm head", lambda: _with(_timm("vit_tiny_patch16_224", **_VIT), "head", nn.Linear(100, 10)), _IMAGE, "head",
          "self.head", ("100", "192"), "in_features=192 in head"),
    Crash("timm qkv", lambda: _with(_timm("vit_tiny_patch16_224", **_VIT), "blocks.1.attn.qkv", nn.Linear(96, 576)),
          _IMAGE, "blocks.1.attn.qkv", "self.qkv(x)", ("96", "192"), "in_features=192 in blocks.1.attn.qkv"),
    Crash("timm mlp", lambda: _with(_timm("vit_tiny_patch16_224", **_VIT), "blocks.0.mlp.fc2", nn.Linear(384, 192)),
          _IMAGE, "blocks.0.mlp.fc2", "self.fc2(x)", ("384", "768"), "in_features=768 in blocks.0.mlp.fc2"),
    Crash("timm norm", lambda: _with(_timm("vit_tiny_patch16_224", **_VIT), "blocks.0.norm1", nn.LayerNorm(96)),
          _IMAGE, "blocks.0.norm1", "self.norm1(x)", ("96", "192"), "normalized_shape=192 in blocks.0.norm1"),
    Crash("timm convnext", lambda: _with(_timm("convnext_atto", num_classes=10), "stages.1.downsample.1",
          nn.Conv2d(64, 80, 2, 2)), _IMAGE, "stages.1.downsample.1", "self.downsample(x)", ("64", "40"),
          "in_channels=40 in stages.1.downsample.1"),
    Crash("timm mixer", lambda: _with(_timm("mixer_s32_224", img_size=64, num_classes=10), "blocks.1.mlp_tokens.fc1",
          nn.Linear(9, 256)), _IMAGE, "blocks.1.mlp_tokens.fc1", "self.fc1(x)", ("9", "4"),
          "in_features=4 in blocks.1.mlp_tokens.fc1"),
    Crash("timm channels last", lambda: _timm("resnet10t", num_classes=10), ("2x64x64x3",), "conv1.0", "self.conv1(x)",
          ("3 channels", "64"), r"permute\(0, 3, 1, 2\)"),
    Crash("bert ids", lambda: _transformer("bert", **_BERT), ("input_ids=2x12:int64:90..150",),
          "embeddings.word_embeddings", "self.word_embeddings(input_ids)", ("100 rows", "1[0-4][0-9]"),
          "num_embeddings=1[0-5][0-9] in embeddings.word_embeddings"),
    Crash("bert length", lambda: _transformer("bert", max_position_embeddings=32, **_BERT),
          ("input_ids=2x40:int64:0..80",), "embeddings", "expand", ("32", "40"), "input_ids of 2×32"),
    Crash("bert query", lambda: _with(_transformer("bert", **_BERT), "encoder.layer.1.attention.self.query",
          nn.Linear(16, 32)), _IDS, "encoder.layer.1.attention.self.query", "self.query(hidden_states)", ("16", "32"),
          "in_features=32 in encoder.layer.1.attention.self.query"),
    Crash("bert floats", lambda: _transformer("bert", **_BERT), ("input_ids=2x12:float32",),
          "embeddings.word_embeddings", "self.word_embeddings(input_ids)", ("float32", "int64"),
          "input_ids of 2×12 as int64"),
    Crash("distilbert ffn", lambda: _with(_transformer("distilbert", dim=32, n_layers=1, n_heads=2, hidden_dim=48,
          vocab_size=100), "transformer.layer.0.ffn.lin2", nn.Linear(64, 32)), _IDS, "transformer.layer.0.ffn.lin2",
          "self.lin2(x)", ("64", "48"), "in_features=48 in transformer.layer.0.ffn.lin2|out_features=64 in"),
    Crash("gpt2 length", lambda: _transformer("gpt2", **_GPT2), ("input_ids=1x30:int64:0..80",), "wpe",
          "self.wpe(position_ids)", ("24 rows", "29"), "input_ids of 1×24"),
    Crash("gpt2 c_attn", lambda: _with_parameter(_transformer("gpt2", **_GPT2), "h.0.attn.c_attn.weight", 16, 96),
          _IDS, "h.0.attn.c_attn", "torch.addmm", ("16", "32"), "weight 32×96"),
    Crash("llama key", lambda: _with(_transformer("llama", "AutoModelForCausalLM", **_LLAMA),
          "model.layers.0.self_attn.k_proj", nn.Linear(48, 32, bias=False)), _IDS, "model.layers.0.self_attn.k_proj",
          "self.k_proj(hidden_states)", ("48", "64"), "in_features=64 in model.layers.0.self_attn.k_proj"),
    Crash("llama norm", lambda: _with_parameter(_transformer("llama", "AutoModelForCausalLM", **_LLAMA),
          "model.layers.1.input_layernorm.weight", 48), _IDS, "model.layers.1.input_layernorm", "self.weight *",
          ("48", "64"), "weight 64"),
    Crash("llama head", lambda: _half(_transformer("llama", "AutoModelForCausalLM", **_LLAMA), "lm_head"), _IDS,
          "lm_head", "self.lm_head(", ("float32", "bfloat16"), r"torch\.bfloat16"),
    Crash("llama gate", lambda: _with(_transformer("llama", "AutoModelForCausalLM", **_LLAMA),
          "model.layers.1.mlp.up_proj", nn.Linear(64, 80, bias=False)), _IDS, "model.layers.1.mlp", "self.up_proj(x)",
          ("96", "80"), "out_features=96 in model.layers.1.mlp.up_proj|out_features=80 in"),
    Crash("whisper mel", lambda: _transformer("whisper", d_model=32, encoder_layers=1, decoder_layers=1,
          encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
          num_mel_bins=128, max_source_positions=20, vocab_size=60, pad_token_id=0, bos_token_id=1, eos_token_id=2,
          decoder_start_token_id=1), ("input_features=1x80x40", "decoder_input_ids=1x4:int64:0..50"),
          "encoder.conv1", "self.conv1(input_features)", ("128", "80"), "input_features of 1×128×40"),
    Crash("t5 feed forward", lambda: _with(_transformer("t5", d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4,
          vocab_size=100), "encoder.block.0.layer.1.DenseReluDense.wo", nn.Linear(40, 32, bias=False)),
          ("input_ids=1x6:int64:0..80", "decoder_input_ids=1x4:int64:0..80"),
          "encoder.block.0.layer.1.DenseReluDense.wo", "self.wo(hidden_states)", ("40", "48"),
          "in_features=48 in encoder.block.0.layer.1.DenseReluDense.wo|out_features=40 in"),
    Crash("hf vit head", lambda: _with(_transformer("vit", "AutoModelForImageClassification", hidden_size=32,
          num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8),
          "classifier", nn.Linear(64, 2)), ("pixel_values=2x3x32x32",), "classifier", "self.classifier(", ("64", "32"),
          "in_features=32 in classifier"),
    Crash("hf vit image", lambda: _transformer("vit", hidden_size=32, num_hidden_layers=1,
          num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8),
          ("pixel_values=2x3x48x48",), "embeddings", "raise ValueError(", ("32", "48"),
          "pixel_values of 2×3×32×32"),
)  # fmt: skip
