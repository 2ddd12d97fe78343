"""Annotation: every source on a model whose replies are known, every filter on records made by hand, every cost."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial

import pytest

from srm_utils.models import Chat
from srm_utils.sampling.completion import Completion, Cost
from srm_utils.tasks import get_task
from srm_utils.tasks.problem import Grade, split_of
from srm_utils.tasks.prompts import explain_prompt, rewrite_prompt
from srm_utils.training import annotation as module
from srm_utils.training.annotation import (
    Annotated,
    agreeing,
    correct,
    distinct,
    examples,
    gold,
    of_difficulty,
    of_length,
    rated,
    rationalised,
    renumbered,
    rewritten,
    sampled,
    searched,
    sift,
    sound,
    spread,
    star_round,
)

TASK = get_task("chain")
PROBLEMS = TASK.problems(6, split="train", difficulty=(2, 3))
PROMPT_TOKENS, FLOPS = 6, 2.0


def right(problem):
    return TASK.solution(problem, "cot")


def wrong(problem):
    return f"5 + 5 = 11. The answer is {int(problem.answer) + 1}."


class Scripted:
    """A model whose reply to a prompt is a function of it and of the sample's number; a token a word."""

    chat = Chat(dialect="family", step_mark=".")

    def __init__(self, reply):
        self.reply, self.calls = reply, []

    def sample(self, prompts, n=1, max_new_tokens=256, temperature=1.0, seed=0):
        self.calls.append(dict(prompts=list(prompts), n=n, temperature=temperature))
        return [[self._completion(self.reply(p, i)) for i in range(n)] for p in prompts]

    def _completion(self, text):
        n = len(text.split())
        cost = Cost(generated_tokens=n, flops=FLOPS * n)
        return Completion(
            f" {text}",
            tuple(range(n)),
            (),
            "stop",
            PROMPT_TOKENS,
            cost,
            Cost(PROMPT_TOKENS, flops=FLOPS * PROMPT_TOKENS),
        )

    @property
    def spent(self):
        """FLOPs of everything asked so far: each prompt once, each reply in full."""
        prompts = sum(len(c["prompts"]) for c in self.calls)
        words = sum(len(self.reply(p, i).split()) for c in self.calls for p in c["prompts"] for i in range(c["n"]))
        return FLOPS * (PROMPT_TOKENS * prompts + words)


def solver(*replies, problems=PROBLEMS):
    """Replies to problem i with its i-th list of "right", "wrong" or a text, in turn; knows every way to ask."""
    known = {p.question: (p, r) for p, r in zip(problems, replies, strict=True)}

    def reply(prompt, i):
        problem, texts = known[prompt.question]
        text = texts[i % len(texts)]
        return {"right": right(problem), "wrong": wrong(problem)}.get(text, text)

    return Scripted(reply)


def flops(records):
    return sum(r.cost.flops for r in records)


def record(problem=PROBLEMS[0], text=None, answer=None, grade=Grade.CORRECT, solved=None, cost=0.0):
    text = right(problem) if text is None else text
    answer = problem.answer if answer is None else answer
    return Annotated(problem, text, "hand", answer, grade, solved, Cost(flops=cost))


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("world", ["chain", "graph", "countdown", "sorting"])
def test_gold_is_right_and_free_and_becomes_training_data(world):
    task = get_task(world)
    problems = task.problems(4, split="train")
    records = gold(task, problems, "cot" if "cot" in task.styles else task.styles[0])
    assert [r.grade for r in records] == [Grade.CORRECT] * 4 and Cost.total(r.cost for r in records) == Cost()
    data = examples([replace(records[0], text=""), *records], task)
    assert data == [(task.prompt(r.problem, "unmarked"), r.text) for r in records], "nothing said, nothing to learn"


def test_samples_are_graded_and_priced_each():
    model = solver(["right", "wrong"], ["right"], ["wrong"], ["No idea."], ["right"], ["right"])
    records = sampled(model, TASK, PROBLEMS, 4, style="draft")
    assert model.calls[0]["n"] == 4 and model.calls[0]["prompts"] == [TASK.prompt(p, "draft") for p in PROBLEMS]
    assert [r.problem.id for r in records] == [p.id for p in PROBLEMS for _ in range(4)]
    assert [r.solved for r in records[::4]] == [0.5, 1, 0, 0, 1, 1]
    assert [r.grade for r in records[:2]] == [Grade.CORRECT, Grade.WRONG] and records[12].grade == Grade.UNPARSABLE
    assert [r.answer for r in records[8:13]] == [str(int(PROBLEMS[2].answer) + 1)] * 4 + [None]
    assert flops(records) == pytest.approx(model.spent)
    assert sum(r.cost.prompt_tokens for r in records) == pytest.approx(6 * PROMPT_TOKENS)


def test_rejection_keeps_only_what_was_graded_correct_and_pays_for_the_rest():
    model = solver(
        ["right", "wrong", "wrong", "wrong"], ["wrong"], ["right"], ["No idea."], ["right", "wrong"], ["wrong"]
    )
    records = sampled(model, TASK, PROBLEMS, 4)
    kept = sift(records, correct)
    assert [r.problem.id for r in kept] == [PROBLEMS[i].id for i in (0, 2, 2, 2, 2, 4, 4)]
    assert all(TASK.grade(r.text, r.problem) == Grade.CORRECT for r in kept)
    assert flops(kept) == pytest.approx(model.spent), "what was thrown away was paid for too"
    once = sift(records, correct, distinct)
    assert [r.problem.id for r in once] == [PROBLEMS[i].id for i in (0, 2, 4)] and flops(once) == pytest.approx(
        model.spent
    )


def test_a_rationalisation_is_told_the_answer_and_does_not_tell_it():
    asked = []
    model = Scripted(lambda prompt, i: asked.append(prompt) or "The answer is 1.")
    records = rationalised(model, TASK, PROBLEMS[:2])
    assert model.calls[0]["prompts"] == [explain_prompt(p, p.answer) for p in PROBLEMS[:2]]
    assert [r.source for r in records] == ["rationalised"] * 2
    for (prompt, _), problem in zip(examples(records, TASK, "cot"), PROBLEMS, strict=False):
        assert prompt == TASK.prompt(problem, "cot") and f"The answer is {problem.answer}" not in prompt.text()


def test_star_rationalises_only_where_the_first_try_failed():
    first = {p.question: i % 2 == 0 for i, p in enumerate(PROBLEMS)}  # 0, 2, 4 are solved
    hinted = {explain_prompt(p, p.answer).question: p for p in PROBLEMS}

    def reply(prompt, i):
        if prompt.question in hinted:
            problem = hinted[prompt.question]
            return wrong(problem) if problem is PROBLEMS[5] else right(problem)
        problem = next(p for p in PROBLEMS if p.question == prompt.question)
        return right(problem) if first[prompt.question] else wrong(problem)

    model = Scripted(reply)
    records = star_round(model, TASK, PROBLEMS)
    assert [c["temperature"] for c in model.calls] == [0.0, 0.0]
    assert model.calls[1]["prompts"] == [explain_prompt(PROBLEMS[i], PROBLEMS[i].answer) for i in (1, 3, 5)]
    kept = sift(records, correct)
    assert [(r.problem.id, r.source) for r in kept] == [
        *((PROBLEMS[i].id, "sampled") for i in (0, 2, 4)), *((PROBLEMS[i].id, "rationalised") for i in (1, 3))
    ]  # fmt: skip
    assert flops(kept) == pytest.approx(model.spent)
    assert len(star_round(Scripted(reply), TASK, PROBLEMS, rationalise=False)) == 6
    easy = Scripted(lambda prompt, i: right(next(p for p in PROBLEMS if p.question == prompt.question)))
    assert len(star_round(easy, TASK, PROBLEMS)) == 6 and len(easy.calls) == 1, "nothing failed, nothing is asked again"


@dataclass
class Node:
    text: str
    status: str = "kept"
    children: tuple = ()


@dataclass
class Tried:
    problem_id: str
    answer: str | None
    grade: Grade
    trace: object
    cost: Cost


def test_a_search_leaves_the_path_to_its_answer():
    leaf = Node("So far. The answer is 9.", "chosen")
    tree = Node("question", "kept", (Node("Wrong way.", "pruned"), Node("Good way.", "chosen", (Node("Dead."), leaf))))
    paid = Cost(flops=100.0)
    found = Tried(PROBLEMS[0].id, "9", Grade.CORRECT, tree, paid)
    lost = Tried(PROBLEMS[1].id, None, Grade.UNPARSABLE, Node("question", "kept", (Node("x", "dead"),)), paid)
    records = searched(PROBLEMS[:2], [found, lost])
    assert [r.text for r in records] == ["Good way. So far. The answer is 9.", ""]
    (kept,) = sift(records, correct)
    assert kept.answer == "9" and kept.cost.flops == 200, "a search that failed was paid for too"
    with pytest.raises(ValueError, match="in their order"):
        searched(PROBLEMS[:2], [lost, found])
    with pytest.raises(ValueError, match="no tree of thoughts"):
        searched(PROBLEMS[:1], [replace_trace(found, ["a", "list"])])


def replace_trace(tried, trace):
    return Tried(tried.problem_id, tried.answer, tried.grade, trace, tried.cost)


def test_a_real_tree_search_is_read():
    from srm_utils.inference.solver import Attempt
    from srm_utils.inference.thoughts import Branch, Search

    problem = PROBLEMS[0]
    search = Search(problem)
    steps = [f" {s}." for s in problem.steps] + [f" The answer is {problem.answer}."]
    branch, others = search.root, []
    for step in steps:
        others.append(Branch(" 1 + 1 = 3.", branch))
        branch = Branch(step, branch, ended=step is steps[-1])
        search.scores |= {others[-1]: 0.1, branch: 0.9}
    attempt = search.attempt(TASK, branch)
    assert isinstance(attempt, Attempt)
    (kept,) = searched([problem], [attempt])
    assert kept.text == right(problem) and kept.grade == Grade.CORRECT


# ---------------------------------------------------------------- new questions


def test_rewritten_questions_are_kept_where_their_answers_are_the_old_one():
    def reply(prompt, i):
        asked = {rewrite_prompt(p): p for p in PROBLEMS[:3]}
        if prompt in asked:
            at = PROBLEMS.index(asked[prompt])
            return asked[prompt].question if at == 0 else f"Now {at}: how many?"  # the first comes out as it was
        at = int(re.search(r"Now (\d)", prompt.question)[1])
        return right(PROBLEMS[at]) if at == 1 else wrong(PROBLEMS[at])  # the third lost its meaning

    model = Scripted(reply)
    records = rewritten(model, TASK, PROBLEMS[:3], n=2, samples=3)
    assert [r.problem.question for r in records] == ["Now 1: how many?"] * 3 + ["Now 2: how many?"] * 3
    assert {r.source for r in records} == {"rewritten"} and flops(records) == pytest.approx(model.spent)
    kept = sift(records, agreeing, correct)
    assert {r.problem.id for r in kept} == {f"{PROBLEMS[1].id}-rewritten-0"} and flops(kept) == pytest.approx(
        model.spent
    )
    assert {r.problem.canonical for r in kept} == {PROBLEMS[1].canonical}, "still a form of the train split"
    assert rewritten(model, TASK, PROBLEMS[:1]) == []


def chain_value(canonical):
    """The answer that a chain's canonical form has: an oracle that no answerer sees."""
    value, *changes = re.split(r"(?=[+*-])", canonical.split("|")[1])
    for change in changes:
        k = int(change[1:])
        value = {"+": int(value) + k, "-": int(value) - k, "*": int(value) * k}[change[0]]
    return str(value)


def test_renumbered_problems_change_one_number_and_stay_in_the_train_split():
    problems = TASK.problems(60, split="train", difficulty=(2, 3))
    model = Scripted(lambda prompt, i: "The answer is 7." if i else "The answer is 8.")
    records = renumbered(model, TASK, problems, n=2, samples=3)
    new = {r.problem.id: r.problem for r in records}
    assert len(new) > 60 and len(records) == 3 * len(new) and flops(records) == pytest.approx(model.spent)
    old = {p.id: p for p in problems}
    for name, problem in new.items():
        source = old[name.split("-renumbered-")[0]]
        for a, b in ((source.question, problem.question), (source.canonical, problem.canonical)):
            numbers = [re.findall(r"\d+", text) for text in (a, b)]
            assert re.sub(r"\d+", "#", a) == re.sub(r"\d+", "#", b)
            assert sum(x != y for x, y in zip(*numbers, strict=True)) == 1
        assert split_of(problem.canonical) == "train" and problem.answer == "7"
        assert not problem.facts and not problem.steps, "what was true of the old numbers is not carried over"
    assert [(r.answer, r.grade, round(r.solved, 2)) for r in records[:2]] == [
        ("8", Grade.WRONG, 0.67), ("7", Grade.CORRECT, 0.67)
    ]  # fmt: skip
    assert {r.answer for r in agreeing(records, 0.6)} == {"7"} and not agreeing(records, 0.7)


def test_an_answerer_that_agrees_with_itself_labels_new_numbers_rightly():
    problems = TASK.problems(40, split="train", difficulty=2)
    forms = {}

    def reply(prompt, i):
        value = chain_value(forms[prompt.question])
        # Certain where the result is a number it knows, guessing elsewhere.
        return f"The answer is {value if int(value) % 3 else i}."

    made = module._with_other_numbers
    with pytest.MonkeyPatch.context() as patch:

        def noted(problem, n, rng):
            new = made(problem, n, rng)
            forms.update({p.question: p.canonical for p in new})
            return new

        patch.setattr(module, "_with_other_numbers", noted)
        records = renumbered(Scripted(reply), TASK, problems, samples=5)
    kept = sift(records, partial(agreeing, share=0.6))
    assert kept and all(r.answer == r.problem.answer == chain_value(r.problem.canonical) for r in kept)
    assert any(r.answer != chain_value(r.problem.canonical) for r in records)


def test_new_numbers_need_no_facts_and_no_votes():
    countdown = get_task("countdown")
    silent = Scripted(lambda prompt, i: "No idea.")
    records = renumbered(silent, countdown, countdown.problems(8, split="train"), samples=2)
    assert all(r.grade == Grade.UNPARSABLE and r.problem.answer == "" for r in records)
    assert agreeing(records) == []


# ---------------------------------------------------------------- filters


def test_agreement_needs_no_known_answer():
    a, b, c = (replace(p, answer="?") for p in PROBLEMS[:3])
    votes = {a: ["5", "5", "6"], b: ["1", "2", None, None], c: [None, None]}
    records = [replace(record(p, "x"), answer=v, grade=Grade.WRONG) for p, vs in votes.items() for v in vs]
    assert [(r.problem.id, r.answer) for r in agreeing(records)] == [(a.id, "5"), (a.id, "5")]
    assert [r.answer for r in agreeing(records, share=0.25)] == ["5", "5", "1"]
    assert agreeing(records, share=0.7) == []


def test_right_answers_on_wrong_steps_are_unsound():
    p = PROBLEMS[0]
    lucky = record(p, f"50 + 50 = 99. The answer is {p.answer}.")
    fine, bare = record(p), record(p, f"The answer is {p.answer}.")
    assert correct([lucky, fine, bare]) == [lucky, fine, bare]
    assert sift([lucky, fine, bare], correct, partial(sound, task=TASK)) == [fine, bare]


def test_difficulty_is_the_authors_or_anothers():
    records = [record(p, solved=s) for p, s in zip(PROBLEMS, (0.0, 0.25, 0.5, 0.75, 1.0, 0.25), strict=True)]
    assert [r.solved for r in of_difficulty(records, 0.25, 0.75)] == [0.25, 0.5, 0.75, 0.25]
    with pytest.raises(ValueError, match="`rated`"):
        of_difficulty(gold(TASK, PROBLEMS))
    student = solver(["right"], ["wrong"], ["right", "wrong"], ["wrong"], ["right"], ["right"])
    seen = rated([*records, records[0]], student, TASK, n=4)
    assert [r.solved for r in seen] == [1, 0, 0.5, 0, 1, 1, 1] and [r.text for r in seen[:6]] == [
        r.text for r in records
    ]
    assert flops(seen) == pytest.approx(student.spent) and student.calls[0]["prompts"][0].instruction == ""


def test_length_is_counted_in_words():
    records = [record(text="one two"), record(text="one two three"), record(text="one")]
    assert [r.words for r in records] == [2, 3, 1]
    assert of_length(records, 2) == records[:2] and of_length(records, high=2) == [records[0], records[2]]


def test_ways_differ_in_their_steps():
    p = PROBLEMS[0]
    same = record(p, right(p).replace(" The answer", "  The answer"))
    other = record(p, f"1 + 1 = 2. {right(p)}")
    bare = [record(p, "The answer is 1."), record(p, "The answer is 2.")]
    records = [record(p), same, other, record(PROBLEMS[1]), *bare]
    assert distinct(records) == [records[0], other, records[3], *bare]


def test_a_spread_covers_difficulties_then_problems():
    easy, hard = (TASK.problems(n, split="train", difficulty=d) for n, d in ((4, 2), (2, 3)))
    records = [record(p, str(i)) for p in (*easy, *hard) for i in range(2)]
    chosen = spread(records, 6)
    assert [r.problem.difficulty for r in chosen] == [2, 3, 2, 3, 2, 3]
    assert {r.problem.id for r in chosen[:4]} == {p.id for p in (*easy[:2], *hard)}
    assert [r.text for r in chosen] == ["0", "0", "0", "0", "0", "1"]
    assert len(spread(records, 100)) == 12 and spread([], 3) == []


def test_filters_follow_one_another_and_the_bill_is_kept():
    records = [record(p, solved=s, cost=10.0) for p, s in zip(PROBLEMS, (0, 0.2, 0.4, 0.6, 0.8, 1), strict=True)]
    records[2] = replace(records[2], grade=Grade.WRONG)
    kept = sift(records, correct, partial(of_difficulty, low=0.1, high=0.9))
    assert [r.solved for r in kept] == [0.2, 0.6, 0.8] and [r.cost.flops for r in kept] == pytest.approx([20.0] * 3)
    assert sift(records) == records
    with pytest.raises(ValueError, match="None of 5 records passes 'of_length'") as told:
        sift(records, correct, partial(of_length, low=99))
    assert str(told.value).count(". ") == 0, "one sentence"
    with pytest.raises(ValueError, match="None of 0 records"):
        sift([], correct)


def test_an_instruct_model_is_asked_in_plain_english_and_a_reply_that_asks_nothing_is_no_question():
    replies = iter(["Sure! I like pens.", "How many pens are left after 3 of 8 are lost?", "The answer is 5."])
    model = Scripted(lambda prompt, i: next(replies))
    model.chat = Chat(template=True)
    (problem,) = get_task("chain").problems(1, split="train", difficulty=1)
    made = rewritten(model, get_task("chain"), [problem], n=2, samples=1)
    assert [r.problem.question for r in made] == ["How many pens are left after 3 of 8 are lost?"]
    assert "in other words" in model.calls[0]["prompts"][0].plain
    replies = iter(["5 + 3 = 8. The answer is 8."])
    rationalised(model, get_task("chain"), [problem])
    (told,) = model.calls[-1]["prompts"]
    assert f"The right answer is {problem.answer}." in told.question and "Explain" in told.plain
