"""`LanguageModel`: tokenizer, weights and sampler in one; `load_model`: from a bundled name, a folder or the hub.

The three ways are one: each is resolved to a local folder, and the folder is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from srm_utils.models.chat import Chat, find_chat
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.sampling.ledger import Prices, Read, prices, weights
from srm_utils.tasks.problem import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from srm_utils.sampling.cache import PrefixStore


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities (natural, temperature 1) of a given continuation, one per token, and what they cost."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    cost: Cost

    @property
    def logprob(self) -> float:
        """Log-probability of the whole continuation."""
        return sum(self.logprobs)


class LanguageModel:
    """A causal language model with its tokenizer: `sample` draws continuations, `score` weighs given ones.

    `chat` says how prompts are written for it, which tokens (`end_ids`) and strings (`stop`) end an answer, and what
    ends a step. `flops_per_token` is twice the parameters a token meets: all but the input embedding, which is looked
    up and not multiplied (kaplan2020scaling, section 2.1); a tied one counts, as the output layer.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str = "model",
        bits: int | None = None,
        chat: Chat | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.bits = bits if bits is not None else _bits(model)
        self.chat = chat or find_chat(tokenizer, model.generation_config)
        self._prefixes: PrefixStore | None = None
        self._keepers = 0

    @property
    def prefixes(self) -> PrefixStore | None:
        """What the model has read and keeps, None outside `keeping_prefixes`."""
        return self._prefixes

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return self.chat.end_ids

    @property
    def stop(self) -> tuple[str, ...]:
        """The strings that end an answer as well."""
        return self.chat.stop or ()

    # Counted when asked, not once: a trainer may add an adapter to the model in between.

    @property
    def parameters(self) -> int:
        """Number of weights, as many as before any quantisation packed them; tied ones once."""
        return sum(weights(p) for p in self.model.parameters())

    @property
    def bytes(self) -> int:
        """Memory of parameters, buffers and quantisation constants as they lie on the device."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        for p in self.model.parameters():
            tensors += _quantisation_constants(p)
        unique = {(t.data_ptr(), t.numel()): t.numel() * t.element_size() for t in tensors}
        return sum(unique.values())

    @property
    def flops_per_token(self) -> float:
        """FLOPs to read one token and compute its logits, 2 for each weight it meets; attention comes on top."""
        return self.prices.body + self.prices.head

    @property
    def prices(self) -> Prices:
        """What the model spends on a token, on its logits, and on attention (`sampling.ledger`)."""
        return prices(self.model)

    @property
    def positions(self) -> int:
        """How many tokens the model reads at most, prompt and answer together."""
        return getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None) or 2**31

    @property
    def device(self) -> str:
        """Where the weights are, such as "cpu" or "cuda:0"."""
        return str(self.model.device)

    def __repr__(self) -> str:
        return (
            f"LanguageModel({self.name!r}, {self.parameters / 1e6:,.2f} M parameters, {self.bits} bits, "
            f"{self.bytes / 1e6:,.2f} MB, on {self.device})"
        )

    def render(self, prompt: Prompt | str) -> str:
        """The text the model reads: a string as it is, a `Prompt` through the chat template or as plain text.

        In a chat, examples are earlier turns and the prefill opens the answer.
        """
        if isinstance(prompt, str):
            return prompt
        return self.chat.render(prompt, self.tokenizer)

    def encode(self, prompt: Prompt | str) -> list[int]:
        """Token ids of a rendered prompt; special tokens are added unless the text already begins with them."""
        text = self.render(prompt)
        opened = isinstance(prompt, Prompt) and self.chat.template
        opened = opened or bool(self.tokenizer.bos_token and text.startswith(self.tokenizer.bos_token))
        ids = self.tokenizer(text, add_special_tokens=not opened)["input_ids"]
        # Some tokenizers close every text; an answer cannot follow an end token.
        return ids[:-1] if len(ids) > 1 and not opened and ids[-1] == self.tokenizer.eos_token_id else ids

    def sample(
        self,
        prompts: Sequence[Prompt | str],
        n: int | Sequence[int] = 1,
        max_new_tokens: int | Sequence[int] = 256,
        temperature: float | Sequence[float] = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: Sequence[str] = (),
        seed: int | Sequence[int] = 0,
        progress: bool = False,
        *,
        pause_strings: Sequence[str] = (),
        pause: Callable[[str], str | None] | Sequence[Callable[[str], str | None]] | None = None,
        max_batch: int | None = None,
    ) -> list[list[Completion]]:
        """Draw `n` completions of each prompt; the same seed gives the same ones however they are batched.

        `stop` strings end a completion beside the model's own `stop`. `n`, `max_new_tokens`, `temperature` and
        `seed` are one number or one a prompt. `temperature=0` takes the likeliest token. When a completion ends in
        one of `pause_strings`, `pause(text so far)` (one function or one a prompt) may return text (a tool's reply)
        to read before going on.
        A prompt that is too long for the model gets empty completions and a warning.
        Raises ValueError for settings that mean nothing, and where every prompt is too long.
        """
        from srm_utils.sampling.engine import sample_tokens

        drawn = sample_tokens(
            self.model,
            self.tokenizer,
            [self.encode(p) for p in _listed(prompts)],
            n,
            max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            end_ids=self.end_ids,
            stop=(*self.stop, *stop),
            pause_strings=pause_strings,
            pause=pause,
            seed=seed,
            max_batch=max_batch,
            model_bytes=self.bytes,
            progress=progress,
            prefixes=self._prefixes,
        )
        if self.chat.tags is None:
            return drawn
        # A prompt may end inside a thought. The answer then shows its opening tag, so that a reader knows.
        opened = [self.chat.thinks(self.render(p)) for p in prompts]
        tag = self.chat.tags[0]
        return [
            [replace(c, text=f"{tag}\n{c.text}") for c in group] if thinks else group
            for group, thinks in zip(drawn, opened, strict=True)
        ]

    def begun(self, prompt: Prompt | str, text: str) -> str:
        """The prompt as the model reads it, with the beginning of an answer behind it, to be gone on from."""
        return self.chat.begun(self.render(prompt), text)

    def score(self, prompts: Sequence[Prompt | str], completions: Sequence[str | Sequence[int]]) -> list[Scored]:
        """Log-probabilities of one completion a prompt, given as text or as token ids.

        Token ids (`Completion.token_ids`) are weighed exactly as they were drawn; text is tokenised as what
        follows the prompt's tokens. Raises ValueError where the two lists differ in length.
        """
        from srm_utils.sampling.engine import sampling_mode
        from srm_utils.sampling.scoring import score_tokens
        from srm_utils.sampling.text import ContinuationTokenizer

        prompts = _listed(prompts)
        if len(prompts) != len(completions):
            raise ValueError(
                f"There are {len(prompts)} prompts and {len(completions)} completions; score one completion a prompt."
            )
        asked = [self.encode(p) for p in prompts]
        said = [
            ContinuationTokenizer(self.tokenizer, ids).encode(c) if isinstance(c, str) else list(c)
            for ids, c in zip(asked, completions, strict=True)
        ]
        if any(not ids for ids in asked):
            raise ValueError("A prompt has no tokens; give the model at least one to continue from.")
        began = time.perf_counter()
        with sampling_mode(self.model):
            logprobs = score_tokens(self.model, asked, said, self._prefixes)
        seconds = time.perf_counter() - began
        texts = [(*prompt, *ids[:-1]) if ids else () for prompt, ids in zip(asked, said, strict=True)]
        costs = self._reading_costs(texts, [len(ids) for ids in said])
        share = seconds / max(1.0, sum(cost.scored_tokens for cost in costs))
        costs = [replace(cost, seconds=share * cost.scored_tokens, peak_bytes=self.bytes) for cost in costs]
        return [Scored(tuple(c), each, cost) for c, each, cost in zip(said, logprobs, costs, strict=True)]

    def _reading_costs(self, texts: Sequence[tuple[int, ...]], wanted: Sequence[int]) -> list[Cost]:
        charged = self.prices
        return [self.reading_cost(text, n, charged) if n else Cost() for text, n in zip(texts, wanted, strict=True)]

    def read(self, texts: Sequence[Sequence[int]], wanted: Sequence[int]) -> tuple[list[torch.Tensor], list[Cost]]:
        """Logits [tokens asked for, vocabulary] behind the last tokens of texts, and what reading each cost.

        Args:
            texts: token ids, at least one each.
            wanted: how many of each text's last tokens are asked for, at least one.
        """

        from srm_utils.sampling.engine import sampling_mode
        from srm_utils.sampling.scoring import read_logits

        asked = [tuple(text) for text in texts]
        most: dict[tuple[int, ...], int] = {}
        for text, count in zip(asked, wanted, strict=True):
            most[text] = max(most.get(text, 0), count)
        found: dict[tuple[int, ...], torch.Tensor] = {}
        with sampling_mode(self.model):
            for batch, logits in read_logits(self.model, most, self._prefixes):
                found |= dict(zip(batch, logits.split([most[text] for text in batch]), strict=True))
        rows = [found[text][-count:] for text, count in zip(asked, wanted, strict=True)]
        return rows, self._reading_costs(asked, wanted)

    def reading_cost(self, ids: Sequence[int], logits: int = 0, charged: Prices | None = None) -> Cost:
        """What it costs to read a text from its beginning, with the logits of its last `logits` tokens.

        Args:
            ids: token ids.
            logits: how many of the last tokens are asked for their logits.
            charged: the model's `prices`, where they are at hand.
        """
        charged = self.prices if charged is None else charged
        read = Read(id(self.model), charged, (tuple(ids),), logits=logits)
        return Cost(scored_tokens=len(ids), flops=charged.reading(0, len(ids), logits), reads=(read,))

    @contextmanager
    def keeping_prefixes(self, most_bytes: int | None = None) -> Iterator[PrefixStore]:
        """Keep what the model reads and writes within: of a text that begins the same, only what follows is read.

        Results are the same up to rounding, and so are the costs; the store counts what was really `read` and what
        `reused`. An inner context uses the store of the outer one. The store ends with the outermost, and forgets
        everything where the weights change meanwhile. `most_bytes` bounds it.
        """
        from srm_utils.sampling.cache import PrefixStore

        if self._prefixes is None:
            self._prefixes = PrefixStore(most_bytes)
        store, self._keepers = self._prefixes, self._keepers + 1
        try:
            yield store
        finally:
            self._keepers -= 1
            if not self._keepers:
                self._prefixes = None
                store.clear()


def _listed(prompts: Sequence[Prompt | str]) -> Sequence[Prompt | str]:
    if isinstance(prompts, str | Prompt):
        raise ValueError("prompts is one prompt; put it in a list: [prompt].")
    return prompts


def _quantisation_constants(parameter: Any) -> list[Any]:
    """Scales that belong to a quantised parameter but are no parameters themselves."""
    import torch

    state = getattr(parameter, "quant_state", None)
    nested = getattr(state, "state2", None)
    found = [getattr(s, key, None) for s in (state, nested) for key in ("absmax", "code", "offset")]
    found.append(getattr(parameter, "SCB", None))
    return [t for t in found if isinstance(t, torch.Tensor)]


def _bits(model: PreTrainedModel) -> int:
    if getattr(model, "is_loaded_in_4bit", False):
        return 4
    if getattr(model, "is_loaded_in_8bit", False):
        return 8
    return 8 * model.dtype.itemsize
