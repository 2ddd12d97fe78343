"""The weights from which a member of the bundled family starts.

A new member has a few attention heads that look up and copy from the start. A member grown from a smaller one computes
what its parent computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    from srm_utils.models.members import Member

#: How strongly the heads that start as a copying circuit write, beside embeddings of norm 0.3.
START_SCALE = 0.15


def new_model(member: Member, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A member of its shape with random weights, in which a few heads look back and copy from the start."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=member.width,
        intermediate_size=3 * member.width,
        num_hidden_layers=member.layers,
        num_attention_heads=member.heads,
        num_key_value_heads=member.heads // 2,
        head_dim=member.width // member.heads,
        max_position_embeddings=1024,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        initializer_range=0.02,
        attention_bias=True,
    )
    model = Qwen3ForCausalLM(config)
    _start_looking_back(model)
    return model


def _start_looking_back(model: Qwen3ForCausalLM) -> None:
    """Starts two pairs of heads as the circuit that copies by matching (an induction head), all to be trained on.

    In the first layer one head looks one token back and one looks two back. In a later layer a head looks for
    the place whose second-last token is this place's last token: after "Mia has" it finds the number that
    followed "Mia has" before, past the word between that says nothing. Another finds what followed the present
    token. From small random weights this circuit had not formed after 20 M tokens, and nothing that needs a
    look-up was learnt; started so, 2.4 M tokens of graph word problems copy every number right.
    """
    import torch

    config = model.config
    size, width, half = config.head_dim, config.hidden_size, config.head_dim // 2
    frequency = _frequency(config)
    # Slow rotations hardly turn within a prompt and can carry content.
    slow = torch.nonzero(frequency < 0.008).flatten()
    slow = torch.cat([slow, slow + half])
    random = torch.linalg.qr(torch.randn(width, width))[0]
    last, second_last = random[:, : len(slow)], random[:, len(slow) : 2 * len(slow)]
    content = torch.linalg.qr(torch.randn(width, width))[0][: len(slow)]
    group = config.num_attention_heads // config.num_key_value_heads

    def copies(layer: int, pair: int) -> None:
        """What the first query head of a key-value head finds, it writes out as it is."""
        attention, value = model.model.layers[layer].self_attn, torch.linalg.qr(torch.randn(width, width))[0][:size]
        attention.v_proj.weight[pair * size : (pair + 1) * size] = value
        first = pair * group * size
        attention.o_proj.weight[:, first : first + size] = START_SCALE * value.T

    with torch.no_grad():
        attention = model.model.layers[0].self_attn
        _look_one_and_two_back(attention, frequency)
        for head, place in enumerate((last, second_last)):
            attention.o_proj.weight[:, head * size + slow] = START_SCALE * place
        attention.v_proj.weight[slow] = content
        skipping = model.model.layers[1].self_attn
        skipping.q_proj.weight[slow] = last.T
        skipping.k_proj.weight[slow] = second_last.T
        copies(1, 0)
        # The plain one takes the next key-value head that is free.
        layer, pair = (1, 1) if config.num_key_value_heads > 1 else (2, 0)
        plain = model.model.layers[layer].self_attn
        plain.q_proj.weight[pair * group * size + slow] = content
        plain.k_proj.weight[pair * size + slow] = last.T
        copies(layer, pair)


def _frequency(config: Qwen3Config) -> torch.Tensor:
    """Radians a position by which each pair of a head's dimensions is turned, (head_dim / 2,)."""
    import torch

    half = config.head_dim // 2
    return config.rope_parameters["rope_theta"] ** (-torch.arange(half) / half)


def _look_one_and_two_back(attention: torch.nn.Module, frequency: torch.Tensor) -> None:
    """Biases with which the first two heads, on one key-value head, attend to the last token and the one before it."""
    import torch

    # Fast rotations tell near positions apart.
    fast, half = torch.arange(3), len(frequency)
    attention.k_proj.bias[fast] = 4.0
    for head, offset in enumerate((1, 2)):
        at = head * 2 * half + fast
        attention.q_proj.bias[at] = 4.0 * torch.cos(offset * frequency[fast])
        attention.q_proj.bias[at + half] = -4.0 * torch.sin(offset * frequency[fast])


def grown(parent: Qwen3ForCausalLM, layers: int) -> Qwen3ForCausalLM:
    """The same function in more layers: every old layer is followed by new ones that add nothing yet.

    A layer whose two output matrices are zero passes its input on, so training goes on from the parent's level. Its
    first heads look one and two tokens back: whoever judges a number must set it beside what the last place foretold.
    """
    import copy

    import torch
    from transformers import Qwen3ForCausalLM

    config = copy.deepcopy(parent.config)
    old = config.num_hidden_layers
    config.num_hidden_layers = layers
    config.layer_types = ["full_attention"] * layers
    model = Qwen3ForCausalLM(config)
    names = {f"model.layers.{i}.": f"model.layers.{i * layers // old}." for i in range(old)}
    inherited = {}
    for key, value in parent.state_dict().items():
        prefix = next((p for p in names if key.startswith(p)), None)
        inherited[key.replace(prefix, names[prefix], 1) if prefix else key] = value
    model.load_state_dict(inherited, strict=False)
    kept = {int(n.split(".")[2]) for n in names.values()}
    with torch.no_grad():
        for i, layer in enumerate(model.model.layers):
            if i not in kept:
                _look_one_and_two_back(layer.self_attn, _frequency(config))
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
    return model
