"""Tree and beam search against exhaustive enumeration of a small scripted tree, and once on a bundled model."""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import replace

import pytest

from srm_utils.inference.beam_search import BeamSearch, DiverseVerifierTreeSearch, RankedSamples, best_scored
from srm_utils.inference.chain_of_thought import Prompting
from srm_utils.inference.solver import Budget
from srm_utils.inference.state_scores import by_rule, guided, judged_step, likelihood, product
from srm_utils.inference.thoughts import Branch, Search, Steps, Thought, last, rate
from srm_utils.inference.tree_of_thoughts import (
    BreadthFirst,
    DepthFirst,
    countdown_value,
    exact_value,
    numbers_left,
    votes,
)
from srm_utils.inference.voting import weighted
from srm_utils.models.language_model import Scored
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task

TASK = get_task("chain")
PROBLEMS = TASK.problems(3, seed=4, difficulty=2)
END = 1
DEPTH, FAN = 3, 3
#: Each inner step has FAN followers, and after DEPTH steps an answer is stated.
PATHS = list(itertools.product(range(1, FAN + 1), repeat=DEPTH))


def step(digit: int) -> str:
    return f" {digit} + 0 = {digit}."


def leaf(path: tuple[int, ...]) -> str:
    return "".join(map(step, path)) + f" The answer is {''.join(map(str, path))}."


def told(text: str) -> list[int]:
    """The digits of the steps in a text."""
    return [int(part.split()[0]) for part in text.split("The answer")[0].split(".") if part.strip()]


class Scripted:
    """Writes the small tree: the i-th of n samples takes follower i (mod FAN). Says Yes as a rule tells it to."""

    end_ids = (END,)

    def __init__(self, yes=lambda prompt: 0.5) -> None:
        self.yes = yes
        self.calls: list[list[str]] = []
        self.scored: list[list] = []

    def render(self, prompt) -> str:
        return prompt if isinstance(prompt, str) else prompt.text()

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, stop=(), seed=0):
        self.calls.append(list(prompts))
        limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else max_new_tokens
        prompts = [self.render(p) for p in prompts]
        return [[self._one(p, i, limit, stop) for i in range(n)] for p, limit in zip(prompts, limits, strict=True)]

    def _one(self, prompt: str, i: int, limit: int, stop) -> Completion:
        digits = told(prompt.rsplit("Answer:", 1)[1])
        start, text = len(digits), ""
        while len(digits) < DEPTH and not (stop and text):
            digits.append(i % FAN + 1)
            text += step(digits[-1])
        if start == DEPTH or not stop:
            text += f" The answer is {''.join(map(str, digits))}."
        words = text.split()
        cut = len(words) > limit
        text = " " + " ".join(words[:limit]) if cut else text
        ids = tuple([7] * min(len(words), limit))
        if stop and not cut:
            text = text.removesuffix(".")
        elif not cut:
            ids += (END,)
        cost = Cost(generated_tokens=len(ids), flops=10.0 * len(ids))
        return Completion(
            text,
            ids,
            (-0.1,) * len(ids),
            "length" if cut else "stop",
            len(prompt.split()),
            cost,
            Cost(len(prompt.split()), flops=10.0 * len(prompt.split())),
        )

    def score(self, prompts, completions):
        self.scored.append(list(prompts))
        return [
            Scored((5,), (math.log(self.yes(prompt)),), Cost(scored_tokens=9, flops=90.0))
            for prompt, _ in zip(prompts, completions, strict=True)
        ]


def noise(problem, text: str) -> float:
    """A score without any structure, from 0 to 1, the same on every machine."""
    return hashlib.blake2b(f"{problem.id}{text}".encode()).digest()[0] / 255


STEPS = Steps(TASK)
ALL = Budget(samples=FAN ** (DEPTH + 1), max_new_tokens=100)


def best_leaf(problem, paths=PATHS) -> str:
    return "".join(map(str, max(paths, key=lambda path: noise(problem, leaf(path)))))


def written(thought, path: str = ""):
    """Every leaf of a tree of thoughts, as its whole text."""
    if not thought.children:
        return [path]
    return [text for child in thought.children for text in written(child, f"{path} {child.text}")]


def greedy(problem, score=noise, depth=DEPTH):
    """The path of the best single step at each level."""
    path: tuple[int, ...] = ()
    for _ in range(depth):
        path += (max(range(1, FAN + 1), key=lambda d: score(problem, "".join(map(step, (*path, d))))),)
    return path


# ---------------------------------------------------------------- exhaustive search is the oracle

inner_first = by_rule(lambda problem, text: noise(problem, text) if "answer" in text else 2.0)


@pytest.mark.parametrize(
    "solver",
    [
        BreadthFirst(STEPS, by_rule(noise), breadth=len(PATHS)),
        BeamSearch(STEPS, by_rule(noise), width=FAN),
        # Inner thoughts pass, no answer does: everything is visited.
        DepthFirst(STEPS, inner_first, branching=FAN, threshold=1.5),
        RankedSamples(STEPS, by_rule(noise)),
    ],
    ids=lambda solver: solver.name,
)
def test_a_search_wide_enough_finds_the_best_of_all_leaves(solver) -> None:
    budget = Budget(samples=FAN ** (DEPTH + 1), max_new_tokens=100)
    if isinstance(solver, BreadthFirst):
        budget = Budget(samples=FAN * len(PATHS), max_new_tokens=100)
    paths = [(d,) * DEPTH for d in range(1, FAN + 1)] if isinstance(solver, RankedSamples) else PATHS
    for problem, attempt in zip(PROBLEMS, solver.solve(PROBLEMS, Scripted(), budget), strict=True):
        assert attempt.answer == best_leaf(problem, paths)
        assert sorted(set(written(attempt.trace))) == sorted(leaf(path) for path in paths)
        (chosen,) = [t for t in attempt.trace.walk() if t.status == "chosen" and "answer" in t.text]
        assert chosen.score == max(noise(problem, leaf(path)) for path in paths)


def test_breadth_one_is_greedy_and_prunes_the_rest() -> None:
    for problem, attempt in zip(
        PROBLEMS, BreadthFirst(STEPS, by_rule(noise), 1).solve(PROBLEMS, Scripted(), Budget(FAN, 100)), strict=True
    ):
        assert attempt.answer == "".join(map(str, greedy(problem)))
        marks = [t.status for t in attempt.trace.walk()][1:]
        assert marks.count("pruned") == DEPTH * (FAN - 1) and marks.count("chosen") == DEPTH + 1


def test_beams_are_a_beam_search_by_hand() -> None:
    """N = 6, M = 3: two beams, three followers each; and the product over steps instead of the last one."""
    for aggregate in (last, math.prod):
        solved = BeamSearch(STEPS, by_rule(noise), 3, aggregate).solve(PROBLEMS, Scripted(), Budget(6, 100))
        for problem, attempt in zip(PROBLEMS, solved, strict=True):

            def total(path, problem=problem, aggregate=aggregate, end=False):
                texts = ["".join(map(step, path[: i + 1])) for i in range(len(path))] + ([leaf(path)] if end else [])
                return aggregate([noise(problem, t) for t in texts])

            beams = [()]
            for _ in range(DEPTH):
                beams = sorted(((*b, d) for b in beams for d in range(1, FAN + 1)), key=total, reverse=True)[:2]
            best = max(beams, key=lambda path: total(path, end=True))
            assert attempt.answer == "".join(map(str, best))


def test_separate_trees_keep_apart_where_beams_crowd() -> None:
    """Three of the six draws of a level start with 1, which the score likes: both beams are in that subtree."""
    likes_one = by_rule(lambda problem, text: 2.0 - sum(told(text)[1:]) / 100 if text.startswith(" 1") else 1.0)
    (crowded,) = BeamSearch(STEPS, likes_one, 3).solve(PROBLEMS[:1], Scripted(), Budget(6, 100))
    kept = {t.text for t in crowded.trace.children if t.children}
    assert kept == {"1 + 0 = 1.", "2 + 0 = 2."}, "of the first three the best two"
    assert all(text.startswith(" 1") for text in written(crowded.trace) if "answer" in text)
    (apart,) = DiverseVerifierTreeSearch(STEPS, likes_one, 3).solve(PROBLEMS[:1], Scripted(), Budget(6, 100))
    assert len([t for t in apart.trace.walk() if "answer" in t.text]) == 2, "each tree has its end"


def test_one_separate_tree_is_one_beam() -> None:
    tree = DiverseVerifierTreeSearch(STEPS, by_rule(noise), 3).solve(PROBLEMS, Scripted(), Budget(3, 100))
    beam = BeamSearch(STEPS, by_rule(noise), 3).solve(PROBLEMS, Scripted(), Budget(3, 100))
    assert [(a.answer, a.trace, a.cost) for a in tree] == [(a.answer, a.trace, a.cost) for a in beam]


# ---------------------------------------------------------------- what depth first does


def test_depth_first_goes_back_after_a_dead_end() -> None:
    """The best first step leads only to bad answers, the second best to a good one."""

    def rule(problem, text):
        digits = told(text)
        if "answer" in text:
            return float(digits == [2, 3, 1])
        return {1: 0.9, 2: 0.8, 3: 0.1}[digits[0]] if len(digits) == 1 else 0.6

    (attempt,) = DepthFirst(STEPS, by_rule(rule), 3, 0.5).solve(PROBLEMS[:1], Scripted(), Budget(100, 100))
    assert attempt.answer == "231"
    first, second, third = attempt.trace.children
    assert len(written(first)) == FAN**2, "all under the first is searched"
    assert third.status == "pruned" and not third.children
    # It stops at its answer: 2 1 and its three ends, 2 2 and its three, 2 3 and the first of its.
    assert [t.status for t in second.children] == ["kept", "kept", "chosen"]
    assert len(second.children[2].children[1].children) == 0


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_depth_first_keeps_to_its_budget_and_still_answers(nodes) -> None:
    model = Scripted()
    solved = DepthFirst(STEPS, inner_first, FAN, 1.5).solve(PROBLEMS, model, Budget(nodes, 100))
    for attempt in solved:
        opened = [t for t in attempt.trace.walk() if len(t.children) > 1]
        assert len(opened) <= nodes and attempt.answer is not None
    asked = sum(bool(call) for call in model.calls)
    assert asked == nodes + (nodes <= DEPTH), "one call a turn, and one to write out what is open"


# ---------------------------------------------------------------- equal for every search

SOLVERS = [
    BreadthFirst(STEPS, by_rule(noise), 2),
    DepthFirst(STEPS, inner_first, FAN, 1.5),
    BeamSearch(STEPS, by_rule(noise), 2),
    DiverseVerifierTreeSearch(STEPS, by_rule(noise), 2),
    RankedSamples(STEPS, by_rule(noise)),
]
each_solver = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)


@each_solver
def test_all_problems_advance_in_the_calls_that_one_takes(solver) -> None:
    many, one = Scripted(), Scripted()
    together = solver.solve(PROBLEMS, many, Budget(4, 100))
    alone = [solver.solve([p], one, Budget(4, 100))[0] for p in PROBLEMS[:1]]
    assert len(many.calls) == len(one.calls)
    assert together[0] == alone[0]
    assert [a.problem_id for a in together] == [p.id for p in PROBLEMS]
    assert solver.solve([], Scripted(), Budget(4, 100)) == []


@each_solver
def test_every_token_and_every_judgement_is_paid_for(solver) -> None:
    paid = replace(solver, score=product(solver.score, judged_step))
    free, costly = Scripted(), Scripted(lambda prompt: 1.0)
    plain = solver.solve(PROBLEMS, free, Budget(4, 100))
    judged = paid.solve(PROBLEMS, costly, Budget(4, 100))
    assert [a.trace for a in plain] == [a.trace for a in judged], "a judge that always says Yes changes nothing"
    asked = sum(map(len, costly.scored))
    assert asked > 0 and sum(a.cost.scored_tokens for a in judged) == 9 * asked
    for a, b in zip(plain, judged, strict=True):
        assert b.cost.flops - a.cost.flops == 10 * b.cost.scored_tokens
        assert a.cost.flops == 10 * (a.cost.prompt_tokens + a.cost.generated_tokens) and a.cost.scored_tokens == 0


@each_solver
def test_a_solution_is_no_longer_than_the_budget(solver) -> None:
    for attempt in solver.solve(PROBLEMS, Scripted(), Budget(4, 7)):
        assert attempt.answer is None and attempt.grade == "unparsable"
        ends = [t for t in attempt.trace.walk() if t.status == "dead"]
        assert ends and all(len(text.split()) <= 7 for text in written(attempt.trace))


@each_solver
def test_equal_scores_take_what_was_drawn_first(solver) -> None:
    flat = replace(solver, score=by_rule(lambda problem, text: 1.0))
    if isinstance(solver, DepthFirst):
        flat = replace(flat, threshold=0.5)
    for attempt in flat.solve(PROBLEMS, Scripted(), Budget(4, 100)):
        assert attempt.answer == "1" * DEPTH


def test_a_shared_prompt_is_read_once() -> None:
    """Two trees from one root: the question is read once, the samples of both are paid for."""
    model = Scripted()
    budget = Budget(4, 100)
    (one,) = DiverseVerifierTreeSearch(STEPS, by_rule(noise), 2).solve(PROBLEMS[:1], model, budget)
    read = [len(set(call)) * 1 for call in model.calls]
    words = sum(len(p.split()) for call in model.calls for p in set(call))
    assert len(model.calls[0]) == 2 and read[0] == 1
    assert one.cost.prompt_tokens == words


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="use at least 1"):
        BreadthFirst(STEPS, likelihood, breadth=0)
    with pytest.raises(ValueError, match="at least 1 next step"):
        BeamSearch(STEPS, likelihood, width=0)
    with pytest.raises(ValueError, match="from 0 to 1"):
        guided(likelihood, 1.5)


# ---------------------------------------------------------------- depth


@pytest.mark.parametrize("depth", range(DEPTH + 2))
def test_after_so_many_levels_the_rest_is_written_greedily(depth) -> None:
    for problem, attempt in zip(
        PROBLEMS, BreadthFirst(STEPS, by_rule(noise), 1, depth).solve(PROBLEMS, Scripted(), Budget(3, 100)), strict=True
    ):
        path = greedy(problem, depth=min(depth, DEPTH))
        # The scripted greedy continuation writes 1 throughout.
        assert attempt.answer == "".join(map(str, path + (1,) * (DEPTH - len(path))))


# ---------------------------------------------------------------- scores


def branch_of(*texts: str, logprobs=None) -> Branch:
    branch = Branch("")
    for text, logprob in zip(texts, logprobs or [-0.2] * len(texts), strict=True):
        branch = Branch(text, branch, logprob, 2)
    return branch


def test_likelihood_is_per_token_over_the_whole_branch_and_free() -> None:
    branch = branch_of(" a.", " b.", logprobs=[-1.0, -0.2])
    assert likelihood(None, [(PROBLEMS[0], branch)]) == ([-0.3], [Cost()])


def test_the_judge_sees_the_steps_and_the_same_question_is_paid_once() -> None:
    problem = PROBLEMS[0]
    same = [branch_of(" 1 + 0 = 1."), branch_of(" 1 + 0 = 1."), branch_of(" Well then."), branch_of(" 2 + 0 = 2.")]
    model = Scripted(lambda prompt: 0.25 if "1 + 0 = 1" in prompt.question else 0.75)
    values, costs = judged_step(model, [(problem, b) for b in same])
    assert values == pytest.approx([0.25, 0.25, 1.0, 0.75])
    assert [c.scored_tokens for c in costs] == [9, 0, 0, 9]
    assert [p.instruction for p in model.scored[0]] == ["Is the last step right?"] * 2


def test_votes_cancel_a_liking_for_one_letter() -> None:
    problem = PROBLEMS[0]
    branches = [branch_of(f" {i} + 0 = {i}.") for i in range(1, 6)]
    always_a = Scripted(lambda prompt: 0.9)
    values, costs = votes(always_a, [(problem, b) for b in branches])
    assert values == pytest.approx([0.5] * 5) and len(always_a.scored[0]) == 10
    assert sum(c.scored_tokens for c in costs) == 90

    def larger(prompt):
        a, b = (int(part.split()[0]) for part in prompt.question.split(" A: ")[1].split(" B: "))
        return 1 - 1e-12 if a > b else 1e-12

    values, _ = votes(Scripted(larger), [(problem, b) for b in branches], opponents=4)
    assert values == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert votes(Scripted(), [(problem, branches[0])])[0] == [1.0]


def test_votes_stay_within_a_problem() -> None:
    beginnings = [(p, branch_of(f" {i} + 0 = {i}.")) for i in (1, 2, 3) for p in PROBLEMS[:2]]
    together = votes(Scripted(lambda p: 0.9 if "1 + 0" in p.question else 0.2), beginnings)
    for k in range(2):
        alone = votes(Scripted(lambda p: 0.9 if "1 + 0" in p.question else 0.2), beginnings[k::2])
        assert (together[0][k::2], together[1][k::2]) == alone


def test_the_likelihood_is_mixed_in_as_powers() -> None:
    branch = branch_of(" a.", logprobs=[-2.0])
    for weight in (0.0, 0.5, 1.0):
        ((value,), _) = guided(by_rule(lambda p, t: 0.4), weight)(None, [(PROBLEMS[0], branch)])
        assert value == pytest.approx(math.exp(-2.0) ** weight * 0.4 ** (1 - weight))


def test_best_scored_and_weighted_choose_differently() -> None:
    answers, scores = ["4", "5", "5", None], [0.6, 0.5, 0.4, 0.9]
    assert best_scored(answers, scores) == "4" and weighted(answers, scores) == "5"
    assert best_scored([None], [1.0]) is None
    many = BeamSearch(STEPS, by_rule(noise), 1, choose=lambda answers, scores: sorted(answers)[-1])
    assert many.solve(PROBLEMS[:1], Scripted(), Budget(3, 100))[0].answer[0] == "3", "a student's choice replaces ours"


def test_scores_are_asked_for_once() -> None:
    seen = []
    score = by_rule(lambda problem, text: seen.append((problem.id, text)) or 0.5)
    BreadthFirst(STEPS, score, 4).solve(PROBLEMS, Scripted(), Budget(8, 100))
    assert len(seen) == len(set(seen)) > 20
    search, branch = Search(PROBLEMS[0]), branch_of(" 1 + 0 = 1.")
    rate(None, by_rule(lambda p, t: 0.5), [search], [[branch]])
    rate(None, by_rule(lambda p, t: 0.1), [search], [[branch]])
    assert search.scores[branch] == 0.5


# ---------------------------------------------------------------- Countdown

COUNTDOWN = get_task("countdown")


def countdown_problem():
    (problem,) = COUNTDOWN.problems(1, seed=2, difficulty=3)
    return replace(problem, facts={"numbers": [8, 3, 5], "target": 29})


def test_numbers_left_follow_the_moves_and_trust_their_results() -> None:
    problem = countdown_problem()
    assert numbers_left(problem, "") == [8, 3, 5]
    assert sorted(numbers_left(problem, " 8 * 3 = 24. Left")) == [5, 24]
    assert sorted(numbers_left(problem, " 8 * 3 = 25. Left")) == [5, 25], "arithmetic is for the judge"
    assert numbers_left(problem, " 8 * 4 = 32. Left") is None and numbers_left(problem, " 8 * 8 = 64. Left") is None
    assert numbers_left(problem, " 8 * 3 = 24. Left 24, 5. 24 + 5 = 29. The answer is ( 8 * 3 ) + 5.") == [29]


def test_the_value_is_asked_of_states_and_compared_at_the_end() -> None:
    problem = countdown_problem()
    model = Scripted(lambda prompt: 0.7 if prompt.question == "Left 24, 5. Can they make 29?" else 0.1)
    texts = (" 8 * 3 = 24. Left", " 8 + 3 = 11. Left", " 9 + 1 = 10. Left")
    values, costs = countdown_value(model, [(problem, branch_of(t)) for t in texts])
    assert values == pytest.approx([0.7, 0.1, 0.0]) and [c.scored_tokens for c in costs] == [9, 9, 0]
    whole = [" 24, 5. 24 + 5 = 29. The answer is ( 8 * 3 ) + 5.", " 24, 5. 24 - 5 = 19. The answer is ( 8 * 3 ) - 5."]
    ends = [replace(branch_of(texts[0], t), ended=True) for t in whole]
    early = replace(branch_of(texts[0]), ended=True)
    values, costs = countdown_value(model, [(problem, b) for b in [*ends, early]])
    assert values == [1.0, 0.0, 0.0] and costs == [Cost()] * 3


def test_the_exact_value_is_that_of_the_state() -> None:
    problem = countdown_problem()
    assert exact_value(problem, " 8 * 3 = 24. Left") == 1.0
    assert exact_value(problem, " 8 + 3 = 11. Left") == 0.0
    assert exact_value(problem, " 8 * 3 = 25. Left") == 0.0
    assert exact_value(problem, " 8 * 3 = 24. Left 24, 5. 24 + 5 = 29. The answer is ( 8 * 3 ) + 5.") == 1.0


def test_a_written_search_is_a_style_of_prompting() -> None:
    """Stream of Search: one greedy text with its dead ends, graded by the answer that it ends in."""
    problems = COUNTDOWN.problems(3, seed=5, difficulty=4)
    texts = {p.question: COUNTDOWN.solution(p, "search") for p in problems}

    class Stream(Scripted):
        def sample(self, prompts, n, max_new_tokens, temperature):
            assert temperature == 0
            said = [texts[p.question] for p in prompts]
            cost = Cost(generated_tokens=3)
            return [[Completion(f" {text}", (1, 2, 3), (0.0,) * 3, "stop", 5, cost)] for text in said]

    solved = Prompting(COUNTDOWN, "search").solve(problems, Stream(), Budget(1, 300))
    assert [a.grade for a in solved] == ["correct"] * 3 and {a.cost.tokens for a in solved} == {8}
    assert all("Try " in text for text in texts.values()) and any("Back to" in text for text in texts.values())


# ---------------------------------------------------------------- a real model


@pytest.fixture(scope="module")
def base():
    from srm_utils.models import load_model

    return load_model("base", device="cpu")


@pytest.mark.parametrize(
    "solver",
    [
        BreadthFirst(Steps(COUNTDOWN, end="Left"), product(judged_step, countdown_value), 2),
        DepthFirst(Steps(COUNTDOWN, end="Left"), by_rule(exact_value), 3),
        DiverseVerifierTreeSearch(Steps(COUNTDOWN, end="Left"), likelihood, 2),
    ],
    ids=lambda s: s.name,
)
def test_on_a_bundled_model_batching_changes_nothing(base, solver) -> None:
    problems = COUNTDOWN.problems(3, seed=8)
    together = solver.solve(problems, base, Budget(6, 64))
    alone = [solver.solve([p], base, Budget(6, 64))[0] for p in problems]
    for a, b in zip(together, alone, strict=True):
        assert a.answer == b.answer
        assert [(t.text, t.status) for t in a.trace.walk()] == [(t.text, t.status) for t in b.trace.walk()]
        assert a.cost.flops == b.cost.flops


def test_rendered_prompts_are_read_as_the_model_reads_them(base) -> None:
    """A beginning continues on exactly the tokens that were drawn."""
    (problem,) = COUNTDOWN.problems(1, seed=8)
    steps = Steps(COUNTDOWN, end="Left")
    ((first, *_),), _ = steps.draw(base, [(problem, Branch(""))], 2, 64)
    prompt = COUNTDOWN.prompt(problem, "cot")
    assert base.encode(base.render(prompt)) == base.encode(prompt)
    assert len(base.encode(base.render(prompt) + first.text)) == len(base.encode(prompt)) + first.tokens


# ---------------------------------------------------------------- the viewer

TREE = Thought(
    "Make 24 & more?",
    children=(
        Thought("8 * 3 = 24", 0.9, "chosen", (Thought("The answer is 8 * 3.", 0.8, "chosen"),)),
        Thought("8 + 3 = 11", 0.2, "pruned"),
        Thought(
            "8 - 3 = <5>", -0.1, "kept", (Thought("The answer is 5.", 0.1, "answer"), Thought("and so on", 0.0, "dead"))
        ),
    ),
)


def test_the_figure_draws_every_thought_and_marks_what_became_of_it() -> None:
    from srm_utils.reporting.trees import tree_figure

    fig = tree_figure(TREE, title="A tree")
    (ax,) = fig.axes
    shown = [" ".join(t.get_text().split()) for t in ax.texts]
    for thought in list(TREE.walk())[1:]:
        assert any(thought.text in text for text in shown), thought.text
    assert sum(text.startswith("➤ ") for text in shown) == 2 and "✂ 8 + 3 = 11 0.20" in shown
    assert any("−0.10" in text for text in shown), "a score with its sign"
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 2, "one pruned, one dead"
    boxes = [t for t in ax.texts if t.get_bbox_patch() is not None]
    heights = sorted({round(t.xy[1], 3) for t in boxes if t.xy[0] == 1})
    assert len(boxes) == 6 and len(heights) == 3, "no two thoughts of a level in one place"
    assert "pruned" in shown[-1] and "ended without" in shown[-1]


def test_labels_of_many_lines_do_not_overlap() -> None:
    from srm_utils.reporting.trees import tree_figure

    ends = tuple(
        Thought(f"{i} + 1 = 2. " + "The answer is far too long for a line. " * 3, 0.5, "answer") for i in range(8)
    )
    fig = tree_figure(Thought("?", None, "kept", (Thought("a step", 0.5, "kept", ends), *ends)))
    fig.draw_without_rendering()  # boxes have their size when first drawn
    patches = [t.get_bbox_patch() for t in fig.axes[0].texts]
    boxes = [patch.get_window_extent() for patch in patches if patch is not None]
    assert len(boxes) == 17
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_large_tree_counts_what_it_does_not_draw() -> None:
    from srm_utils.reporting.trees import tree_figure

    pruned = tuple(Thought(f"step {i}", i / 10, "pruned") for i in range(9))
    wide = Thought("Question", children=(*pruned, Thought("way", 1.0, "chosen")))
    texts = [" ".join(t.get_text().split()) for t in tree_figure(wide, most=5).axes[0].texts]
    assert any("step 8" in t and "(+8 more)" in t for t in texts) and not any("step 7" in t for t in texts)
    assert sum("step" in t for t in (x.get_text() for x in tree_figure(wide, most=10).axes[0].texts)) == 9
    with pytest.raises(ValueError, match="no thoughts to draw"):
        tree_figure(Thought("Question"))


def test_the_folded_tree_escapes_what_a_model_wrote() -> None:
    from srm_utils.reporting.trees import TreeView

    page, plain = TreeView(TREE)._repr_html_(), repr(TreeView(TREE))
    assert "8 - 3 = &lt;5&gt;" in page and "<5>" not in page and "Make 24 &amp; more?" in page
    assert page.count("<details") == page.count("</details>") == 2
    assert plain.splitlines()[0] == "Make 24 & more?" and "  ✂ 8 + 3 = 11  0.20" in plain.splitlines()
