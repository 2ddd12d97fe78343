"""Solvers at equal budgets, with a scripted model whose answers and costs are known, and once on a bundled one."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from srm_utils.cli.main import app
from srm_utils.evaluation.results import read_parquet
from srm_utils.experiments import compare as comparing
from srm_utils.experiments.budgets import TRIALS, flops_of, largest_within
from srm_utils.experiments.compare import compare, sizes_in
from srm_utils.experiments.store import Comparison, _weights, only_solver
from srm_utils.inference.debate import Debate
from srm_utils.inference.entry import Setting, forget
from srm_utils.inference.entry import solver as register
from srm_utils.inference.registry import choose_solvers, registered_solvers
from srm_utils.inference.solver import Budget
from srm_utils.inference.together import Remembered
from srm_utils.inference.voting import SelfConsistency
from srm_utils.models import load_model
from srm_utils.models.language_model import Scored
from srm_utils.reporting.comparison import comparison_table, frontier_figure, matrix_figure, on_frontier, solved_figure
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.registry import task_names

SOLVERS = registered_solvers()
TASK = get_task("chain")
PROBLEMS = TASK.problems(40, split="test", seed=3)
TUNING = TASK.problems(8, split="validation", seed=3)
FLOPS = 10.0
#: Tokens of a scripted prompt and of a scripted answer.
ASKED, SAID = 20, 10


class Scripted:
    """Greedy is right on every third problem; a sample on any with probability 0.7. All texts are equally long.

    Sample i depends on the seed, the prompt and i alone; a prompt that stands twice in a call, with one seed and
    temperature, numbers on.
    """

    name, flops_per_token, end_ids = "scripted", FLOPS, (1,)

    def __init__(self, patience: int | None = None) -> None:
        self.drawn, self.calls, self.patience = 0, 0, patience
        self.answers = {p.question: p.answer for p in (*PROBLEMS, *TUNING)}
        self.place = {q: i for i, q in enumerate(self.answers)}

    def render(self, prompt) -> str:
        return prompt if isinstance(prompt, str) else prompt.text()

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, top_p=1.0, stop=(), seed=0):
        if self.patience is not None and self.calls >= self.patience:
            raise KeyboardInterrupt
        self.calls += 1
        limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else max_new_tokens
        seeds = [seed] * len(prompts) if isinstance(seed, int) else seed
        counts = [n] * len(prompts) if isinstance(n, int) else n
        heats = temperature if isinstance(temperature, list) else [temperature] * len(prompts)
        begun: Counter[tuple] = Counter()
        out = []
        for prompt, count, limit, heat, own in zip(prompts, counts, limits, heats, seeds, strict=True):
            text = self.render(prompt)
            begin = begun[text, own, heat]
            out.append([self._one(text, begin + i, heat, own, limit) for i in range(count)])
            begun[text, own, heat] += count
        self.drawn += sum(counts)
        return out

    def _one(self, text, i, temperature, seed, limit):
        (question,) = [q for q in self.answers if q in text]
        coin = hashlib.blake2b(f"{text}/{seed if temperature else 0}/{i}".encode()).digest()[0] / 256
        right = coin < 0.7 if temperature else self.place[question] % 3 == 0
        answer = self.answers[question] if right else str(900 + int(coin * 1000) % 7)
        words = f" The answer is {answer}."
        cost = Cost(generated_tokens=SAID, flops=FLOPS * SAID)
        return Completion(
            words, (7,) * (SAID - 1) + (1,), (-coin / 10,) * SAID, "stop", ASKED, cost, Cost(ASKED, flops=FLOPS * ASKED)
        )

    def score(self, prompts, completions):
        return [Scored((5,), (-0.1,), Cost(scored_tokens=9, flops=90.0)) for _ in prompts]


def setting(model=None, **more) -> Setting:
    return Setting(TASK, model or Scripted(), TUNING, **more)


CHAIN = FLOPS * (ASKED + SAID)


# ---------------------------------------------------------------- budgets and sizes


def test_the_largest_size_is_found_where_cost_is_a_line() -> None:
    for first in (0.0, 3.0, 40.0):
        for each in (1.0, 7.0):
            for allowed in (5.0, 60.0, 333.0):
                measured: list[int] = []

                def measure(size: int, first=first, each=each, measured=measured) -> float:
                    measured.append(size)
                    return first + each * size

                found = largest_within(measure, allowed, {})
                fits = [size for size in range(1, 65) if first + each * size <= allowed]
                assert found == max(fits, default=None), (first, each, allowed)
                assert len(measured) == len(set(measured)) <= TRIALS


def test_sizes_keep_to_the_budget_whatever_cost_does() -> None:
    for shape in (lambda n: n**2, lambda n: 100 * np.log1p(n), lambda n: 50 + min(n, 3)):
        known: dict[int, float] = {}
        size = largest_within(shape, 150.0, known, least=2, most=20)
        assert size is not None and 2 <= size <= 20 and shape(size) <= 150
        assert len(known) <= TRIALS and all(2 <= tried <= 20 for tried in known)
    assert largest_within(lambda n: 50 + min(n, 3), 150.0, {}, most=20) == 20, "costs level off: the most there is"
    assert largest_within(lambda n: 7.0 * n, 10.0, {}, least=2) is None


def test_earlier_trials_are_not_repeated() -> None:
    measured: list[int] = []
    known = {1: 10.0, 2: 20.0, 4: 40.0}
    assert largest_within(lambda n: measured.append(n) or 10.0 * n, 35.0, known) == 3
    assert measured == [3] and known[3] == 30.0


@pytest.mark.parametrize("text", ["", "x", "-2G", "2 apples", "0x", "1G2"])
def test_a_budget_that_cannot_be_read_is_said_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be read; give FLOPs per problem such as 500M or 2G, or 8x"):
        flops_of(text, 1.0)
    assert flops_of("0.5m", 1.0) == 5e5 and flops_of("2X", 30.0) == 60.0 and flops_of("3e9", 1.0) == 3e9


def test_every_solver_keeps_to_its_budget_and_uses_what_it_can() -> None:
    names = ["direct", "greedy", "self-consistency", "likeliest", "adaptive-consistency", "no-thinking", "debate"]
    found = compare(setting(), PROBLEMS, ["2x", "6x"], names, progress=False)
    assert found.budgets == ["2x", "6x"] and set(found.solvers) == set(names)
    for r in found.results:
        allowed = {"2x": 2, "6x": 6}[r.settings["budget"]] * CHAIN
        assert r.extra["allowed"] == pytest.approx(allowed)
        assert r.cost.flops <= allowed + 1e-6, "the scripted texts are equally long on every split"
        assert r.cost.flops == pytest.approx(np.mean(r.extra["flops"]))
        assert r.value == pytest.approx(np.mean(r.extra["correct"])) and r.n == len(PROBLEMS)
    votes = found.at("6x")["self-consistency"]
    # One prompt and n answers: 200 + 100 n FLOPs within 1800.
    assert votes.settings["size"] == 16 and votes.cost.flops == FLOPS * (ASKED + 16 * SAID)
    assert found.at("2x")["greedy"].extra["correct"] == found.at("6x")["greedy"].extra["correct"]
    assert len(found.points("greedy")) == 1 and len(found.points("self-consistency")) == 2
    assert "debate" not in found.at("2x"), "two agents who read each other cost more than two chains"
    assert "does not fit into 2x" in found.absent["debate"]


def test_a_budget_in_flops_needs_no_chain() -> None:
    found = compare(setting(), PROBLEMS[:4], ["900"], ["self-consistency"], progress=False)
    assert found.at("900")["self-consistency"].settings["size"] == 7
    with pytest.raises(ValueError, match="'2x' was not measured; there are 900"):
        found.at("2x")


def test_sizes_that_were_chosen_are_taken_over() -> None:
    chosen = {("self-consistency", "6x"): 3}
    given = compare(setting(), PROBLEMS, ["6x"], ["self-consistency"], sizes=chosen, progress=False)
    assert sizes_in(given.results) == chosen
    assert given.results[0].cost.flops == FLOPS * (ASKED + 3 * SAID)


# ---------------------------------------------------------------- nothing is drawn twice


def test_memory_gives_what_the_model_would_have_given() -> None:
    model = Scripted()
    memory = Remembered(model)
    a, b = (TASK.prompt(p) for p in PROBLEMS[:2])
    calls = [
        dict(prompts=[a, b], n=2), dict(prompts=[a], n=5), dict(prompts=[a, b, a], n=3), dict(prompts=[b], n=1, seed=4),
        dict(prompts=[a], n=1, temperature=0), dict(prompts=[a, a], n=2, max_new_tokens=[30, 40]),
        dict(prompts=[model.render(a)], n=2, stop=(".",)), dict(prompts=[], n=3),
        dict(prompts=[a, b], n=2, seed=[4, 9]), dict(prompts=[a, b, a], n=2, seed=[9, 9, 4]),
        dict(prompts=[a, a, b, a], n=[2, 1, 0, 3], seed=[9, 9, 4, 9], temperature=[1.0, 0.0, 0.5, 0.5]),
    ]  # fmt: skip
    for call in calls:
        assert memory.sample(**call) == Scripted().sample(**call), call
    before = model.drawn
    for call in calls:
        memory.sample(**call)
    assert model.drawn == before and memory.name == "scripted", "the second time nothing is drawn"
    assert memory.score([a, a, b], ["x", "x", "y"]) == Scripted().score([a, a, b], ["x", "x", "y"])


def test_solvers_on_one_memory_draw_the_samples_of_one() -> None:
    model = Scripted()
    compare(setting(model), PROBLEMS, ["6x"], ["self-consistency"], progress=False)
    alone = model.drawn
    model = Scripted()
    compare(setting(model), PROBLEMS, ["6x"], ["self-consistency", "likeliest", "weighted-vote"], progress=False)
    assert model.drawn == alone


@pytest.fixture(scope="module")
def small():
    return load_model("base-small")


def test_memory_changes_nothing_on_a_bundled_model(small) -> None:
    problems = TASK.problems(3, seed=1)
    memory = Remembered(small)
    for solver in (SelfConsistency(TASK), Debate(TASK), SelfConsistency(TASK)):
        for n in (2, 4, 3):
            fresh = solver.solve(problems, small, Budget(n, 32))
            kept = solver.solve(problems, memory, Budget(n, 32))
            assert [(a.answer, a.cost.flops) for a in fresh] == [(a.answer, a.cost.flops) for a in kept]


# ---------------------------------------------------------------- which apply


def test_every_solver_applies_or_says_why_in_one_sentence() -> None:
    for task in map(get_task, task_names()):
        names, absent = choose_solvers(task)
        assert names and not set(names) & set(absent) and set(names) | set(absent) == set(SOLVERS)
        for why in absent.values():
            assert why.endswith(".") and why.count(". ") == 0 and why[0].isupper(), why
    assert "graph-of-thoughts" in choose_solvers(get_task("sorting"))[0]
    assert "written-search" in choose_solvers(get_task("countdown"))[0]
    assert "mutual-consistency" in choose_solvers(TASK, partner=True)[0]
    assert choose_solvers(TASK, ["mutual-consistency", "greedy"]) == (
        ["greedy"],
        {"mutual-consistency": "It needs a second model; name one as the partner."},
    )


@pytest.mark.parametrize("name", ["round-table", "mutual-consistency", "routed"])
def test_a_solver_of_two_models_is_not_built_without_a_partner(name: str, small) -> None:
    with pytest.raises(ValueError, match="This solver needs a second model; name one as the partner."):
        SOLVERS[name].build(Setting(TASK, small, TASK.problems(2, split="validation")), 2)


@pytest.mark.parametrize("world", ["graph", "countdown", "sorting", "split-evidence"])
def test_every_solver_that_applies_runs(world: str, small) -> None:
    task = get_task(world)
    shared = Setting(task, Remembered(small), task.problems(2, split="validation"), small, 24)
    names, _ = choose_solvers(task, partner=True)
    problems = task.problems(2, split="test", difficulty=task.difficulties[0])
    for name in names:
        method = SOLVERS[name]
        size = min(method.most, max(method.least, 2))
        attempts = method.build(shared, size).solve(problems, shared.model, method.budget(shared, size))
        assert [a.problem_id for a in attempts] == [p.id for p in problems]
        assert all(a.cost.flops > 0 for a in attempts), name


def test_wrong_names_and_wrong_splits_are_one_sentence() -> None:
    with pytest.raises(ValueError, match="There is no solver 'debat'; did you mean debate."):
        choose_solvers(TASK, ["debat"])
    with pytest.raises(ValueError, match="None of these solvers can be run: exchange: It is made for the task"):
        choose_solvers(TASK, ["exchange"])
    with pytest.raises(ValueError, match="compare on another split"):
        compare(setting(), TUNING, ["2x"], ["greedy"], progress=False)
    with pytest.raises(ValueError, match="No solver fits into 50; allow a larger budget."):
        compare(setting(), PROBLEMS, ["50"], ["greedy"], progress=False)
    with pytest.raises(ValueError, match="at least one problem"):
        compare(setting(), [], ["2x"], ["greedy"], progress=False)


# ---------------------------------------------------------------- what a comparison says


def test_planted_differences_come_out_of_a_comparison() -> None:
    found = compare(setting(), PROBLEMS, ["6x"], ["greedy", "self-consistency"], progress=False)
    matrix = found.matrix("6x")
    assert matrix.verdict("self-consistency", "greedy") == "better", "a third right against a vote of 0.7"
    alone = only_solver(found.scores("6x"))
    vote, greedy = found.scores("6x")["self-consistency"], found.scores("6x")["greedy"]
    assert alone["self-consistency"] == [i for i in range(40) if vote[i] and not greedy[i]]


# ---------------------------------------------------------------- killed and gone on with


def stripped(found: Comparison) -> list[dict]:
    records = [r.to_record() for r in found.results]
    return [{k: v for k, v in r.items() if k != "seconds"} for r in records]


NAMES = ["greedy", "self-consistency", "likeliest", "debate"]


@pytest.mark.parametrize(("patience", "abreast"), [(1, 1), (4, 1), (7, 1), (11, 1), (1, 4), (4, 4), (6, 4), (7, 4)])
def test_a_killed_comparison_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int, abreast: int
) -> None:
    monkeypatch.setattr(comparing, "SHARED_ROWS", abreast * len(PROBLEMS))

    def run(model: Scripted, folder: str) -> Comparison:
        return compare(setting(model), PROBLEMS, ["3x", "6x"], NAMES, tmp_path / folder, progress=False)

    whole = run(Scripted(), "whole")
    with pytest.raises(KeyboardInterrupt):
        run(Scripted(patience), "cut")
    for name in ("trials.jsonl", "results.jsonl"):
        file = tmp_path / "cut" / name
        if file.exists():  # the kill came while a line was being written
            file.write_text(file.read_text() + '{"solver": "gre')
    assert stripped(run(Scripted(), "cut")) == stripped(whole)
    unwilling = Scripted(patience=0)
    assert stripped(run(unwilling, "cut")) == stripped(whole), "what is finished is not run again"
    assert stripped(Comparison(tuple(read_parquet(tmp_path / "cut" / "results.parquet")), {})) == stripped(whole)


def test_solvers_and_budgets_can_be_added_to_a_folder(tmp_path: Path) -> None:
    compare(setting(), PROBLEMS, ["6x"], ["greedy"], tmp_path, progress=False)
    names = ["greedy", "likeliest"]
    more = compare(setting(), PROBLEMS, ["3x", "6x"], names, tmp_path, progress=False)
    assert stripped(more) == stripped(compare(setting(), PROBLEMS, ["3x", "6x"], names, progress=False))


def test_a_folder_keeps_to_one_comparison(tmp_path: Path) -> None:
    compare(setting(), PROBLEMS, ["3x"], ["greedy"], tmp_path, progress=False)
    with pytest.raises(ValueError, match="holds a comparison with other seed; name another folder"):
        compare(setting(seed=1), PROBLEMS, ["3x"], ["greedy"], tmp_path, progress=False)
    with pytest.raises(ValueError, match="other problems"):
        compare(setting(), PROBLEMS[1:], ["3x"], ["greedy"], tmp_path, progress=False)
    (tmp_path / "results.jsonl").write_text("{broken}\n")
    with pytest.raises(ValueError, match="results.jsonl is damaged; remove it"):
        compare(setting(), PROBLEMS, ["3x"], ["greedy"], tmp_path, progress=False)


def test_retrained_weights_are_another_model(small) -> None:
    import torch

    before = _weights(small)
    weight = next(iter(small.model.parameters()))
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] += 1
        after = _weights(small)
        weight.copy_(kept)
    assert before != after and _weights(small) == before


# ---------------------------------------------------------------- shown


def test_table_and_figures_say_what_was_measured() -> None:
    found = compare(setting(), PROBLEMS, ["2x", "6x"], [*NAMES, "direct"], progress=False)
    table = comparison_table(found)
    assert len(table) == len(found.results)
    top = table.loc["6x"]
    assert top.iloc[0]["against the best"] == "best" and (top["against the best"] == "best").sum() == 1
    assert top.loc["greedy", "against the best"] == "worse" and top.loc["greedy", "size"] == 1
    assert top.loc["self-consistency", "spent"] == "100%"
    assert set(on_frontier(found.curves())) <= set(found.solvers)
    figure = frontier_figure(found.curves(), always=["greedy"])
    texts = " ".join(t.get_text() for t in figure.axes[0].texts)
    assert all(name in texts for name in found.solvers), "every solver is named"
    cells = [t.get_text() for t in matrix_figure(found.matrix("6x")).axes[0].texts]
    assert len(cells) == len(found.at("6x")) ** 2 and any(c.startswith("+") for c in cells)
    shown = solved_figure(found.scores("6x")).axes[0]
    solved = np.stack(list(found.scores("6x").values())).sum(0)
    parted = int(((solved > 0) & (solved < len(found.at("6x")))).sum())
    assert shown.get_xlabel().startswith(f"{parted} problems")


# ---------------------------------------------------------------- the command


def srm(*arguments: str):
    done = CliRunner().invoke(app, ["compare", *arguments], prog_name="srm")
    return done.exit_code, done.stdout, done.stderr


def test_the_command_compares_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("greedy", "self-consistency", "exchange", "--task", "chain", "--model", "base-small", "--budget", "3x")
    few = ("--problems", "6", "--tuning", "3", "--tokens", "48")
    code, said, error = srm(*asked, *few)
    assert code == 0, error
    assert "self-consistency" in said and "against the best" in said
    assert "exchange: It is made for the task 'split-evidence' alone." in error
    folder = tmp_path / "runs" / "compare" / "chain-base-small"
    assert (folder / "frontier.png").stat().st_size > 5000 and "greedy" in (folder / "table.txt").read_text()
    lines = (folder / "results.jsonl").read_text()
    assert len(lines.splitlines()) == 2 and json.loads(lines.splitlines()[0])["settings"]["budget"] == "3x"
    assert srm(*asked, *few)[:2] == (0, said) and (folder / "results.jsonl").read_text() == lines


def test_the_command_lists_solvers() -> None:
    code, said, _ = srm("--list", "--task", "sorting")
    assert code == 0 and len(said.splitlines()) == len(SOLVERS)
    assert re.search(r"^debate .*du2023improving", said, re.M)
    assert re.search(r"^program-of-thought .*NOT HERE: The task 'sorting' has no style 'program'\.$", said, re.M)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["debat"], "There is no solver 'debat'; did you mean debate or"),
        (["--task", "grap"], "There is no task 'grap'; did you mean graph,"),
        (["--budget", "lots"], "The budget 'lots' cannot be read;"),
        (["greedy", "--model", "bas"], "There is no bundled model 'bas'; did you mean"),
        (["--split", "tset"], "There is no split 'tset'; choose one of"),
        (["greedy", "--split", "validation", "--model", "base-small"], "Sizes are chosen on validation problems;"),
    ],
)
def test_mistakes_on_the_command_line_are_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = srm(*arguments)
    assert code == 2 and error.startswith(sentence) and error.count("\n") == 1, error
    assert not (tmp_path / "runs").exists(), "a mistake leaves nothing behind"


@pytest.fixture
def interrupted() -> Iterator[str]:
    """A solver of a person's own, during which Ctrl-C is pressed."""

    @register("interrupted", "a person presses Ctrl-C")
    def build(setting, size):
        raise KeyboardInterrupt

    yield "interrupted"
    forget("interrupted")


def test_ctrl_c_says_where_what_is_finished_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparing, "SHARED_ROWS", 1)  # one after the other
    where = ("--task", "chain", "--model", "base-small", "--budget", "3x")
    code, _, error = srm("greedy", interrupted, *where, "--problems", "3", "--tuning", "2", "--tokens", "32")
    assert code == 130 and "What was finished is in runs/compare/chain-base-small; the same command goes on" in error
    assert "greedy" in (tmp_path / "runs" / "compare" / "chain-base-small" / "results.jsonl").read_text()


# ---------------------------------------------------------------- how a solver gets its name


def test_a_solver_of_ones_own_is_listed_last_and_its_name_is_not_taken_twice(interrupted: str) -> None:
    assert [*SOLVERS, interrupted] == list(registered_solvers())
    with pytest.raises(ValueError, match="Another solver is called 'interrupted'; choose another name"):
        register("interrupted", "again")(lambda setting, size: None)
    assert registered_solvers()["interrupted"].about == "a person presses Ctrl-C"


@pytest.mark.parametrize("first", ["voting", "tree_of_thoughts"])
def test_what_is_imported_first_does_not_change_the_order(first: str) -> None:
    code = f"import srm_utils.inference.{first}\nfrom srm_utils.inference.registry import registered_solvers\n"
    done = subprocess.run([sys.executable, "-c", f"{code}print(*registered_solvers())"], capture_output=True, text=True)
    assert done.stdout.split() == list(SOLVERS), done.stderr


def test_solvers_stand_in_the_order_of_the_notebooks_that_explain_them() -> None:
    shown = [entry.notebook for entry in SOLVERS.values()]
    assert shown == sorted(shown) and len(SOLVERS) == 34
    files = {path.name.split("_")[0] for path in Path(__file__).parents[1].glob("notebooks/*/*.ipynb")}
    assert set(shown) <= files


# ---------------------------------------------------------------- two bills


def test_a_prefix_cache_pays_for_a_wider_search_and_for_no_more_votes(small, tmp_path: Path) -> None:
    task = get_task("graph")
    asked = Setting(task, small, task.problems(2, split="validation", difficulty=2), None, 24)
    problems = task.problems(2, split="test", difficulty=2)
    names, folder = ["self-consistency", "beam-search"], tmp_path / "both"
    plain = compare(asked, problems, ["6x"], names, folder, progress=False)
    cached = compare(asked, problems, ["6x"], names, folder, bill="prefix cache", progress=False)
    for found, kind in ((plain, "flops"), (cached, "cached_flops")):
        for r in found.at("6x").values():
            assert found.spent(r) == getattr(r.cost, kind) == pytest.approx(np.mean(r.extra[kind]))
    width = {c.bill: c.at("6x")["beam-search"].settings["size"] for c in (plain, cached)}
    assert width["prefix cache"] > width["no cache"]
    votes = [c.at("6x")["self-consistency"] for c in (plain, cached)]
    assert [r.cost.reread_flops for r in votes] == [0, 0], "one call reads its prompt once on either bill"
    again = compare(asked, problems, ["6x"], names, folder, bill="prefix cache", progress=False)
    assert again.results == cached.results, "and nothing is measured twice"
