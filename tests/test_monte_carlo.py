"""Monte Carlo tree search against closed forms and planted paths, mutual consistency on scripted models."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from srm_utils.inference.monte_carlo_tree_search import MonteCarloTreeSearch, Node, after, uct
from srm_utils.inference.mutual_consistency import MutualConsistency, met_by
from srm_utils.inference.solver import Budget
from srm_utils.inference.state_scores import by_rule, judged_solution, judged_step
from srm_utils.inference.thoughts import Branch, Steps
from srm_utils.inference.voting import plurality
from srm_utils.models.language_model import Scored
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task

TASK = get_task("chain")
PROBLEMS = TASK.problems(3, seed=4, difficulty=2)
END = 1
FAN = 3


def step(digit: int) -> str:
    return f" {digit} + 0 = {digit}."


def leaf(path) -> str:
    return "".join(map(step, path)) + f" The answer is {''.join(map(str, path))}."


def told(text: str) -> list[int]:
    return [int(part.split()[0]) for part in text.split("The answer")[0].split(".") if part.strip()]


class Scripted:
    """Writes a tree of `depth` levels, FAN followers each; the i-th sample takes follower i, a rollout the first."""

    flops_per_token = 10.0
    end_ids = (END,)

    def __init__(self, depth: int = 3, yes=lambda prompt: 0.5) -> None:
        self.depth, self.yes = depth, yes
        self.calls: list[list[str]] = []
        self.seeds: list[list[int]] = []
        self.scored: list[list] = []

    def render(self, prompt) -> str:
        return prompt if isinstance(prompt, str) else prompt.text()

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, stop=(), seed=0):
        if prompts:
            self.calls.append(list(prompts))
            self.seeds.append(seed)
        return [[self._one(p, i, stop) for i in range(n)] for p in prompts]

    def _one(self, prompt: str, i: int, stop) -> Completion:
        digits = told(prompt.rsplit("Answer:", 1)[1])
        text = ""
        if stop and len(digits) < self.depth:
            text = step(i % FAN + 1)
        else:
            new = [1] * (self.depth - len(digits))
            text = "".join(map(step, new)) + f" The answer is {''.join(map(str, digits + new))}."
        ids = tuple([7] * len(text.split()))
        if not stop:
            ids += (END,)
        cost = Cost(generated_tokens=len(ids), flops=10.0 * len(ids))
        said = text.removesuffix(".") if stop else text
        return Completion(
            said,
            ids,
            (-0.1,) * len(ids),
            "stop",
            len(prompt.split()),
            cost,
            Cost(len(prompt.split()), flops=10.0 * len(prompt.split())),
        )

    def score(self, prompts, completions):
        self.scored.append(list(prompts))
        cost = Cost(scored_tokens=9, flops=90.0)
        return [Scored((5,), (math.log(self.yes(prompt)),), cost) for prompt in prompts]


STEPS = Steps(TASK)
PLANTED = (2, 3, 1)


def nearness(problem, text: str) -> float:
    """The share of a planted path that a text follows."""
    same = 0
    for a, b in zip(told(text), PLANTED, strict=False):
        if a != b:
            break
        same += 1
    return same / len(PLANTED)


def most_visited(node: Node) -> list[int]:
    path = []
    while node.children:
        node = max(node.children, key=lambda child: child.visits)
        path += told(node.branch.step)
    return path


class Watched(MonteCarloTreeSearch):
    """Keeps the tree of the last problem for the tests to look at."""

    def _attempt(self, tree):
        SEEN.append(tree)
        return super()._attempt(tree)


SEEN: list = []


def grown(problems=PROBLEMS[:1], turns=150, model=None, **settings):
    """Without widening unless asked: the scripted model has no more to say."""
    SEEN.clear()
    settings = {"reward": by_rule(nearness), "widening": 0.0} | settings
    search = Watched(STEPS, branching=FAN, **settings)
    attempts = search.solve(problems, model or Scripted(), Budget(turns, 100))
    return attempts, [tree.root for tree in SEEN]


# ---------------------------------------------------------------- UCT


def test_visits_converge_on_the_planted_path() -> None:
    for exploration in (0.3, 1.0):
        (attempt,), (root,) = grown(exploration=exploration)
        assert most_visited(root) == list(PLANTED) and attempt.answer == "231"
        shares = [child.visits / root.visits for child in root.children]
        assert shares[1] > 0.6, "the arm of the planted path takes most turns"


def ucb1(worths: list[float], turns: int, c: float) -> list[int]:
    """The bandit by the book: every arm once, then the highest bound, the first of equals."""
    visits = [0] * len(worths)
    for turn in range(turns):
        bounds = [
            math.inf if n == 0 else w + c * math.sqrt(math.log(turn) / n) for w, n in zip(worths, visits, strict=True)
        ]
        visits[bounds.index(max(bounds))] += 1
    return visits


@pytest.mark.parametrize("c", [0.0, 0.4, 2.0])
def test_one_level_is_the_bandit_ucb1(c) -> None:
    """Ends with fixed rewards are a bandit with fixed arms."""

    class Flat(Steps):
        def draw(self, model, beginnings, n, max_new_tokens, turn=0):
            groups = [[Branch(f" The answer is {i}.", b, -0.1, 3, True) for i in range(n)] for _, b in beginnings]
            return groups, [Cost()] * len(beginnings)

    worths = [0.25, 0.75, 0.625, 0.125, 0.75]  # sums of these are exact
    reward = by_rule(lambda problem, text: worths[int(text.split()[-1][0])])
    SEEN.clear()
    search = Watched(Flat(TASK), reward, branching=len(worths), exploration=c, widening=0.0)
    (attempt,) = search.solve(PROBLEMS[:1], Scripted(), Budget(200))
    assert [child.visits for child in SEEN[0].root.children] == ucb1(worths, 200, c)
    assert attempt.answer == "1", "of two equal rewards the one met first"


def test_the_bound_is_the_formula_and_the_unvisited_comes_first() -> None:
    parent = Node(Branch(""), visits=10)
    child = Node(Branch(""), parent, visits=4, total=3.0)
    assert uct(parent, child, 0.5) == pytest.approx(0.75 + 0.5 * math.sqrt(math.log(10) / 4))
    assert uct(parent, Node(Branch("")), 0.0) == math.inf


def test_every_turn_is_told_to_all_thoughts_above() -> None:
    _, roots = grown(turns=60)

    def check(node: Node) -> None:
        if node.children:
            below = sum(child.visits for child in node.children)
            own = node.visits - below
            assert own in ((0,) if node.parent is None else (1,)), "its own first estimate, then always below"
            assert node.total >= sum(child.total for child in node.children) - 1e-9
            for child in node.children:
                check(child)

    (root,) = roots
    assert root.visits == 60
    check(root)


def test_much_exploration_is_fair_and_none_is_greedy() -> None:
    _, (fair,) = grown(exploration=1e6, turns=90)
    assert {child.visits for child in fair.children} == {30}
    _, (keen,) = grown(exploration=0.0, turns=90)
    assert sorted(child.visits for child in keen.children)[:2] == [1, 1]


def test_all_ends_are_found_when_every_turn_explores() -> None:
    """9 ends of two levels: exhaustive search is what it comes to."""
    (attempt,), _ = grown(model=Scripted(2), turns=80, exploration=1e3, reward=by_rule(lambda p, t: float("33" in t)))
    ends = {text for text in attempt.trace.solutions}
    assert ends == {leaf((a, b)) for a in range(1, 4) for b in range(1, 4)} and attempt.answer == "33"


# ---------------------------------------------------------------- rollouts, values, costs


def test_a_run_holds_every_shorter_run() -> None:
    long, _ = grown(PROBLEMS, 30)
    for turns in (1, 7, 30):
        short, _ = grown(PROBLEMS, turns)
        then = after(TASK, PROBLEMS, long, turns)
        assert [(a.answer, a.grade, a.cost) for a in then] == [(a.answer, a.grade, a.cost) for a in short]
    with pytest.raises(ValueError, match="larger budget"):
        after(TASK, PROBLEMS, long, 31)


def test_trees_advance_together_as_each_would_alone() -> None:
    many, one = Scripted(), Scripted()
    together, _ = grown(PROBLEMS, 25, many)
    alone = [grown([p], 25, one)[0][0] for p in PROBLEMS[:1]]
    assert together[0] == alone[0] and len(many.calls) == len(one.calls) <= 2 * 25
    assert grown([], 5)[0] == []


def test_with_a_value_nothing_is_written_to_its_end() -> None:
    model = Scripted()
    (attempt,), (root,) = grown(turns=120, model=model, value=by_rule(nearness), exploration=0.3)
    assert most_visited(root) == list(PLANTED) and attempt.answer == "231"
    assert max(len(call) for call in model.calls) == 1
    ends = attempt.trace.solutions
    assert all(len(told(text)) == 3 for text in ends), "ends are met step by step"
    # No end is met in the first turns, and there is no answer then; one turn alone writes one out.
    assert attempt.trace.answers[0] is None and after(TASK, PROBLEMS[:1], [attempt], 1)[0].grade == "unparsable"
    (single,), _ = grown(turns=1, value=by_rule(nearness))
    assert single.answer is not None and len(single.trace.answers) == 1


@pytest.mark.parametrize("widening", [0.0, 1.0])
def test_nothing_is_drawn_twice_and_searches_that_differ_share_their_draws(widening: float) -> None:
    seeds: list[dict[str, list[int]]] = []
    for exploration in (0.1, 2.0):
        model = Scripted()
        grown(turns=30, model=model, exploration=exploration, widening=widening)
        calls = zip(model.calls, model.seeds, strict=True)
        drawn = [pair for prompts, own in calls for pair in zip(prompts, own, strict=True)]
        assert len(set(drawn)) == len(drawn) >= 6
        seeds.append({prompt: [seed for text, seed in drawn if text == prompt] for prompt, _ in drawn})
    shared = seeds[0].keys() & seeds[1].keys()
    assert len(shared) > 3
    for prompt in shared:
        for kind in (0, 1):  # what follows a thought, and how it goes on to its end
            one, other = ([seed for seed in s[prompt] if (seed >> 32) % 2 == kind] for s in seeds)
            few = min(len(one), len(other))
            assert one[:few] == other[:few]


def test_everything_is_paid_for() -> None:
    model = Scripted(yes=lambda prompt: 0.9)
    attempts, _ = grown(PROBLEMS, 20, model, reward=judged_solution, value=judged_step)
    asked = sum(map(len, model.scored))
    assert sum(a.cost.scored_tokens for a in attempts) == 9 * asked > 0
    assert all(a.cost.flops == 10 * a.cost.tokens for a in attempts)
    spent = [c.flops for c in attempts[0].trace.costs]
    assert spent == sorted(spent) and spent[-1] == attempts[0].cost.flops


def test_an_end_is_rewarded_once() -> None:
    seen = []
    reward = by_rule(lambda problem, text: seen.append(text) or 0.5)
    grown(turns=200, model=Scripted(1), reward=reward)
    assert len(seen) == len({id(t) for t in seen}) <= 2 * FAN, "three rollouts and three ends"


def test_a_students_rule_of_selection_replaces_ours() -> None:
    """One that always wants the last child."""
    (attempt,), (root,) = grown(turns=12, select=lambda parent, child, c: float(sum(told(child.branch.step))))
    assert most_visited(root) == [3, 3, 3][: len(most_visited(root))]
    with pytest.raises(ValueError, match="at least 1"):
        MonteCarloTreeSearch(STEPS, by_rule(nearness), branching=0)


class Wide(Scripted):
    """Each further draw after a thought tells of other followers: with the seed goes what is drawn."""

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, stop=(), seed=0):
        self.turn = (seed[0] >> 32) if stop and prompts else 0
        return super().sample(prompts, n, max_new_tokens, temperature, stop, seed)

    def _one(self, prompt, i, stop):
        drawn = super()._one(prompt, i, stop)
        if not stop or "answer" in drawn.text:
            return drawn
        return replace(drawn, text=step(1 + i % FAN + FAN * self.turn).removesuffix("."))


def test_a_tree_widens_with_the_root_of_its_visits() -> None:
    _, (root,) = grown(turns=50, model=Wide(), widening=1.0, exploration=2.0)
    assert root.draws == math.ceil(math.sqrt(49)) and len(root.children) == FAN * root.draws
    _, (narrow,) = grown(turns=50, model=Wide(), widening=0.0)
    assert narrow.draws == 1 and len(narrow.children) == FAN


def test_a_draw_that_brings_nothing_new_goes_to_the_old() -> None:
    (attempt,), (root,) = grown(turns=60, widening=1.0)
    assert root.visits == 60 and len(root.children) == FAN and attempt.answer == "231"
    assert len({child.branch.step for child in root.children}) == FAN and root.draws > 1


def test_every_step_of_a_solution_is_judged() -> None:
    problem = PROBLEMS[0]
    model = Scripted(yes=lambda prompt: 0.5 if prompt.question.endswith("Steps: 2 + 0 = 2.") else 0.8)
    (whole, none), costs = judged_solution(model, [(problem, Branch(leaf((2, 3)), Branch(""))), (problem, Branch(""))])
    assert whole == pytest.approx(0.4) and none == 1.0
    assert [c.scored_tokens for c in costs] == [18, 0]


# ---------------------------------------------------------------- mutual consistency


class Speaker:
    """Gives each problem its scripted solutions in turn; goes on from a beginning as `goes_on` says."""

    end_ids = (END,)

    def __init__(self, solutions=None, goes_on=lambda beginning: " The answer is 0.", flops=10.0) -> None:
        self.solutions, self.goes_on, self.flops_per_token = solutions or {}, goes_on, flops
        self.asked: list[list[str]] = []

    def render(self, prompt) -> str:
        return prompt.text()

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, seed=0):
        if prompts and isinstance(prompts[0], str):
            self.asked.append(list(prompts))
            return [[self._said(self.goes_on(p.split("Answer:")[1]))] for p in prompts]
        return [[self._said(text) for text in self.solutions[p.question][:n]] for p in prompts]

    def _said(self, text: str) -> Completion:
        n = len(text.split())
        return Completion(
            text,
            (7,) * n,
            (0.0,) * n,
            "stop",
            5,
            Cost(generated_tokens=n, flops=self.flops_per_token * n),
            Cost(5, flops=self.flops_per_token * 5),
        )


A, B = leaf((1, 1, 1)), leaf((2, 2, 2))


def speaker(*texts):
    return Speaker({p.question: list(texts) for p in PROBLEMS})


def test_the_partner_decides_against_the_majority() -> None:
    partner = Speaker(goes_on=lambda beginning: " The answer is 222." if "2 +" in beginning else " The answer is 9.")
    solved = MutualConsistency(TASK, partner).solve(PROBLEMS, speaker(A, A, A, B), Budget(4))
    assert [a.answer for a in solved] == ["222"] * 3
    assert plurality([TASK.extract(t) for t in (A, A, A, B)]) == "111"
    assert [(c.proposed, c.agreement) for c in solved[0].trace] == [(3, 0.0), (1, 1.0)]


def test_agreement_with_all_or_none_is_the_plain_vote() -> None:
    texts = (B, A, A, "I give up.")
    copies = Speaker(goes_on=lambda b: f" The answer is {'111' if '1 +' in b else '222'}.")
    for partner in (copies, Speaker()):
        solved = MutualConsistency(TASK, partner).solve(PROBLEMS, speaker(*texts), Budget(4))
        assert [a.answer for a in solved] == [plurality([TASK.extract(t) for t in texts])] * 3


def test_distinct_solutions_are_completed_once_in_one_call_and_both_models_are_paid() -> None:
    partner = Speaker(goes_on=lambda beginning: " The answer is 111.", flops=70.0)
    solved = MutualConsistency(TASK, partner).solve(PROBLEMS, speaker(A, A, A, B), Budget(4))
    assert [len(call) for call in partner.asked] == [2 * 3]
    own = 5 + 4 * len(A.split())
    theirs = 2 * (5 + 4)
    assert all(a.cost.flops == 10 * own + 70 * theirs and a.cost.tokens == own + theirs for a in solved)


def test_the_masked_part_is_at_least_the_last_sentence_and_never_all() -> None:
    long = leaf((1, 2, 3, 1, 2, 3, 1, 2, 3))
    many = MutualConsistency(TASK, Speaker(), masks=200)
    kept = [len(told(beginning)) for beginning in many.masked(PROBLEMS[0], long)]
    assert min(kept) == 2 and max(kept) == 8 and all(long.startswith(b) for b in many.masked(PROBLEMS[0], long))
    assert many.masked(PROBLEMS[0], long) == many.masked(PROBLEMS[0], long)
    assert set(MutualConsistency(TASK, Speaker(), masks=50).masked(PROBLEMS[0], leaf((1,)))) == {step(1)}
    assert many.masked(PROBLEMS[0], " The answer is 3.") == []
    with pytest.raises(ValueError, match="at least 1 mask"):
        MutualConsistency(TASK, Speaker(), masks=0)


def test_a_search_can_propose() -> None:
    search = MonteCarloTreeSearch(STEPS, by_rule(nearness), branching=FAN)
    partner = Speaker(goes_on=lambda beginning: " The answer is 231." if "3 +" in beginning else " The answer is 9.")
    alone = search.solve(PROBLEMS, Scripted(), Budget(60, 100))
    solved = MutualConsistency(TASK, partner, propose=met_by(search)).solve(PROBLEMS, Scripted(), Budget(60, 100))
    for a, s in zip(alone, solved, strict=True):
        assert {c.text for c in s.trace} == set(a.trace.solutions)
        assert s.cost.flops > a.cost.flops
    assert MutualConsistency(TASK, partner).solve([], speaker(), Budget(2)) == []


# ---------------------------------------------------------------- a real model


def test_on_a_bundled_model_batching_changes_nothing() -> None:
    from srm_utils.models import load_model

    base = load_model("base", device="cpu")
    search = MonteCarloTreeSearch(STEPS, judged_solution, branching=2)
    for solver in (search, MutualConsistency(TASK, base)):
        together = solver.solve(PROBLEMS[:2], base, Budget(3, 40))
        alone = [solver.solve([p], base, Budget(3, 40))[0] for p in PROBLEMS[:2]]
        assert [(a.answer, a.cost.flops) for a in together] == [(a.answer, a.cost.flops) for a in alone]
