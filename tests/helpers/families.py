"""Models of every family of torchvision, timm and transformers, as specs; they are small, or their inputs are."""

from __future__ import annotations

from functools import partial
from typing import Any

from fwdtrace.models.inputs import build_inputs
from fwdtrace.models.load import load_model
from tests.helpers.cheap_weights import cheap_weights
from tests.oracle.agreement import Builder, Workload

# By the side of the images that each is given: every classification model that torchvision has.
TORCHVISION = {
    32: """
    convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169 densenet201
    efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6
    efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet mnasnet0_5 mnasnet0_75 mnasnet1_0
    mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf regnet_x_32gf
    regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf
    regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34
    resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0
    shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s
    swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn wide_resnet101_2 wide_resnet50_2
    """,
    56: """
    vit_h_14
    """,
    64: """
    alexnet vit_b_16 vit_b_32 vit_l_16 vit_l_32
    """,
    80: """
    inception_v3
    """,
    224: """
    maxvit_t
    """,
}

# Two of each file of timm, or more: the smallest of each kind in it.
TIMM = {
    32: """
    caformer_s18 convformer_s18 convmixer_768_32 convnext_zepto_rms convnextv2_atto cpubone_nano cs3darknet_focus_s
    cs3sedarknet_xdw cspnext_tiny cspresnext50 darknet17 darknet21 davit_tiny densenet121 densenet161 densenet169
    densenet201 densenetblur121d dla102x dla34 dla46_c dla46x_c dla60_res2next dla60x_c dpn48b dpn68 dpn68b dpn92
    eca_nfnet_l0 eca_vovnet39b edgenext_xx_small efficientvim_m1 efficientvit_b0 ese_vovnet19b_slim_dw fasternet_t0
    fastvit_t8 fbnetv3_b focalnet_tiny_srf gernet_s ghostnet_050 hardcorenas_b hgnet_tiny hgnetv2_b0 hieradet_small
    hrnet_w18_small iformer_t inception_next_atto lambda_resnet26t lcnet_035 lcnetv2_small legacy_seresnet18
    legacy_xception lowformer_b0 mambaout_femto mnasnet_small mobilenet_edgetpu_100 mobilenetv2_035
    mobilenetv3_small_050 mobilenetv4_conv_small_035 mobilenetv5_base mobileone_s1 mobilevit_xxs mobilevitv2_050
    naflexvit_base_patch16_parfac_gap nasnetalarge nextvit_small nf_regnet_b0 nfnet_l0 pnasnet5large poolformer_s12
    poolformerv2_s12 pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetv_040 regnetx_002 regnety_002 regnetz_005 regnetz_b16
    repghostnet_050 repvgg_a0 repvit_m1 res2net101_26w_4s res2net101d res2net50_14w_8s res2net50d res2next50
    resnest101e resnest14d resnest26d resnest50d_1s4x24d resnet10t resnet14t resnet18 resnet18d resnetblur18
    resnetv2_18 resnext26ts rexnet_100 rexnetr_100 sam2_hiera_tiny sedarknet21 selecsls42 selecsls42b selecsls60
    selecsls60b selecsls84 semnasnet_050 shvit_s1 skresnet18 skresnet34 skresnet50 skresnet50d skresnext50_32x4d
    starnet_s050 test_byobnet test_convnext test_efficientnet test_mambaout test_nfnet test_resnet
    tf_mobilenetv3_small_075 tiny_vit_5m_224 tinynet_e tresnet_m vgg11 vovnet39a vovnet57a xception41 xception41p
    xception65 xception65p xception71
    """,
    64: """
    csatv2 ghostnetv2_100 ghostnetv3_050
    """,
    96: """
    inception_resnet_v2 inception_v3 inception_v4
    """,
    160: """
    test_coatnet test_vit test_vit_relpos
    """,
    224: """
    beit_base_patch16_224 cait_xxs24_224 coat_tiny coatnet_pico_rw_224 coatnext_nano_rw_224 convit_tiny
    deit3_small_patch16_224 deit_tiny_patch16_224 efficientformer_l1 efficientformerv2_s0 efficientvit_m0
    eva02_tiny_patch14_224 gcvit_xxtiny gmixer_12_224 gmlp_ti16_224 haloregnetz_b hiera_tiny_224 levit_128s
    mixer_s16_224 mvitv2_tiny nest_tiny pit_ti_224 resmlp_12_224 samvit_base_patch16_224 sequencer2d_s swiftformer_xs
    swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 tnt_s_legacy_patch16_224 twins_svt_small visformer_tiny
    vit_srelpos_small_patch16_224 vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224
    xcit_nano_12_p8_224
    """,
    240: """
    crossvit_tiny_240 flexivit_small
    """,
    256: """
    botnet26t_256 eca_botnext26ts_256 halonet26t halonet_h1 maxvit_pico_rw_256 maxxvit_rmlp_nano_rw_256
    maxxvitv2_nano_rw_256 swinv2_tiny_window16_256 vit_tiny_patch16_dinov3_qkvb
    """,
}

# Every type of one part that runs when its config is cut down to the sizes below.
TRANSFORMERS = """
    afmoe aimv2_vision_model albert apertus arcee aria_text audio-spectrogram-transformer bart beam beit bert
    bert-generation big_bird bigbird_pegasus biogpt bitnet blenderbot blenderbot-small bloom camembert canine
    chinese_clip_vision_model clip_text_model clip_vision_model cohere cohere2 cohere2_moe convbert cpmant ctrl cwm
    data2vec-text data2vec-vision deberta deberta-v2 deepseek_v4 deit diffllama dinov2 dinov2_with_registers
    dinov3_vit doge dpr electra ernie ernie4_5 ernie4_5_moe eurobert exaone4 exaone_moe falcon falcon_h1 falcon_mamba
    flex_olmo flint fnet gemma gemma2 gemma3_text glm glm4 glm4_moe glmasr_encoder gpt-sw3 gpt2 gpt_bigcode gpt_neox
    gpt_neox_japanese gpt_oss granite granite_docling_text granite_swa granitemoe granitemoe_swa granitemoeshared gte
    helium higgs_audio_v2 hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax ibert idefics3_vision ijepa
    imagegpt inkling2_text inkling_text internlm3 internvl_vision iquestcoder jais2 jetmoe jina_embeddings_v3 kolibri1
    laguna lasr_encoder layoutlm led lfm2 llama llama4_text longformer longt5 m2m_100 mamba marian markuplm mbart
    megatron-bert mellum mgp-str mimo_v2_flash minimax minimax_m2 minimax_m3_vl_text ministral ministral3 mistral
    mixtral mlcd mlcd_vision_model mobilebert mobilenet_v2 modernbert modernbert-decoder molmo2_text moonshine
    moss_transcribe_diarize_audio mpnet mra mt5 muse_glimmer_text muse_spark_text mvp nanochat nemotron
    nemotron3_5_transcribe_asr_audio nemotron3_diarization_audio nemotron_asr_streaming_encoder nemotron_h nllb-moe
    nomic_bert nystromformer olmo olmo2 olmo3 olmo_hybrid olmoe openai-gpt openai_privacy_filter opt parakeet_encoder
    patchtsmixer patchtst pegasus pegasus_x persimmon phi phi3 phimoe pixio pixtral plbart
    pocket_tts_audio_tokenizer_encoder pop2piano pp_lcnet pp_lcnet_v4 prophetnet qianfan_ocr_vision qwen2
    qwen2_audio_encoder qwen2_moe qwen3 qwen3_moe qwen3_vl_moe_text qwen3_vl_text radio rembert rf_detr_dinov2 roberta
    roberta-prelayernorm roformer rwkv sam3_lite_text_text_model sam3_vit_model sam_hq_vision_model sam_vision_model
    seed_oss sew sew-d siglip_vision_model smollm3 smolvlm_vision solar_open speech_to_text splinter stablelm
    starcoder2 superpoint switch_transformers t5 tapas timesfm2_5 timesformer tipsv2_text_model tipsv2_vision_model
    trocr udop ultrabert umt5 vaultgemma videomae videoprism_vision_model vilt visual_bert vit vit_mae vit_msn vitdet
    vivit voxtral_encoder voxtral_realtime_encoder wav2vec2-bert whisper xglm xlm-roberta xlm-roberta-xl xlnet yolos
    yoso
"""

# What a config is cut down to, as far as it has the setting.
SMALL: dict[str, Any] = {
    **{"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    **{"intermediate_size": 64, "head_dim": 8, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
    **{"n_embd": 32, "n_layer": 2, "n_head": 4, "num_layers": 2, "num_heads": 4, "d_ff": 64, "d_kv": 8},
    **{"moe_intermediate_size": 16, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2},
    **{"n_routed_experts": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "image_size": 32},
    **{"patch_size": 8, "num_encoder_layers": 2, "num_decoder_layers": 2, "encoder_num_hidden_layers": 2},
    **{"decoder_num_hidden_layers": 2},
}

# Arguments that keep a model small or quick to build.
OPTIONS = {
    **{f"torchvision:{name}": {"init_weights": False} for name in ("googlenet", "inception_v3")},
    **{f"torchvision:{name}": {"image_size": 64} for name in ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32")},
    "torchvision:vit_h_14": {"image_size": 56},
    # Of a cache with more than eight tensors a trace shows eight, and says that there are more.
    **{f"transformers:{name}": {"num_hidden_layers": 1} for name in ("deepseek_v4", "inkling2_text")},
}


@cheap_weights()
def vision_model(spec: str, side: int) -> Workload:
    """A model with ten classes, and two images."""
    options = {"num_classes": 10, **OPTIONS.get(spec, {})}
    loaded = load_model(f"{spec}({called_with(options)})")
    inputs = build_inputs([f"2x3x{side}x{side}"], loaded.module, seed=0)
    return loaded.module, inputs.args, inputs.kwargs


@cheap_weights()
def small_transformer(kind: str) -> Workload:
    """A model of a type, cut down, with the inputs that the source has for it."""
    from transformers import CONFIG_MAPPING

    settings = CONFIG_MAPPING[kind]().to_dict()
    options = {name: value for name, value in SMALL.items() if type(settings.get(name, "")) in (int, type(None))}
    options |= OPTIONS.get(f"transformers:{kind}", {})
    loaded = load_model(f"transformers:{kind}({called_with(options)})")
    inputs = build_inputs(loaded.inputs, loaded.module, seed=0)
    return loaded.module, inputs.args, inputs.kwargs


def called_with(options: dict[str, Any]) -> str:
    """Keyword arguments as in a spec."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


FAMILIES: dict[str, Builder] = {
    **{
        f"{library}:{name}": partial(vision_model, f"{library}:{name}", side)
        for library, table in (("torchvision", TORCHVISION), ("timm", TIMM))
        for side, names in table.items()
        for name in names.split()
    },
    **{f"transformers:{kind}": partial(small_transformer, kind) for kind in TRANSFORMERS.split()},
}
