"""Real models, small and with random weights: a name, and a function that builds the model and arguments for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.helpers.cheap_weights import cheap_weights
from tests.oracle.agreement import Builder, Workload

# The side of the square image each is given; the smallest that the architecture takes.
TORCHVISION = {
    "MaxVit": 64,
    "VisionTransformer": 64,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 64,
    "inception_v3": 96,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "resnext50_32x4d": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 64,
    "swin_t": 32,
    "swin_v2_t": 64,
    "segmentation.deeplabv3_mobilenet_v3_large": 64,
    "segmentation.fcn_resnet50": 32,
    "segmentation.lraspp_mobilenet_v3_large": 32,
}

TORCHVISION_OPTIONS: dict[str, dict[str, Any]] = {
    "MaxVit": {
        **{"input_size": (64, 64), "stem_channels": 16, "partition_size": 2, "block_channels": [16, 32]},
        **{"block_layers": [1, 2], "head_dim": 8, "stochastic_depth_prob": 0.2},
    },
    "VisionTransformer": {
        **{"image_size": 64, "patch_size": 16, "num_layers": 2, "num_heads": 4},
        **{"hidden_dim": 32, "mlp_dim": 64},
    },
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False, "aux_logits": False},
    "segmentation.deeplabv3_mobilenet_v3_large": {"weights_backbone": None},
    "segmentation.fcn_resnet50": {"weights_backbone": None},
    "segmentation.lraspp_mobilenet_v3_large": {"weights_backbone": None},
}

TIMM = {
    "botnet26t_256": 64,
    "cait_xxs24_224": 64,
    "coat_tiny": 64,
    "convnextv2_atto": 32,
    "crossvit_tiny_240": 240,
    "deit_tiny_patch16_224": 64,
    "dla46_c": 32,
    "dpn48b": 32,
    "eva02_tiny_patch14_224": 64,
    "edgenext_xx_small": 64,
    "efficientformer_l1": 224,
    "efficientnet_lite0": 32,
    "ese_vovnet19b_slim": 32,
    "fastvit_t8": 64,
    "gcvit_xxtiny": 64,
    "ghostnet_050": 32,
    "hiera_tiny_224": 64,
    "hrnet_w18_small": 32,
    "inception_next_atto": 64,
    "levit_128s": 64,
    "mambaout_femto": 64,
    "mixer_s32_224": 64,
    "mobilenetv4_conv_small": 32,
    "mobilevit_xxs": 64,
    "nf_resnet50": 32,
    "pit_ti_224": 64,
    "poolformer_s12": 64,
    "pvt_v2_b0": 64,
    "regnetx_002": 32,
    "repvgg_a0": 32,
    "resnetv2_50": 32,
    "rexnetr_200": 32,
    "selecsls42b": 32,
    "skresnet18": 32,
    "starnet_s1": 32,
    "tiny_vit_5m_224": 224,
    "tnt_s_legacy_patch16_224": 64,
    "visformer_tiny": 64,
    "vit_tiny_patch16_224": 64,
    "volo_d1_224": 64,
    "xcit_nano_12_p16_224": 64,
}

# These are made for one size of image, so they are built for the size that they are given.
TIMM_BUILT_FOR_A_SIZE = """
    botnet26t_256 cait_xxs24_224 coat_tiny deit_tiny_patch16_224 eva02_tiny_patch14_224 gcvit_xxtiny hiera_tiny_224
    levit_128s mixer_s32_224 pit_ti_224 tnt_s_legacy_patch16_224 visformer_tiny vit_tiny_patch16_224 volo_d1_224
    xcit_nano_12_p16_224
"""


STACK = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
GPT = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4}
PAIR = {
    **{"vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4},
    **{"decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64},
}
EYE = {**STACK, "image_size": 30, "patch_size": 10}
EAR = {
    **STACK,
    **{"conv_dim": (32, 32), "conv_kernel": (8, 3), "conv_stride": (4, 2), "num_conv_pos_embeddings": 16},
    **{"num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2},
}
DECODER = {**STACK, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
EXPERTS = {**DECODER, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
STATES = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}

# The class of the model, what its configuration differs in from the default, and what it reads.
TRANSFORMERS: dict[str, tuple[dict[str, Any], str]] = {
    "AlbertModel": ({**STACK, "embedding_size": 16}, "text"),
    "BertForSequenceClassification": (STACK, "text"),
    "ConvBertModel": ({**STACK, "embedding_size": 32}, "text"),
    "DebertaV2Model": ({**STACK, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, "text"),
    "DistilBertModel": ({"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 37}, "text"),
    "ElectraModel": ({**STACK, "embedding_size": 16}, "text"),
    "EsmModel": ({**STACK, "pad_token_id": 1}, "text"),
    "FNetModel": (STACK, "text"),
    "FunnelModel": ({"vocab_size": 99, "d_model": 32, "n_head": 4, "d_head": 8, "block_sizes": [1, 1]}, "text"),
    "LongformerModel": ({**STACK, "attention_window": 8}, "text"),
    "MPNetModel": (STACK, "text"),
    "MobileBertModel": ({**STACK, "embedding_size": 16, "intra_bottleneck_size": 32}, "text"),
    "ModernBertModel": ({**STACK, "pad_token_id": 0}, "text"),
    "RobertaForMaskedLM": (STACK, "text"),
    "SqueezeBertModel": ({**STACK, "num_hidden_layers": 3, "embedding_size": 32}, "text"),
    "XLNetModel": ({"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 37}, "text"),
    "BloomForCausalLM": ({"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4}, "text"),
    "CodeGenForCausalLM": ({**GPT, "rotary_dim": 4}, "text"),
    "FalconForCausalLM": (STACK, "text"),
    "GPT2LMHeadModel": (GPT, "text"),
    "GPTNeoXForCausalLM": (STACK, "text"),
    "Gemma2ForCausalLM": (DECODER, "text"),
    "LlamaForCausalLM": (DECODER, "text"),
    "MistralForCausalLM": (DECODER, "text"),
    "MptForCausalLM": ({"vocab_size": 99, "d_model": 32, "n_layers": 2, "n_heads": 4}, "text"),
    "OPTForCausalLM": ({**STACK, "ffn_dim": 37, "word_embed_proj_dim": 32}, "text"),
    "Olmo2ForCausalLM": (DECODER, "text"),
    "PhiForCausalLM": (STACK, "text"),
    "Phi3ForCausalLM": ({**STACK, "pad_token_id": 0}, "text"),
    "Qwen2ForCausalLM": (DECODER, "text"),
    "Qwen3ForCausalLM": (DECODER, "text"),
    "StableLmForCausalLM": ({**STACK, "num_key_value_heads": 4}, "text"),
    "GptOssForCausalLM": (EXPERTS, "text"),
    "MixtralForCausalLM": (EXPERTS, "text"),
    "OlmoeForCausalLM": (EXPERTS, "text"),
    "Qwen2MoeForCausalLM": ({**EXPERTS, "shared_expert_intermediate_size": 16}, "text"),
    "FalconMambaForCausalLM": (STATES, "text"),
    "JambaForCausalLM": ({**EXPERTS, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8}, "text"),
    "Mamba2ForCausalLM": ({**STATES, "num_heads": 8, "head_dim": 8, "n_groups": 2}, "text"),
    "MambaForCausalLM": (STATES, "text"),
    "RecurrentGemmaForCausalLM": ({**STACK, "num_hidden_layers": 3, "num_key_value_heads": 1, "lru_width": 32}, "text"),
    "RwkvForCausalLM": ({"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2}, "text"),
    "BartModel": (PAIR, "texts"),
    "LEDModel": ({**PAIR, "attention_window": 8}, "texts"),
    "M2M100Model": (PAIR, "texts"),
    "MarianModel": ({**PAIR, "pad_token_id": 0}, "texts"),
    "PegasusModel": (PAIR, "texts"),
    "T5ForConditionalGeneration": (
        {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4},
        "texts",
    ),
    "ASTModel": ({**STACK, "num_mel_bins": 16, "max_length": 32}, "spectrogram"),
    "HubertModel": (EAR, "sound"),
    "Wav2Vec2Model": (EAR, "sound"),
    "WavLMModel": (EAR, "sound"),
    "WhisperModel": (
        {**PAIR, "num_mel_bins": 16, "max_source_positions": 32, "max_target_positions": 20, "pad_token_id": 0},
        "speech",
    ),
    "BeitModel": (EYE, "image"),
    "ConvNextModel": ({"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}, "image"),
    "DeiTModel": (EYE, "image"),
    "Dinov2Model": (EYE, "image"),
    "ResNetModel": ({"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}, "image"),
    "SegformerModel": ({"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}, "image"),
    "SwinModel": ({"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2}, "image"),
    "ViTMAEModel": (EYE, "image"),
    "ViTModel": (EYE, "image"),
    "CLIPModel": ({"text_config": STACK, "vision_config": EYE, "projection_dim": 16}, "captions"),
    "SiglipModel": ({"text_config": STACK, "vision_config": EYE}, "captions"),
    "ViltModel": ({**EYE, "max_position_embeddings": 64}, "captions"),
}


@cheap_weights()
def torchvision_model(name: str, side: int) -> Workload:
    """A torchvision model with ten classes and two random images."""
    make: Any = importlib.import_module("torchvision.models")
    for part in name.split("."):
        make = getattr(make, part)
    return make(num_classes=10, **TORCHVISION_OPTIONS.get(name, {})), (images(side),), {}


@cheap_weights()
def timm_model(name: str, side: int) -> Workload:
    """A timm model with ten classes and two random images."""
    timm = importlib.import_module("timm")
    size = {"img_size": side} if name in TIMM_BUILT_FOR_A_SIZE.split() else {}
    return timm.create_model(name, pretrained=False, num_classes=10, **size), (images(side),), {}


@cheap_weights()
def transformers_model(name: str, options: dict[str, Any], reads: str) -> Workload:
    """A transformers model built from a tiny configuration, and arguments of the kind that it reads."""
    model_class = getattr(importlib.import_module("transformers"), name)
    config = model_class.config_class(**options)
    return model_class(config), (), READS[reads](config)


def text() -> Tensor:
    """Two random sentences of ten tokens."""
    return torch.randint(3, 99, (2, 10))


def picture(config: Any) -> Tensor:
    """Two random images of the size in the configuration, 32 if it names none."""
    return images(getattr(getattr(config, "vision_config", config), "image_size", None) or 32)


READS: dict[str, Callable[[Any], dict[str, Tensor]]] = {
    "text": lambda config: {"input_ids": text(), "attention_mask": torch.ones(2, 10, dtype=torch.long)},
    "texts": lambda config: {"input_ids": text(), "decoder_input_ids": text()},
    "image": lambda config: {"pixel_values": picture(config)},
    "captions": lambda config: {"input_ids": text(), "pixel_values": picture(config)},
    "sound": lambda config: {"input_values": torch.randn(2, 800)},
    "spectrogram": lambda config: {"input_values": torch.randn(2, config.max_length, config.num_mel_bins)},
    "speech": lambda config: {"input_features": torch.randn(2, config.num_mel_bins, 64), "decoder_input_ids": text()},
}


def images(side: int) -> Tensor:
    """Two random colour images of this side."""
    return torch.rand(2, 3, side, side)


MODELS: dict[str, Builder] = {
    **{f"torchvision:{name}": partial(torchvision_model, name, side) for name, side in TORCHVISION.items()},
    **{f"timm:{name}": partial(timm_model, name, side) for name, side in TIMM.items()},
    **{f"transformers:{name}": partial(transformers_model, name, *row) for name, row in TRANSFORMERS.items()},
}

# One of each kind: convolutions, extra outputs in training, attention, nested results, parametrized and routed layers.
FEW = (
    "torchvision:resnet18",
    "torchvision:googlenet",
    "torchvision:VisionTransformer",
    "timm:convnextv2_atto",
    "timm:mobilevit_xxs",
    "transformers:BertForSequenceClassification",
    "transformers:CLIPModel",
    "transformers:LlamaForCausalLM",
    "transformers:MambaForCausalLM",
    "transformers:MixtralForCausalLM",
    "transformers:T5ForConditionalGeneration",
    "transformers:ViTModel",
    "transformers:Wav2Vec2Model",
)
