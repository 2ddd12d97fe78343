"""Speculative decoding: something cheap drafts the next tokens, the model verifies them all in one pass.

A rejected draft is replaced by a draw from what the drafter gave too little of, and so the text is distributed
exactly as if the model had written it alone (leviathan2023fast, chen2023accelerating). The drafter is a smaller
model or a function of the text so far, such as `prompt_lookup`.

The file goes from the rule (`verify`) over the drafters and the cache to the loop (`speculate`), and ends with
`SpeculativeModel`, which takes a model's place in any solver, and with what a drafter is worth.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from srm_utils.inference.solver import Attempt, Budget, Solver
from srm_utils.sampling.choice import inverse_cdf, stream_key, truncate, uniforms
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.sampling.engine import check_lengths, sampling_mode, why_unsupported
from srm_utils.sampling.text import ContinuationTokenizer
from srm_utils.tasks.problem import Problem, Prompt

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel

#: Drafts at most k token ids for a text: any plain function (text's ids, k) -> ids, or a smaller model.
Guess = Callable[[Sequence[int], int], Sequence[int]]

# ---------------------------------------------------------------- the rule


def distribution(logits: torch.Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0) -> torch.Tensor:
    """Probabilities [..., vocabulary] that a token is drawn from; at temperature 0 all on the likeliest one.

    Greedy, truncated and plain sampling are all sampling from some distribution (leviathan2023fast, section 2.2),
    so that one rule verifies them all.

    >>> distribution(torch.tensor([[0.0, 2.0, 1.0]]), temperature=0).tolist()
    [[0.0, 1.0, 0.0]]
    """
    if temperature == 0:
        return torch.zeros_like(logits, dtype=torch.float32).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    flat = logits.float().reshape(-1, logits.shape[-1]) / temperature
    return truncate(flat, top_k, top_p).softmax(-1).view(logits.shape)


def verify(
    drafts: torch.Tensor,
    counts: torch.Tensor,
    p: torch.Tensor,
    q: torch.Tensor,
    u_accept: torch.Tensor,
    u_draw: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many drafts each row keeps, and the token that follows them (leviathan2023fast, algorithm 1).

    `drafts` [rows, k] hold `counts` [rows] tokens each, drawn from `q` [rows, k, vocabulary]; the model's own
    probabilities `p` [rows, k + 1, vocabulary] go one further. A draft x is kept with probability
    min(1, p(x) / q(x)). The next token is drawn from max(0, p - q), normalised, after a rejection, and from p after
    the last draft. `u_accept` [rows, k] and `u_draw` [rows, k + 1] are uniform random numbers.

    >>> p, q = torch.tensor([[[0.0, 1.0], [0.5, 0.5]]]), torch.tensor([[[1.0, 0.0]]])
    >>> kept, token = verify(torch.tensor([[0]]), torch.tensor([1]), p, q, torch.rand(1, 1), torch.rand(1, 2))
    >>> kept.tolist(), token.tolist()
    ([0], [1])
    """
    p_drafts = p[:, :-1].gather(2, drafts[:, :, None])[:, :, 0]
    q_drafts = q.gather(2, drafts[:, :, None])[:, :, 0]
    there = torch.arange(drafts.shape[1], device=drafts.device) < counts[:, None]
    kept = ((u_accept * q_drafts < p_drafts) & there).long().cumprod(1).sum(1)
    row = torch.arange(len(drafts), device=drafts.device)
    # Where nothing was drafted q is zero and the rest is p itself.
    drafted = torch.nn.functional.pad(q * there[:, :, None], (0, 0, 0, 1))[row, kept]
    rest = (p[row, kept] - drafted).clamp(min=0)
    # Rounding can reject a draft where p and q are one and leave nothing over.
    rest = torch.where(rest.sum(-1, keepdim=True) > 0, rest, p[row, kept])
    return kept, inverse_cdf(rest, u_draw[row, kept])


# ---------------------------------------------------------------- drafts from the text itself


def prompt_lookup(ids: Sequence[int], k: int, ngram: int = 3) -> list[int]:
    """What followed the last tokens when they last stood together in the text: at most `k` ids, maybe none.

    The longest ending of at most `ngram` tokens that occurs earlier decides. Copying from the context is one of
    the approximation models of leviathan2023fast, section 3.6; it costs nothing to ask.

    >>> prompt_lookup([5, 6, 7, 8, 1, 5, 6], k=2)
    [7, 8]
    """
    ids = list(ids)
    for size in range(min(ngram, len(ids) - 1), 0, -1):
        ending = ids[-size:]
        for start in range(len(ids) - size - 1, -1, -1):
            if ids[start : start + size] == ending:
                return ids[start + size : start + size + k]
    return []


# ---------------------------------------------------------------- a cache that can be cut back row by row


class _Layer(CacheLayerMixin):
    """Keys and values of one layer, [rows, heads, tokens, head_dim], written where the decoder says."""

    keys: torch.Tensor | None
    values: torch.Tensor | None
    is_sliding = False

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: `update` makes room as it is needed."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any):
        d = self.decoder
        have = 0 if self.keys is None else self.keys.shape[2]
        if self.keys is None or self.values is None or have < d.width:
            keys, values = (
                x.new_zeros(len(d.lengths), x.shape[1], max(d.width, 64, have * 3 // 2), x.shape[3])
                for x in (key_states, value_states)
            )
            if have:
                keys[:, :, :have], values[:, :, :have] = self.keys, self.values
            self.keys, self.values = keys, values
        self.keys[d.rows[:, None], :, d.slots] = key_states.transpose(1, 2)
        self.values[d.rows[:, None], :, d.slots] = value_states.transpose(1, 2)
        if d.everyone:
            return self.keys[:, :, : d.width], self.values[:, :, : d.width]
        return self.keys[d.rows, :, : d.width], self.values[d.rows, :, : d.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.decoder.width, 0

    def get_seq_length(self) -> int:
        return self.decoder.width

    def get_max_length(self) -> int:
        return -1


class Decoder:
    """A model over several texts at once, each at its own length, on one cache that is cut back row by row.

    Row r has read `lengths[r]` tokens. Cutting back forgets a row's last tokens: their keys are hidden from
    attention and written over by the next ones. `tokens[r]` counts all that the model processed for row r.
    """

    def __init__(self, model: LanguageModel, rows: int) -> None:
        reason = why_unsupported(model.model)
        if reason:
            raise ValueError(f"{model.name!r} cannot be decoded with drafts, because {reason}; choose another model.")
        config = model.model.config.get_text_config()
        # The window of each kind of layer, None where a layer sees the whole text.
        windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=config).layers]
        kinds = getattr(config, "layer_types", None) or ["every"] * len(windows)
        self.windows = dict(zip(kinds, windows, strict=True))
        self.model = model
        self.lengths = np.zeros(rows, dtype=np.int64)
        self.tokens = np.zeros(rows, dtype=np.int64)
        self.positions = model.positions
        self.cache = Cache(layers=[_Layer(self) for _ in range(config.num_hidden_layers)])
        inner = model.model.get_base_model() if hasattr(model.model, "get_base_model") else model.model
        self._keep = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(inner.forward).parameters else {}

    @property
    def bytes(self) -> int:
        """Memory of the cache."""
        made = [x for layer in self.cache.layers for x in (layer.keys, layer.values) if x is not None]
        return sum(x.numel() * x.element_size() for x in made)

    def read(
        self, tokens: Sequence[Sequence[int]], rows: Sequence[int] | None = None, logits: bool = True
    ) -> torch.Tensor:
        """Logits [rows, longest, vocabulary] after each of the new `tokens` of each row; shorter rows are padded.

        `rows` names the rows that the tokens are for, all by default. Without `logits` only the cache is filled.
        """
        device = self.model.model.device
        which = np.arange(len(self.lengths)) if rows is None else np.asarray(rows, dtype=np.int64)
        counts = np.array([len(t) for t in tokens])
        longest = int(counts.max())
        slots = self.lengths[which][:, None] + np.arange(longest)
        self.everyone = np.array_equal(which, np.arange(len(self.lengths)))
        self.width = int(slots.max()) + 1
        self.rows, self.slots = torch.from_numpy(which).to(device), torch.from_numpy(slots).to(device)
        ids = torch.tensor([[*t, *[0] * (longest - len(t))] for t in tokens], device=device)
        # Kinds of layers that see the same share one mask; a model of several kinds takes a mask for each.
        masks = {kind: self._mask(window) for kind, window in self.windows.items()}
        mixed = len({w for w in self.windows.values() if w is None or w < self.width}) > 1
        out = self.model.model(
            input_ids=ids,
            attention_mask=masks if mixed else next(iter(masks.values())),
            position_ids=self.slots.clamp(max=self.positions - 1),
            past_key_values=self.cache,
            use_cache=True,
            **({} if logits else self._keep),
        )
        self.lengths[which] += counts
        self.tokens[which] += counts
        return out.logits

    def _mask(self, window: int | None) -> torch.Tensor:
        """Additive mask [rows, 1, new tokens, width]: a key is seen from its own place on, and within the window.

        What stands in a row beyond that, padding too, is hidden.
        """
        keys, queries = torch.arange(self.width, device=self.slots.device), self.slots[:, None, :, None]
        hidden = (keys > queries) if window is None else (keys > queries) | (keys <= queries - window)
        mask = torch.zeros(hidden.shape, dtype=self.model.model.dtype, device=self.slots.device)
        return mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)

    def cut(self, lengths: Sequence[int]) -> None:
        """Forget all that a row has read beyond its length given here."""
        self.lengths = np.minimum(self.lengths, lengths)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order; a row may come more than once."""
        self.lengths, self.tokens = self.lengths[rows], self.tokens[rows]
        index = torch.tensor(rows, device=self.model.model.device, dtype=torch.int64)
        for layer in self.cache.layers:
            if layer.keys is not None:
                layer.keys, layer.values = layer.keys.index_select(0, index), layer.values.index_select(0, index)


# ---------------------------------------------------------------- the loop


@dataclass(frozen=True, slots=True)
class Speculated:
    """A completion, and how it came about: `passes` of the target over it, tokens `drafted`, and of those the
    ones `tested` (all up to the first rejection) and `accepted`."""

    completion: Completion
    passes: int
    drafted: int
    tested: int
    accepted: int


@dataclass(slots=True, eq=False)
class _Row:
    """One text that is being written: `ids` are the prompt and what follows, up to `limit` in all."""

    group: int
    ids: list[int]
    start: int
    limit: int
    draw_key: int
    draft_key: int
    first: bool
    reader: ContinuationTokenizer
    logprobs: list[float] = field(default_factory=list)
    passes: int = 0
    drafted: int = 0
    tested: int = 0
    accepted: int = 0
    finish: str = ""
    text: str | None = None
    cost: Cost = field(default_factory=Cost)


def speculate(
    target: LanguageModel,
    drafter: LanguageModel | Guess,
    prompts: Sequence[Prompt | str],
    n: int = 1,
    max_new_tokens: int | Sequence[int] = 256,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: Sequence[str] = (),
    seed: int = 0,
    *,
    k: int = 4,
    max_batch: int = 64,
) -> list[list[Speculated]]:
    """Draw `n` completions of each prompt from the target's own distribution, `k` drafted tokens at a time.

    The drafter is a smaller model with the same tokenizer, or a function `(ids, k) -> ids`. All rows of a batch
    draft and are verified together, each at its own length. The other arguments are those of
    `LanguageModel.sample`; with `k=0` the same seed gives the same completions as it does. A completion's cost holds
    both models: drafts are generated by the drafter and scored by the target. In float32 greedy completions are
    token-identical to the target's own; lower precisions round a pass over several tokens otherwise.

    Raises ValueError for tokenizers that differ, a negative `k`, and models without full attention.
    """
    own = None if callable(drafter) else drafter
    if k < 0 or max_batch < 1:
        raise ValueError(f"k is {k} and max_batch {max_batch}; draft 0 or more tokens in a batch of 1 or more.")
    if own is not None and own.tokenizer.get_vocab() != target.tokenizer.get_vocab():
        raise ValueError(
            f"{own.name!r} cannot draft for {target.name!r}: their tokenizers differ; choose two models of one family, "
            "or draft with prompt_lookup."
        )
    rows = _rows(target, prompts, n, max_new_tokens, seed)
    waiting = sorted((row for row in rows if not row.finish), key=lambda row: -row.limit)
    with sampling_mode(target.model), sampling_mode(own.model if own is not None else target.model):
        while waiting:
            batch, waiting = waiting[:max_batch], waiting[max_batch:]
            _run(target, own, drafter, batch, k, temperature, top_k, top_p, (*target.stop, *stop))
    out: list[list[Speculated]] = [[] for _ in prompts]
    for row in rows:
        ids = tuple(row.ids[row.start :])
        bare = ids[:-1] if row.finish == "end" else ids
        text = row.reader.decode_whole(bare) if row.text is None else row.text
        length = row.finish == "length"
        # A prompt that is too long was never read.
        read = row.start if row.passes else 0
        completion = Completion(text, ids, tuple(row.logprobs), "length" if length else "stop", read, row.cost)
        out[row.group].append(Speculated(completion, row.passes, row.drafted, row.tested, row.accepted))
    return out


def _rows(
    target: LanguageModel, prompts: Sequence[Prompt | str], n: int, max_new_tokens: int | Sequence[int], seed: int
) -> list[_Row]:
    budgets = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    positions = target.positions
    rows: list[_Row] = []
    seen: dict[tuple[int, ...], int] = {}
    asked = [target.encode(prompt) for prompt in prompts]
    if not all(asked) or any(budget < 1 for budget in budgets):
        raise ValueError("A prompt has no tokens, or none are to follow; give at least one, and ask for at least one.")
    check_lengths([len(ids) for ids in asked], positions)
    for group, (ids, budget) in enumerate(zip(asked, budgets, strict=True)):
        reader, finish = ContinuationTokenizer(target.tokenizer, ids), "" if len(ids) < positions else "length"
        first = seen.setdefault(tuple(ids), 0)
        for i in range(first, first + n):
            # Drafts and verdicts on them have a stream of their own; what is drawn has the plain sampler's.
            keys = (stream_key(seed, ids, i), stream_key(seed, ids, -1 - i))
            limit = min(len(ids) + budget, positions)
            rows.append(_Row(group, list(ids), len(ids), limit, *keys, i == first, reader, finish=finish))
        seen[tuple(ids)] += n
    return rows


def _run(
    target: LanguageModel,
    own: LanguageModel | None,
    drafter: Any,
    rows: list[_Row],
    k: int,
    temperature: float,
    top_k: int,
    top_p: float,
    stop: Sequence[str],
) -> None:
    """Write a batch of rows to their ends."""
    began, started = time.perf_counter(), rows
    decoders = [_opened(model, rows) for model in (target, own) if model is not None]
    how = (temperature, top_k, top_p)
    while rows:
        counts = [min(k, row.limit - len(row.ids) - 1) for row in rows]
        if own is not None:
            drafts, q = _drafts_of_model(decoders[1], rows, max(counts), how)
        else:
            guesses = [list(drafter(row.ids, c))[:c] if c else [] for row, c in zip(rows, counts, strict=True)]
            counts, drafts, q = [len(g) for g in guesses], guesses, None
        drafts = [d[:c] for d, c in zip(drafts, counts, strict=True)]
        logits = decoders[0].read([[row.ids[-1], *d] for row, d in zip(rows, drafts, strict=True)]).float()
        kept, token = _verified(rows, drafts, counts, q, logits, how)
        logprobs = logits.log_softmax(-1)
        new = [[*d[:a], t] for d, a, t in zip(drafts, kept, token, strict=True)]
        padded = torch.tensor([[*t, *[0] * (logits.shape[1] - len(t))] for t in new], device=logits.device)
        weights = logprobs.gather(2, padded[:, :, None])[:, :, 0].tolist()
        for row, tokens, values, count, accepted in zip(rows, new, weights, counts, kept, strict=True):
            row.passes += 1
            row.drafted += count
            before = len(row.ids)
            for t, value in zip(tokens, values, strict=False):
                _append(row, t, value, target, stop)
                if row.finish:
                    break
            # What follows an end was never put to the test.
            row.accepted += min(accepted, len(row.ids) - before)
            row.tested += min(accepted + (accepted < count), len(row.ids) - before)
        for decoder in decoders:
            decoder.cut([len(row.ids) - 1 for row in rows])
        if any(row.finish for row in rows):
            _account(rows, decoders, target, own)
            left = [r for r, row in enumerate(rows) if not row.finish]
            rows = [rows[r] for r in left]
            for decoder in decoders:
                decoder.select(left)
    seconds = (time.perf_counter() - began) / sum(len(row.ids) - row.start for row in started)
    for row in started:
        row.cost += Cost(seconds=seconds * (len(row.ids) - row.start))


def _opened(model: LanguageModel, rows: list[_Row]) -> Decoder:
    """A decoder that has read every row's prompt but for its last token, equal prompts once."""
    prompts = list(dict.fromkeys(tuple(row.ids) for row in rows))
    decoder = Decoder(model, len(prompts))
    if any(len(p) > 1 for p in prompts):
        decoder.read([p[:-1] for p in prompts], logits=False)
    where = {p: i for i, p in enumerate(prompts)}
    decoder.select([where[tuple(row.ids)] for row in rows])
    decoder.tokens[:] = 0
    return decoder


def _drafts_of_model(
    decoder: Decoder, rows: list[_Row], k: int, how: tuple[float, int, float]
) -> tuple[list[list[int]], torch.Tensor | None]:
    """`k` tokens that a smaller model draws for each row, one after the other, and what it drew them from."""
    drafts: list[list[int]] = [[] for _ in rows]
    if k == 0:
        return drafts, None
    unread = [row.ids[length:] for row, length in zip(rows, decoder.lengths, strict=True)]
    last = torch.tensor([len(u) - 1 for u in unread], device=decoder.model.model.device)
    logits = decoder.read(unread)[torch.arange(len(rows), device=last.device), last]
    q = []
    for i in range(k):
        q.append(distribution(logits, *how))
        u = _uniforms([row.draft_key for row in rows], [2 * (len(row.ids) - row.start + i) for row in rows])
        tokens = inverse_cdf(q[-1], u.to(logits.device)).tolist()
        for draft, token in zip(drafts, tokens, strict=True):
            draft.append(token)
        if i + 1 < k:
            logits = decoder.read([[t] for t in tokens])[:, -1]
    return drafts, torch.stack(q, 1)


def _verified(
    rows: list[_Row],
    drafts: list[list[int]],
    counts: list[int],
    q: torch.Tensor | None,
    logits: torch.Tensor,
    how: tuple[float, int, float],
) -> tuple[list[int], list[int]]:
    """`verify` on the rows' own random numbers; drafts without probabilities are certain guesses."""
    device, (size, width, vocabulary) = logits.device, logits.shape
    ids = torch.tensor([[*d, *[0] * (width - 1 - len(d))] for d in drafts], dtype=torch.int64, device=device)
    if q is None:
        q = torch.zeros(size, width - 1, vocabulary, device=device).scatter_(2, ids[:, :, None], 1.0)
    else:
        q = q[:, : width - 1].to(device)
        # Models of one family may differ in how far their embeddings are padded: no token stands there.
        q = torch.nn.functional.pad(q, (0, max(0, vocabulary - q.shape[-1])))[..., :vocabulary]
    at = np.array([len(row.ids) - row.start for row in rows])[:, None] + np.arange(width)
    accept = _uniforms([[row.draft_key] * (width - 1) for row in rows], 2 * at[:, : width - 1] + 1)
    draw = _uniforms([[row.draw_key] * width for row in rows], at)
    kept, token = verify(
        ids, torch.tensor(counts, device=device), distribution(logits, *how), q, accept.to(device), draw.to(device)
    )
    return kept.tolist(), token.tolist()


def _uniforms(keys: Any, steps: Any) -> torch.Tensor:
    return torch.from_numpy(uniforms(np.asarray(keys, dtype=np.uint64), np.asarray(steps, dtype=np.uint64)))


def _append(row: _Row, token: int, logprob: float, target: LanguageModel, stop: Sequence[str]) -> None:
    row.ids.append(token)
    row.logprobs.append(logprob)
    if token in target.end_ids:
        row.finish = "end"
        return
    if stop:
        text = row.reader.decode(row.ids[row.start :])
        found = [text.find(s) for s in stop if s in text]
        if found:
            row.finish, row.text = "stop", text[: min(found)]
            return
    if len(row.ids) >= row.limit:
        row.finish = "length"


def _account(rows: list[_Row], decoders: list[Decoder], target: LanguageModel, own: LanguageModel | None) -> None:
    """Give finished rows the cost of every token that either model processed for them."""
    peak = sum(d.model.bytes + d.bytes for d in decoders)
    for r, row in enumerate(rows):
        if row.finish:
            flops = float(decoders[0].tokens[r]) * target.flops_per_token
            row.cost = Cost(generated_tokens=row.passes, scored_tokens=row.drafted, flops=flops, peak_bytes=peak)
            if own is not None:
                # The target's prompt is the group's to count; the drafter's is counted with the first sample.
                prompt = row.start if row.first else 0
                flops = (prompt + float(decoders[1].tokens[r])) * own.flops_per_token
                row.cost += Cost(prompt_tokens=prompt, generated_tokens=row.drafted, flops=flops)


# ---------------------------------------------------------------- in a model's place, and as a solver


class SpeculativeModel:
    """A target that writes through drafts: it takes the place of a model in any solver that samples.

    Everything but sampling is the target's own.
    """

    def __init__(self, target: LanguageModel, drafter: LanguageModel | Guess, k: int = 4, max_batch: int = 64) -> None:
        self.target, self.drafter, self.k, self.max_batch = target, drafter, k, max_batch
        self.name = f"{target.name}, drafts by {getattr(drafter, 'name', getattr(drafter, '__name__', 'a function'))}"

    def sample(
        self,
        prompts: Sequence[Prompt | str],
        n: int = 1,
        max_new_tokens: int | Sequence[int] = 256,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[list[Completion]]:
        """`LanguageModel.sample` by `speculate`: the same distribution, at another price."""
        drawn = speculate(
            self.target, self.drafter, prompts, n, max_new_tokens, temperature, top_p, top_k, stop, seed,
            k=self.k, max_batch=self.max_batch,
        )  # fmt: skip
        return [[s.completion for s in group] for group in drawn]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)


@dataclass(frozen=True)
class SpeculativeDecoding:
    """Any solver, its model writing through the drafts of a smaller one or of `prompt_lookup`."""

    solver: Solver
    drafter: Any
    k: int = 4

    @property
    def name(self) -> str:
        return f"{self.solver.name}, speculative k={self.k}"

    def solve(self, problems: Sequence[Problem], model: LanguageModel, budget: Budget) -> list[Attempt]:
        return self.solver.solve(problems, SpeculativeModel(model, self.drafter, self.k), budget)


# ---------------------------------------------------------------- what a drafter is worth


def acceptance(drawn: Sequence[Sequence[Speculated]]) -> float:
    """Share of the tested drafts that were kept: the alpha of leviathan2023fast (definition 3.1), measured."""
    flat = [s for group in drawn for s in group]
    return sum(s.accepted for s in flat) / max(1, sum(s.tested for s in flat))


def tokens_per_pass(drawn: Sequence[Sequence[Speculated]]) -> float:
    """Tokens written for each pass of the target over a text."""
    flat = [s for group in drawn for s in group]
    return sum(len(s.completion.token_ids) for s in flat) / sum(s.passes for s in flat)


def expected_tokens(alpha: float, k: int) -> float:
    """Tokens a pass writes when each of `k` drafts is kept with probability alpha (leviathan2023fast, equation 1).

    >>> expected_tokens(0.5, 2), expected_tokens(1.0, 4), expected_tokens(0.9, 0)
    (1.75, 5.0, 1.0)
    """
    return sum(alpha**i for i in range(k + 1))


def speedup(alpha: float, k: int, draft: float, plain: float, verified: float) -> float:
    """How many times faster drafts of `k` tokens make a text, from the seconds of three passes.

    `draft` is one token by the drafter, `plain` one token by the target, `verified` k + 1 tokens by the target. Where
    a pass over k + 1 tokens takes no longer than one, this is theorem 3.8 of leviathan2023fast with c = draft / plain.

    >>> speedup(0.8, 0, 1.0, 2.0, 2.0), round(speedup(0.8, 4, 0.1, 1.0, 1.0), 2)
    (1.0, 2.4)
    """
    return expected_tokens(alpha, k) * plain / (k * draft + verified)


def clock(model: LanguageModel) -> float:
    """Seconds now, by the clock to time a model with.

    A model that computes on this process's one thread is timed by what the process has had of the processor, so
    that whatever else runs on the machine does not count; any other by the wall.
    """
    alone = model.device == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()


def pass_seconds(model: LanguageModel, tokens: int, context: int = 128, rows: int = 1, repeats: int = 15) -> float:
    """Seconds of one pass over `tokens` new tokens in each of `rows` texts that are `context` tokens long.

    The fastest of some repeats, by `clock`: an interruption can only add to it.
    """
    taken = []
    with sampling_mode(model.model):
        decoder = Decoder(model, rows)
        decoder.read([[0] * context] * rows, logits=False)
        for _ in range(repeats):
            began = clock(model)
            decoder.read([[0] * tokens] * rows)[:, -1, 0].tolist()
            taken.append(clock(model) - began)
            decoder.cut([context] * rows)
    return min(taken)
