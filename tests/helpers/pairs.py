"""Pairs of the same model from two libraries or by hand, each with the conversion of its weights written by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.helpers import ports

State = dict[str, Tensor]
Inputs = tuple[Any, ...]
Renames = dict[str, str]


@dataclass(frozen=True)
class Pair:
    """Two models, what they are called with, and what makes the weights of the second from those of the first."""

    first: Callable[[], nn.Module]
    second: Callable[[], nn.Module]
    convert: Callable[[State], State]
    shape: str = "1x12:int64:0..59"


def renamed(state: State, renames: Renames) -> State:
    """The weights under other names: each is renamed by the first pattern that its whole name matches."""
    found: State = {}
    for name, tensor in state.items():
        for pattern, new in renames.items():
            if match := re.fullmatch(pattern, name):
                found[match.expand(new)] = tensor
                break
    found.pop("", None)
    return found


def by_names(renames: Renames) -> Callable[[State], State]:
    return lambda state: renamed(state, renames)


def fused(state: State, parts: tuple[str, ...], whole: str) -> State:
    """Matrices one below the other, wherever all parts of a whole are there."""
    found = dict(state)
    for name in state:
        if parts[0] in name:
            names = [name.replace(parts[0], part) for part in parts]
            found[name.replace(parts[0], whole)] = torch.cat([found.pop(each) for each in names])
    return found


def divided(state: State, whole: str, parts: tuple[str, ...]) -> State:
    found = dict(state)
    for name in state:
        if whole in name:
            for part, rows in zip(parts, found.pop(name).chunk(len(parts)), strict=True):
                found[name.replace(whole, part)] = rows
    return found


def hf_gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=60, n_positions=24, n_embd=32, n_layer=2, n_head=4, tie_word_embeddings=False)
    config.use_cache = False
    return GPT2LMHeadModel(config)


def gpt2(state: State) -> State:
    found = {name: tensor.t() if tensor.dim() == 2 and ".h." in name else tensor for name, tensor in state.items()}
    found = divided(found, "attn.c_attn", ("query", "key", "value"))
    block = r"transformer\.h\.(\d+)\."
    return renamed(
        found,
        {
            block + r"(query|key|value)\.(.*)": r"blocks.\1.\2.\3",
            block + r"attn\.c_proj\.(.*)": r"blocks.\1.out.\2",
            block + r"mlp\.c_fc\.(.*)": r"blocks.\1.grow.\2",
            block + r"mlp\.c_proj\.(.*)": r"blocks.\1.shrink.\2",
            block + r"ln_1\.(.*)": r"blocks.\1.ln_in.\2",
            block + r"ln_2\.(.*)": r"blocks.\1.ln_mid.\2",
            r"transformer\.wte\.(.*)": r"tokens.\1",
            r"transformer\.wpe\.(.*)": r"places.\1",
            r"transformer\.ln_f\.(.*)": r"last.\1",
            r"lm_head\.(.*)": r"head.\1",
        },
    )


def hf_t5() -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    sizes: dict[str, Any] = {"vocab_size": 60, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    buckets: dict[str, Any] = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 20}
    return T5EncoderModel(T5Config(**sizes, **buckets, feed_forward_proj="gated-gelu"))


def t5(state: State) -> State:
    found = fused(state, ("SelfAttention.q", "SelfAttention.k", "SelfAttention.v"), "qkv")
    found = fused(found, ("wi_0", "wi_1"), "gate_up")
    block = r"encoder\.block\.(\d+)\.layer\.\d\."
    return renamed(
        found,
        {
            block + r"qkv\.weight": r"blocks.\1.qkv.weight",
            block + r"SelfAttention\.o\.weight": r"blocks.\1.out.weight",
            block + r"SelfAttention\.relative_attention_bias\.weight": r"relative.weight",
            block + r"DenseReluDense\.gate_up\.weight": r"blocks.\1.gate_up.weight",
            block + r"DenseReluDense\.wo\.weight": r"blocks.\1.down.weight",
            r"encoder\.block\.(\d+)\.layer\.0\.layer_norm\.weight": r"blocks.\1.norm.gain",
            r"encoder\.block\.(\d+)\.layer\.1\.layer_norm\.weight": r"blocks.\1.mlp_norm.gain",
            r"encoder\.final_layer_norm\.weight": "norm.gain",
            r"shared\.weight": "words.weight",
        },
    )


def hf_clip() -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes: dict[str, Any] = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return CLIPTextModel(CLIPTextConfig(**sizes, num_attention_heads=4, max_position_embeddings=24, eos_token_id=2))


def clip(state: State) -> State:
    start = r"(?:text_model\.)?"
    layer = start + r"encoder\.layers\.(\d+)\."
    found = fused(state, ("q_proj", "k_proj", "v_proj"), "in_proj")
    return renamed(
        found,
        {
            layer + r"self_attn\.in_proj\.(.*)": r"blocks.\1.attn.in_proj_\2",
            layer + r"self_attn\.out_proj\.(.*)": r"blocks.\1.attn.out_proj.\2",
            layer + r"layer_norm(\d)\.(.*)": r"blocks.\1.ln_\2.\3",
            layer + r"mlp\.fc1\.(.*)": r"blocks.\1.mlp.c_fc.\2",
            layer + r"mlp\.fc2\.(.*)": r"blocks.\1.mlp.c_proj.\2",
            start + r"embeddings\.token_embedding\.weight": "token_embedding.weight",
            start + r"embeddings\.position_embedding\.weight": "positional_embedding",
            start + r"final_layer_norm\.(.*)": r"ln_final.\1",
        },
    )


def decoder(state: State) -> State:
    found: State = {}
    for name, tensor in renamed(state, {r"decoder\.(.*)": r"\1"}).items():
        if "multihead_attn.in_proj" in name:
            start, last = name.split("multihead_attn.in_proj_")
            found[f"{start}q.{last}"], found[f"{start}kv.{last}"] = tensor[:32], tensor[32:]
            continue
        for old, new in (
            ("self_attn.in_proj_", "self_qkv."),
            ("self_attn.out_proj", "self_o"),
            ("multihead_attn.out_proj", "o"),
            ("linear1", "up"),
            ("linear2", "down"),
        ):
            name = name.replace(old, new)
        found[name] = tensor
    return found


def hf_resnet() -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes: dict[str, Any] = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
    return ResNetForImageClassification(ResNetConfig(**sizes, num_labels=10))


def resnet(state: State) -> State:
    def place(match: re.Match[str]) -> str:
        return str(2 * int(match[1]) + int(match[2]))

    found: State = {}
    for name, tensor in renamed(state, {r"resnet\.(.*)": r"\1", r"classifier\.1\.(.*)": r"fc.\1"}).items():
        new = name.replace("embedder.embedder.convolution", "stem").replace(
            "embedder.embedder.normalization", "stem_bn"
        )
        new = re.sub(r"encoder\.stages\.\d\.layers\.\d\.shortcut\.convolution", "short", new)
        new = re.sub(r"encoder\.stages\.\d\.layers\.\d\.shortcut\.normalization", "short_bn", new)
        part = r"encoder\.stages\.(\d)\.layers\.\d\.layer\.(\d)\."
        new = re.sub(part + "convolution", lambda match: "convs." + place(match), new)
        found[re.sub(part + "normalization", lambda match: "norms." + place(match), new)] = tensor
    return found


def timm_vit() -> nn.Module:
    import timm

    options: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
    return timm.create_model("vit_tiny_patch16_224", num_classes=10, **options)  # type: ignore[no-any-return]


def hf_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    more: dict[str, Any] = {"intermediate_size": 128, "image_size": 32, "patch_size": 8, "layer_norm_eps": 1e-6}
    return ViTForImageClassification(ViTConfig(**sizes, **more, num_labels=10))


def vit(state: State) -> State:
    """timm's to that of transformers, whose names are other ones in other versions."""
    names = list(hf_vit().state_dict())
    found = divided(state, "attn.qkv", ("attn.q", "attn.k", "attn.v"))
    new: State = {}
    roles = {
        "attn.q.": r"query|q_proj", "attn.k.": r"key|k_proj", "attn.v.": r"\.value|v_proj",
        "attn.proj.": r"attention\.output\.dense|o_proj|out_proj", "norm1.": r"layernorm_before",
        "norm2.": r"layernorm_after", "mlp.fc1.": r"intermediate\.dense|fc1|up_proj",
        "mlp.fc2.": r"\d\.output\.dense|fc2|down_proj",
    }  # fmt: skip
    for name, tensor in found.items():
        last = name.rpartition(".")[2]
        if match := re.fullmatch(r"blocks\.(\d+)\.(.*)(?:weight|bias)", name):
            wanted = rf".*\.{match[1]}\..*(?:{roles[match[2]]}).*{last}"
        else:
            wanted = {
                "cls_token": ".*cls_token", "pos_embed": ".*position_embeddings", "patch_embed.proj": ".*projection",
                "norm": r"vit\.layernorm", "head": "classifier",
            }[name if name in ("cls_token", "pos_embed") else name.rpartition(".")[0]]  # fmt: skip
            wanted += "" if name in ("cls_token", "pos_embed") else rf"\.{last}"
        (target,) = [each for each in names if re.fullmatch(wanted, each)]
        new[target] = tensor
    return new


def timm_convnext() -> nn.Module:
    import timm

    return timm.create_model("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 16, 24), num_classes=10, conv_mlp=False)  # type: ignore[no-any-return]


def hf_convnext() -> nn.Module:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    sizes: dict[str, Any] = {"hidden_sizes": [8, 16, 16, 24], "depths": [1, 1, 1, 1], "layer_norm_eps": 1e-6}
    model = ConvNextForImageClassification(ConvNextConfig(**sizes, num_labels=10))
    for norm in model.modules():
        if isinstance(norm, nn.LayerNorm):
            norm.eps = 1e-6
    return model


CONVNEXT = by_names(
    {
        r"stem\.0\.(.*)": r"convnext.embeddings.patch_embeddings.\1",
        r"stem\.1\.(.*)": r"convnext.embeddings.layernorm.\1",
        r"stages\.(\d)\.downsample\.(\d)\.(.*)": r"convnext.encoder.stages.\1.downsampling_layer.\2.\3",
        r"stages\.(\d)\.blocks\.(\d)\.gamma": r"convnext.encoder.stages.\1.layers.\2.layer_scale_parameter",
        r"stages\.(\d)\.blocks\.(\d)\.conv_dw\.(.*)": r"convnext.encoder.stages.\1.layers.\2.dwconv.\3",
        r"stages\.(\d)\.blocks\.(\d)\.norm\.(.*)": r"convnext.encoder.stages.\1.layers.\2.layernorm.\3",
        r"stages\.(\d)\.blocks\.(\d)\.mlp\.fc(\d)\.(.*)": r"convnext.encoder.stages.\1.layers.\2.pwconv\3.\4",
        r"head\.norm\.(.*)": r"convnext.layernorm.\1",
        r"head\.fc\.(.*)": r"classifier.\1",
    }
)


def torchvision_swin() -> nn.Module:
    from torchvision.models.swin_transformer import SwinTransformer

    return SwinTransformer([4, 4], 16, [1, 1], [2, 4], [4, 4], num_classes=10)  # type: ignore[no-any-return]


def timm_swin() -> nn.Module:
    import timm

    sizes: dict[str, Any] = {"img_size": 32, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 4), "window_size": 4}
    return timm.create_model("swin_tiny_patch4_window7_224", num_classes=10, **sizes)  # type: ignore[no-any-return]


SWIN = by_names(
    {
        r"features\.0\.0\.(.*)": r"patch_embed.proj.\1",
        r"features\.0\.2\.(.*)": r"patch_embed.norm.\1",
        r"features\.2\.(.*)": r"layers.1.downsample.\1",
        r"features\.1\.(\d)\.mlp\.0\.(.*)": r"layers.0.blocks.\1.mlp.fc1.\2",
        r"features\.1\.(\d)\.mlp\.3\.(.*)": r"layers.0.blocks.\1.mlp.fc2.\2",
        r"features\.3\.(\d)\.mlp\.0\.(.*)": r"layers.1.blocks.\1.mlp.fc1.\2",
        r"features\.3\.(\d)\.mlp\.3\.(.*)": r"layers.1.blocks.\1.mlp.fc2.\2",
        r".*relative_position_index": "",
        r"features\.1\.(\d)\.(.*)": r"layers.0.blocks.\1.\2",
        r"features\.3\.(\d)\.(.*)": r"layers.1.blocks.\1.\2",
        r"norm\.(.*)": r"norm.\1",
        r"head\.(.*)": r"head.fc.\1",
    }
)


def hf_llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**_LLAMA))


def hf_phi3() -> nn.Module:
    from transformers import Phi3Config, Phi3ForCausalLM

    return Phi3ForCausalLM(Phi3Config(**_LLAMA, rms_norm_eps=1e-6, resid_pdrop=0.0))


_LLAMA: dict[str, Any] = {
    **{"vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "pad_token_id": 0, "use_cache": False},
}


def phi3(state: State) -> State:
    found = fused(state, ("q_proj", "k_proj", "v_proj"), "qkv_proj")
    return fused(found, ("gate_proj", "up_proj"), "gate_up_proj")


IMAGE = "1x3x32x32"
PAIRS = {
    "gpt2_by_hand": Pair(hf_gpt2, ports.Gpt, gpt2),
    "t5_by_hand": Pair(hf_t5, ports.T5, t5),
    "clip_of_openai": Pair(hf_clip, ports.Clip, clip),
    "decoder_by_hand": Pair(ports.TorchDecoder, ports.Decoder, decoder, "x=1x6x32,memory=1x9x32"),
    "resnet_by_hand": Pair(hf_resnet, ports.Resnet, resnet, IMAGE),
    "vit_of_two": Pair(timm_vit, hf_vit, vit, IMAGE),
    "convnext_of_two": Pair(timm_convnext, hf_convnext, CONVNEXT, "1x3x64x64"),
    "swin_of_two": Pair(torchvision_swin, timm_swin, SWIN, IMAGE),
    "llama_and_phi3": Pair(hf_llama, hf_phi3, phi3),
    "phi3_and_llama": Pair(hf_phi3, hf_llama, lambda state: llama(state)),
}


def llama(state: State) -> State:
    found = divided(state, "gate_up_proj", ("gate_proj", "up_proj"))
    for name in list(found):
        if "qkv_proj" in name:
            parts = found.pop(name).split([32, 16, 16])
            for role, part in zip("qkv", parts, strict=True):
                found[name.replace("qkv_proj", f"{role}_proj")] = part
    return found
