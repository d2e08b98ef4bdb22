"""The spellings of names: the many ways in which libraries say what a weight is for."""

from __future__ import annotations

import re
from functools import lru_cache

_ROLES = {
    "q": "q query wq to_q q_proj proj_q query_proj q_lin lin_q linear_q fc_q",
    "k": "k key wk to_k k_proj proj_k key_proj k_lin lin_k linear_k fc_k",
    "v": "v value wv to_v v_proj proj_v value_proj v_lin lin_v linear_v fc_v values",
    "qkv": "qkv query_key_value c_attn in_proj qkv_proj wqkv to_qkv attn_qkv",
    "kv": "kv to_kv kv_proj wkv",
    "o": "o wo to_out o_proj out_proj proj dense out c_proj out_lin fc_o output",
    "gate": "gate gate_proj w1 fc1_g wi_0",
    "up": "up up_proj w3 fc1 c_fc lin1 linear1 wi wi_1 dense_h_to_4h intermediate fc_in",
    "down": "down down_proj w2 fc2 c_proj lin2 linear2 dense_4h_to_h fc_out",
    "gate_up": "gate_up gate_up_proj w12 wi_fused",
    "ih": "ih weight_ih x2h i2h w_ih",
    "hh": "hh weight_hh h2h w_hh",
    "norm1": "norm1 ln1 ln_1 input_layernorm attention_norm layer_norm1 layernorm_before norm_1 ln_before",
    "norm2": "norm2 ln2 ln_2 post_attention_layernorm ffn_norm layer_norm2 layernorm_after norm_2 ln_after",
    "word": "word tokens tok token wte word_embeddings tok_embeddings embed_tokens token_embedding token_embeddings",
    "pos": "pos position wpe places position_embeddings pos_embed pos_embedding positional_embedding embed_positions",
    "type": "seg type token_type kinds token_type_embeddings segment segment_embeddings",
    "head": "head lm_head output classifier fc cls",
    "cls": "cls class_token cls_token",
    "scale": "gamma layer_scale layerscale ls scale",
}
_KINDS = {
    "weight": "weight gamma weight_v",
    "bias": "bias beta",
    "mean": "running_mean mean",
    "variance": "running_var var",
}
_KIND_OF = {spelling: kind for kind, spellings in _KINDS.items() for spelling in spellings.split()}
_BY_SPELLING: dict[str, set[str]] = {}
for _role, _spellings in _ROLES.items():
    for _spelling in _spellings.split():
        _BY_SPELLING.setdefault(_spelling, set()).add(_role)

ORDER = ("q", "k", "v", "gate", "up", "ih", "hh")
"""The order in which a fused matrix has its parts."""


@lru_cache(maxsize=4096)
def roles_of(name: str) -> frozenset[str]:
    """What the last part of a name that says anything may be for: `q`, `gate`, `norm1`, …"""
    for part in reversed(name.lower().split(".")):
        if part in _BY_SPELLING:
            return frozenset(_BY_SPELLING[part])
    return frozenset()


def kind_of(name: str) -> str | None:
    """Whether it is called a weight, a bias or a statistic of a module; None if it says none of these."""
    return _KIND_OF.get(name.rpartition(".")[2])


def holder_of(name: str) -> str:
    """The module that holds a weight, or the weight itself if the model does."""
    return name.rpartition(".")[0] or name


@lru_cache(maxsize=65536)
def likeness(name: str, other: str) -> float:
    """How much two qualified names speak of the same, from 0: by their last parts, what these are for, and indices."""
    ours, theirs = (_parts(each) for each in (name, other))
    score = 0.0
    if roles_of(name) & roles_of(other):
        score += 3
    if ours and theirs:
        last, other_last = ours[-1], theirs[-1]
        if last == other_last:
            score += 3
        elif last.startswith(other_last) or other_last.startswith(last) or share_letters(name, other):
            score += 1
    if _numbers(name) == _numbers(other):
        score += 0.5
    common = len(set(ours) & set(theirs))
    return score + common / (1 + max(len(ours), len(theirs)))


def share_letters(name: str, other: str) -> bool:
    """Whether the last part of one name has all letters of the other's in a row, as `log_var` and `fc_logvar`."""
    letters = (re.sub(r"[\W\d_]", "", each.rpartition(".")[2].lower()) for each in (name, other))
    shorter, longer = sorted(letters, key=len)
    return len(shorter) > 1 and shorter in longer


def template(name: str) -> str:
    """The name without its indices: what it is called in every layer, in a recurrent one in both directions."""
    return re.sub(r"\d+", "#", name).removesuffix("_reverse")


def _parts(name: str) -> tuple[str, ...]:
    name = re.sub(r"_l[\d#]+(_reverse)?$", "", name.lower())  # the layer and direction of torch's recurrent layers
    return tuple(part for part in re.split(r"[._]", name) if part and not part.isdigit())


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"(?:^|[._])(\d+)(?=[._]|$)", name))
