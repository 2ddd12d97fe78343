"""Is the bundled family fit to learn on? Five conditions, each with its figure and its bound.

`srm check family` runs them on fresh validation problems and writes the model cards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from srm_utils.evaluation import Estimate, evaluate
from srm_utils.evaluation.statistics import mean_score, wilson
from srm_utils.experiments.family_cards import HASHES, REPORT, write_cards
from srm_utils.inference.solver import Budget
from srm_utils.inference.split_evidence import Exchange
from srm_utils.models import load_model
from srm_utils.models.members import FAMILY, family_folder
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Problem, Prompt, Task
from srm_utils.tasks.prompts import AGAIN, verify_prompt
from srm_utils.tasks.steps import steps_in
from srm_utils.tasks.styles import style_of
from srm_utils.tasks.worlds.deduction import SplitEvidenceTask
from srm_utils.training.outcome_rewards import correctness
from srm_utils.training.policy_gradient import PolicyGradientConfig, batches, gradient, train_policy_gradient

if TYPE_CHECKING:
    from srm_utils.models import LanguageModel


@dataclass(frozen=True)
class Check:
    """One measured condition: `low <= value <= high` is what was asked; the interval is what is known.

    Of a mere figure (`asked` is None) nothing was asked.
    """

    condition: int
    what: str
    value: float
    interval: tuple[float, float]
    asked: tuple[float, float] | None

    @property
    def passed(self) -> bool:
        return self.asked is None or bool(self.asked[0] <= self.value <= self.asked[1])

    def __str__(self) -> str:
        known = f"{self.value:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"
        if self.asked is None:
            return f"     {self.condition}. {self.what}: {known}"
        low, high = self.asked
        bound = (
            f"at most {high:.2f}" if low == 0 else f"at least {low:.2f}" if high == 1 else f"{low:.2f} to {high:.2f}"
        )
        mark = "ok  " if self.passed else "FAIL"
        return f"{mark} {self.condition}. {self.what}: {known}, asked {bound}"


def check_family(n: int = 120, seeds: int = 5, say: Callable[[str], None] = print, write: bool = True) -> bool:
    """Runs every condition for the members that are there, prints each with its figure, and says whether all hold.

    Args:
        n: problems a measurement.
        seeds: seeds of the reinforcement-learning condition.
        say: where each line goes.
        write: also write the report and every member's model card.

    Weights that are not the frozen ones are a failure, and nothing is measured or written: the cards would speak of
    one model and name another.
    """
    other = changed()
    if other:
        say(
            f"FAIL The weights of {', '.join(other)} are not those of {HASHES}; restore them from version control, "
            "or freeze retrained ones with `srm check family --freeze`."
        )
        return False
    checks = []
    for check in chain(_accuracy(n), _bases(n), _talk(n), _style(n), _search(n), _learnable(n, seeds), _probe(n)):
        say(str(check))
        checks.append(check)
    missing = [name for name in FAMILY if not (family_folder() / name / "model.safetensors").is_file()]
    if missing:
        say(f"not trained here: {', '.join(missing)}; run `srm pretrain NAME` for each.")
    if write:
        report = [asdict(c) | {"passed": c.passed} for c in checks]
        (family_folder() / REPORT).write_text(json.dumps(report, indent=1) + "\n")
        write_cards()
    return all(check.passed for check in checks)


def freeze() -> dict[str, str]:
    """Writes the hash of every member's weights, for whoever retrained one; a test holds the shipped files to them."""
    found = _hashes()
    (family_folder() / HASHES).write_text(json.dumps(found, indent=1) + "\n")
    return found


def changed() -> list[str]:
    """The members whose weights are not those that were frozen: changed, missing, or never frozen.

    >>> changed()
    []
    """
    file, found = family_folder() / HASHES, _hashes()
    frozen = json.loads(file.read_text()) if file.is_file() else {}
    return [name for name in FAMILY if frozen.get(name) != found.get(name)]


def _hashes() -> dict[str, str]:
    """The sha256 of the weights of every member that is there, by name."""
    files = {name: family_folder() / name / "model.safetensors" for name in FAMILY}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file.is_file()}


def _greedy(model: LanguageModel, task: Task, problems: list[Problem], style: str, tokens: int = 192) -> Estimate:
    drawn = model.sample([task.prompt(p, style) for p in problems], 1, tokens, temperature=0)
    return evaluate(task, problems, drawn).accuracy()


def _check(condition: int, what: str, e: Estimate, low: float, high: float = 1.0) -> Check:
    return Check(condition, what, e.value, (e.low, e.high), (low, high))


def _figure(condition: int, what: str, e: Estimate) -> Check:
    return Check(condition, what, e.value, (e.low, e.high), None)


def _accuracy(n: int) -> Iterator[Check]:
    easy, hard = get_task("chain"), get_task("graph")
    base = load_model("base")
    problems = easy.problems(n, seed=11)
    drawn = base.sample([easy.prompt(p, "unmarked") for p in problems], 4, 96, seed=11)
    yield _check(1, "base, sampled on unmarked chain problems", evaluate(easy, problems, drawn).accuracy(), 0.3, 0.7)
    for name, chain_bound, graph_bound in (("instruct", 0.85, 0.60), ("teacher", 0.97, 0.85)):
        if not (family_folder() / name / "model.safetensors").is_file():
            continue
        model = load_model(name)
        for task, bound in ((easy, chain_bound), (hard, graph_bound)):
            problems = task.problems(n, seed=12)
            cot = _greedy(model, task, problems, "cot")
            yield _check(1, f"{name}, {task.name}, chain of thought", cot, bound)
            direct = _greedy(model, task, problems, "direct")
            yield _check(1, f"{name}, {task.name}, direct (far below)", direct, 0, max(cot.value - 0.3, 0.0))
            shallow = _greedy(model, task, task.problems(n, seed=13, difficulty=task.difficulties[1]), "cot")
            unseen = _greedy(
                model, task, task.problems(n, seed=13, difficulty=task.unseen_difficulties[-1]), "cot", 320
            )
            yield _check(1, f"{name}, {task.name}, unseen depth (below shallow)", unseen, 0, shallow.value)


def _bases(n: int) -> Iterator[Check]:
    """What every base can do when its style is named, the others beside the one that the conditions are about."""
    shipped = [m.name for m in FAMILY.values() if (family_folder() / m.name / "model.safetensors").is_file()]
    for name in (name for name in shipped if FAMILY[name].parent is None):
        model = load_model(name)
        for task in (get_task("chain"), get_task("graph"), get_task("countdown")):
            for style, said in {"cot": "chain of thought", "direct": "direct"}.items():
                found = _greedy(model, task, task.problems(n, seed=14), style)
                yield _figure(1, f"{name}, {task.name}, {said}", found)


def _talk(n: int) -> Iterator[Check]:
    """What the member that was tuned on talk makes of checks, second thoughts and messages, beside its parent."""
    task, split = get_task("countdown"), SplitEvidenceTask()
    problems, shared = task.problems(n, seed=15), split.problems(n, seed=15)
    turns = [turn for p in shared[: max(n // 4, 2)] for turn in split.exchange(p)]
    gold = [text for _, _, text in turns]
    asked = [task.prompt(p, "cot") for p in problems]
    for name in ("instruct", "dialogue"):
        if not (family_folder() / name / "model.safetensors").is_file():
            continue
        model = load_model(name)
        for world in (get_task("chain"), get_task("graph"), get_task("sorting")):
            found = _greedy(model, world, world.problems(n, seed=15), "cot", 256)
            yield _figure(1, f"{name}, {world.name}, solved in steps", found)
        first = [group[0].text.strip() for group in model.sample(asked, 1, 96, temperature=0)]
        right = [task.grade(text, p) == "correct" for text, p in zip(first, problems, strict=True)]
        yield _figure(1, f"{name}, countdown, solved in steps", wilson(sum(right), n))
        checks = [verify_prompt(p, steps_in(text, p)) for text, p in zip(first, problems, strict=True)]
        yes = [group[0].text.strip().endswith("Yes.") for group in model.sample(checks, 1, 160, temperature=0)]
        agree = sum(a == b for a, b in zip(yes, right, strict=True))
        yield _figure(1, f"{name}, countdown, written check of that solution tells right from wrong", wilson(agree, n))
        waiting = [replace(prompt, prefill=f"{text} {AGAIN}") for prompt, text in zip(asked, first, strict=True)]
        second = model.sample(waiting, 1, 96, temperature=0)
        better = evaluate(task, problems, second).accuracy()
        yield _figure(1, f'{name}, countdown, the solution after "Wait."', better)
        said = [group[0].text for group in model.sample([prompt for _, prompt, _ in turns], 1, 128, temperature=0)]
        # Of a turn only the message or the answer counts: what is thought before it stays with the agent.
        ends = [[(split.sent(text), split.extract(text)) for text in texts] for texts in (said, gold)]
        good = sum(a == b for a, b in zip(*ends, strict=True))
        yield _figure(1, f"{name}, split-evidence, turns with the right message or answer", wilson(good, len(turns)))
        exchanged = Exchange(split, 8).solve(shared, model, Budget(max_new_tokens=192))
        together = wilson(sum(a.grade == "correct" for a in exchanged), n)
        yield _figure(1, f"{name}, split-evidence, solved by two with half of it each and eight messages", together)
        yield _figure(1, f"{name}, split-evidence, solved by one who sees all", _greedy(model, split, shared, "cot"))


def _style(n: int) -> Iterator[Check]:
    base, rng = load_model("base"), Random(21)
    for task in (get_task("chain"), get_task("graph")):
        followed = []
        for style in ("direct", "cot", "draft", "verbose"):
            problems = task.problems(max(n // 4, 2), seed=21, difficulty=task.difficulties[1])
            shots = task.problems(2, split="train", seed=21, difficulty=task.difficulties[1])
            examples = [(p, task.solution(p, style, rng)) for p in shots]
            drawn = base.sample([task.prompt(p, "unmarked", examples) for p in problems], 1, 128, seed=21)
            followed += [style_of(task, p, g[0].text) == style for p, g in zip(problems, drawn, strict=True)]
        yield _check(2, f"base follows two examples' style, {task.name}", wilson(sum(followed), len(followed)), 0.9)


def _search(n: int) -> Iterator[Check]:
    task, base = get_task("countdown"), load_model("base")
    problems = task.problems(max(n // 2, 2), seed=31)
    run = evaluate(task, problems, base.sample([task.prompt(p, "cot") for p in problems], 64, 64, seed=31))
    gap = mean_score(run.passk_scores(64), 64).value - run.majority(64).value
    spread = run.passk_scores(64) - run.majority_scores(64)
    half = 1.96 * float(spread.std(ddof=1)) / len(spread) ** 0.5
    yield Check(3, "base, Countdown, pass@64 minus majority@64", gap, (gap - half, gap + half), (0.15, 1))
    if (family_folder() / "teacher" / "model.safetensors").is_file():
        teacher = load_model("teacher")
        found = _greedy(teacher, task, task.problems(n, seed=32), "search", 256)
        yield _check(3, "teacher, Countdown, search trace", found, 0.5)
        # Told apart: with four numbers there are many more moves, and a trace still tries few.
        for numbers in task.difficulties:
            found = _greedy(teacher, task, task.problems(n, seed=32, difficulty=numbers), "search", 256)
            yield _figure(3, f"teacher, Countdown, search trace, {numbers} numbers", found)


def _learnable(n: int, seeds: int) -> Iterator[Check]:
    task, base = get_task("chain"), load_model("base")
    problems = task.problems(n, seed=41, difficulty=(2, 3, 4, 5, 6))
    drawn = [g[0] for g in base.sample([task.prompt(p, "unmarked") for p in problems], 1, 96, seed=41)]
    styles = [style_of(task, p, c.text) for p, c in zip(problems, drawn, strict=True)]
    right = np.array([task.grade(c.text, p) == "correct" for p, c in zip(problems, drawn, strict=True)])
    direct, thought = np.array([s == "direct" for s in styles]), np.array([s != "direct" for s in styles])
    yield _check(4, "base alone answers directly", wilson(direct.sum(), n), 0.3, 0.7)
    yield _check(4, "base alone thinks first", wilson(thought.sum(), n), 0.3, 0.7)
    gain = float(right[thought].mean()) - float(right[direct].mean())
    half = 1.96 * float(right[thought].var() / thought.sum() + right[direct].var() / direct.sum()) ** 0.5
    yield Check(4, "chains' accuracy over direct answers'", gain, (gain - half, gain + half), (0.4, 1))

    reward, depths = correctness(task), (2, 3, 4, 5, 6)
    ask = batches(task, 16, seed=41, difficulty=depths)
    cosines = []
    for pair in range(4):
        two = (2 * pair, 2 * pair + 1)
        a, b = (gradient(base, ask(i), reward, PolicyGradientConfig(seed=i)) for i in two)
        cosines.append(float(a @ b / (a.norm() * b.norm())))
    spread = 1.96 * float(np.std(cosines, ddof=1)) / len(cosines) ** 0.5
    agree = float(np.mean(cosines))
    yield Check(4, "cosine of two batches' policy gradients", agree, (agree - spread, agree + spread), (0.2, 1))

    def accuracy(model: LanguageModel) -> float:
        drawn = model.sample([task.prompt(p, "unmarked") for p in problems], 4, 96, seed=43)
        return evaluate(task, problems, drawn).accuracy().value

    before = accuracy(base)
    lifts = []
    for seed in range(seeds):
        with TemporaryDirectory(prefix="srm-") as out:
            settings = PolicyGradientConfig(seed=seed)
            ask = batches(task, settings.prompts, seed=seed, difficulty=depths)
            lifts.append(accuracy(train_policy_gradient("base", ask, reward, settings, out).load()) - before)
    steps = PolicyGradientConfig().steps
    yield Check(
        4, f"smallest lift of {steps} GRPO steps over {seeds} seeds", min(lifts), (min(lifts), max(lifts)), (0.1, 1)
    )


def _probe(n: int) -> Iterator[Check]:
    """A linear head on the hidden states of a solution tells right from wrong on held-out problems."""
    import torch

    if not (family_folder() / "instruct" / "model.safetensors").is_file():
        return
    model, rng, learnt = load_model("instruct"), Random(51), 20 * n

    def read(asked: Prompt, said: str) -> np.ndarray:
        ids, more = model.encode(asked), model.tokenizer(f" {said}", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            states = model.model.model(torch.tensor([ids + more])).last_hidden_state[0, len(ids) :]
        return torch.cat([states.mean(0), states.min(0).values, states.max(0).values, states[-1]]).numpy()

    for task in (get_task("chain"), get_task("graph")):
        levels = task.difficulties[1:]
        problems = task.problems(learnt, split="train", seed=51, difficulty=levels)
        problems += task.problems(3 * n, seed=51, difficulty=levels)
        labels = np.arange(len(problems)) % 2 == 0
        shown = [
            list(p.steps) if good else task.corrupt(p, rng)[0]  # type: ignore[attr-defined]
            for p, good in zip(problems, labels, strict=True)
        ]
        states = np.array(
            [read(task.prompt(p, "cot"), ". ".join(s) + ".") for p, s in zip(problems, shown, strict=True)]
        )
        fitted = _fitted(states[:learnt], labels[:learnt], states[learnt:])
        yield _area(f"linear head on instruct, {task.name}, AUC", fitted, labels[learnt:], (0.8, 1))


def _fitted(states: np.ndarray, right: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What a logistic regression on some states says of others."""
    from sklearn.linear_model import LogisticRegression

    scale = states.std(0) + 1e-6
    head = LogisticRegression(C=0.01, max_iter=2000).fit(states / scale, right)
    return np.asarray(head.decision_function(others / scale))


def _area(name: str, scores: np.ndarray, right: np.ndarray, asked: tuple[float, float]) -> Check:
    """Area under the ROC curve with Hanley and McNeil's standard error."""
    from sklearn.metrics import roc_auc_score

    auc = float(roc_auc_score(right, scores))
    p, q = int(right.sum()), int((~right).sum())
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    error = ((auc * (1 - auc) + (p - 1) * (q1 - auc**2) + (q - 1) * (q2 - auc**2)) / (p * q)) ** 0.5
    return Check(5, name, auc, (auc - 1.96 * error, auc + 1.96 * error), asked)
