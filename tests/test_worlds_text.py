"""Deduction, split evidence and large numbers."""

from __future__ import annotations

import itertools
import json
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srm_utils.tasks.problem import SPLIT_BOUNDS, Grade, split_of
from srm_utils.tasks.words import NAMES
from srm_utils.tasks.worlds.deduction import ATTRIBUTES, DeductionTask, SplitEvidenceTask
from srm_utils.tasks.worlds.large_numbers import LargeNumbersTask

WORLDS = (DeductionTask(), SplitEvidenceTask(), LargeNumbersTask(), LargeNumbersTask(operations=2))
each_world = pytest.mark.parametrize("task", WORLDS, ids=["deduction", "split-evidence", "large", "large-2"])
DEDUCTIONS = (DeductionTask(), SplitEvidenceTask())


def _some(task, n=60, seed=3, **settings):
    return task.problems(n, seed=seed, difficulty=(*task.difficulties, *task.unseen_difficulties), **settings)


def _truth(question: str) -> str:
    """Yes or no by forward chaining over the text, written without the package's own code."""
    *told, ask = re.findall(r"[^.?]+[.?]", question)
    who, goal = re.fullmatch(r"Is (\w+) (\w+)\?", ask.strip()).groups()
    true, rules = set(), []
    for sentence in map(str.strip, told):
        for form in (
            r"Everyone is (?P<q>\w+) if (?P<p>\w+)\.",
            r"(?P<x>\w+) is (?P<q>\w+) if (?P<p>\w+)\.",
            r"If (?P<p>\w+), everyone is (?P<q>\w+)\.",
            r"If (?P<p>\w+), (?P<x>\w+) is (?P<q>\w+)\.",
        ):
            if m := re.fullmatch(form, sentence):
                rules.append((m.groupdict().get("x"), m["p"], m["q"]))
                break
        else:
            true.add(re.fullmatch(r"(?:We know )?(\w+) is (\w+)\.", sentence).groups())
    for _ in rules:
        for x, p, q in rules:
            true |= {(y, q) for y, held in set(true) if held == p and x in (None, y)}
    return "yes" if (who, goal) in true else "no"


@each_world
@pytest.mark.parametrize("templates", ["train", "held-out"])
def test_gold_solutions_grade_correct_in_every_style(task, templates):
    for problem in _some(task, templates=templates):
        for style in task.styles:
            text = task.solution(problem, style, Random(7))
            if style == "program":
                total, sign = 0, "+"
                for part in re.fullmatch(r"print \( (.*) \)", text)[1].split():
                    if part.isdigit():
                        total = {"+": total + int(part), "-": total - int(part), "*": total * int(part)}[sign]
                    else:
                        sign = part
                assert str(total) == problem.answer
            else:
                assert task.grade(text, problem) is Grade.CORRECT
                assert text.endswith(f"The answer is {problem.answer}.")
            assert "\n" not in text + problem.question
        json.dumps(dict(problem.facts))


@each_world
def test_steps_are_checked(task):
    for problem in _some(task):
        for style in {"cot", "verbose", "check"} & set(task.styles):
            text = task.solution(problem, style)
            checks = task.check_steps(text, problem)
            assert checks and {c.verdict for c in checks} == {"right"}
            assert set(problem.steps) <= {c.text for c in checks}
            assert all(text[c.start : c.end] == c.text for c in checks)


@each_world
def test_corrupted_steps_have_their_first_error_where_it_is_said_to_be(task):
    places = set()
    for seed, problem in enumerate(_some(task, 80)):
        steps, at = task.corrupt(problem, Random(seed))
        assert list(problem.steps[:at]) == steps[:at] and steps[at] != problem.steps[at]
        verdicts = [c.verdict for s in steps for c in task.check_steps(s, problem)]
        assert len(verdicts) == len(steps) and verdicts[at] == "wrong" and set(verdicts[:at]) <= {"right"}
        said = ("no" if " not " in steps[-1] else "yes") if task.difficulties[-1] == 4 else steps[-1].split()[-1]
        assert said != problem.answer
        places.add(at)
    assert len(places) > 2


@each_world
def test_splits_are_disjoint_over_many_seeds(task):
    forms = {
        split: {p.canonical for seed in range(6) for p in task.problems(40, split=split, seed=seed)}
        for split in SPLIT_BOUNDS
    }
    for one, other in itertools.combinations(forms.values(), 2):
        assert not one & other
    assert all(split_of(form) == split for split, found in forms.items() for form in found)
    assert all(len(found) > 150 for found in forms.values())


@each_world
def test_problems_are_deterministic(task):
    assert task.problems(20, seed=1) == task.problems(20, seed=1)
    assert [p.facts for p in task.problems(20, seed=1)] == [p.facts for p in task.problems(20, seed=1)]
    assert {p.question for p in task.problems(20, seed=1)} != {p.question for p in task.problems(20, seed=2)}


@each_world
@settings(max_examples=120, deadline=None)
@given(
    text=st.one_of(
        st.text(),
        st.text("The answer is yes no 0123456789-+*/=,.", max_size=60).map(lambda s: "The answer is " + s),
        st.lists(st.sampled_from([*NAMES, "is", "not", "if", *ATTRIBUTES, ".", "9" * 13, "=", "/", "0"])).map(" ".join),
    )
)
def test_grading_and_checking_never_raise(task, text):
    problem = task.problems(1, seed=1)[0]
    assert task.grade(text, problem) in set(Grade)
    assert all(text[c.start : c.end] == c.text for c in task.check_steps(text, problem))


@each_world
def test_unknown_styles_are_refused_in_a_sentence(task):
    with pytest.raises(ValueError, match="has no style 'poem'; choose one of direct, cot"):
        task.solution(task.problems(1)[0], "poem")


# Deduction


@pytest.mark.parametrize("templates", ["train", "held-out"])
def test_the_sentences_themselves_give_the_answer(templates):
    for problem in _some(DeductionTask(), 150, templates=templates):
        assert _truth(problem.question) == problem.answer


def test_a_chain_needs_every_one_of_its_sentences():
    for problem in _some(DeductionTask(), 40):
        if problem.answer == "yes":
            *told, ask = [s.strip() for s in re.findall(r"[^.?]+[.?]", problem.question)]
            needed = [s for s in told if _truth(" ".join([*(t for t in told if t != s), ask])) == "no"]
            assert len(needed) == problem.difficulty + 1


def _surface(question: str) -> dict[str, float]:
    """What can be seen without following a chain from the question."""
    *told, ask = [s.strip() for s in re.findall(r"[^.?]+[.?]", question)]
    who, goal = re.fullmatch(r"Is (\w+) (\w+)\?", ask).groups()
    concludes = [i for i, s in enumerate(told) if f" is {goal} if " in s]
    premises = re.findall(rf" is {goal} if (\w+)\.", question)
    return {
        "sentences": len(told),
        "rules": sum(" if " in s for s in told),
        "facts about the person": sum(s.split()[0] == who and " if " not in s for s in told),
        "facts about others": sum(s.split()[0] not in (who, "Everyone") for s in told),
        "mentions of the person": question.count(who),
        "mentions of the goal": len(re.findall(rf"\b{goal}\b", question)),
        "sentences that conclude the goal": len(concludes),
        "place of the rule": concludes[0] / len(told),
        "the rule names the person": told[concludes[0]].startswith(who),
        "mentions of its premise": len(re.findall(rf"\b{premises[0]}\b", question)),
        "first sentence is a fact about the person": told[0].startswith(f"{who} is") and " if " not in told[0],
        "length": len(question.split()),
    }


def test_answers_are_balanced_and_nothing_on_the_surface_tells_them():
    problems = DeductionTask().problems(1500, split="train", seed=5, difficulty=(2, 3, 4))
    rows = [(_surface(p.question), p.answer == "yes") for p in problems]
    share = sum(yes for _, yes in rows) / len(rows)
    assert 0.45 < share < 0.55
    for name in rows[0][0]:
        values = sorted({row[name] for row, _ in rows})
        # The best threshold or single value of this feature, in either direction.
        tests = [*(("<=", v) for v in values[:-1][:60]), *(("==", v) for v in values[:60])]
        for sign, v in tests:
            hits = [(row[name] <= v if sign == "<=" else row[name] == v) == yes for row, yes in rows]
            right = max(sum(hits), len(hits) - sum(hits)) / len(hits)
            assert right < 0.5 + 0.06, (name, sign, v, right)


def test_yes_and_no_are_asked_over_the_same_worlds():
    """The answer is drawn after the sentences: the same draw with the other answer has the same text."""

    class Fixed(Random):
        wanted = "yes"

        def choice(self, seq):
            drawn = super().choice(seq)
            return self.wanted if tuple(seq) == ("yes", "no") else drawn

    for seed in range(20):
        asked = {}
        for answer in ("yes", "no"):
            rng = Fixed(seed)
            rng.wanted = answer
            asked[answer] = DeductionTask().draw(rng, 3).question
        told = {a: q.rsplit(". ", 1) for a, q in asked.items()}
        assert told["yes"][0] == told["no"][0] and told["yes"][1] != told["no"][1]


def test_verdicts_on_false_unneeded_and_reversed_claims():
    task = DeductionTask()
    for problem in task.problems(40, seed=2, difficulty=3):
        x, path = problem.facts["person"], problem.facts["path"]
        goal, before = path[0], path[1]
        true, spare = (
            problem.answer == "yes",
            next((p, q) for kind, p, q in problem.facts["told"] if kind == "rule" and q not in path),
        )

        def verdict(text, problem=problem):
            return [c.verdict for c in task.check_steps(text, problem)]

        assert verdict(f"{x} is {goal}.") == ["right" if true else "wrong"]
        assert verdict(f"{x} is not {goal}.") == ["wrong" if true else "right"]
        assert verdict(f"{x} is {goal} if {before}.") == ["right"]
        assert verdict(f"{x} is {before} if {goal}.") == ["wrong"]
        assert verdict(f"{x} is {spare[1]} if {spare[0]}.") == ["useless"]
        assert verdict("It is right. Wait, that is wrong.") == []


def test_a_rule_about_one_person_does_not_hold_for_another():
    task, seen = DeductionTask(), 0
    for problem in task.problems(60, seed=6, difficulty=3):
        x = problem.facts["person"]
        others = {who for kind, who, _ in problem.facts["told"] if kind == "fact"} - {x}
        for (kind, p, q), sentence in zip(problem.facts["told"], problem.facts["sentences"], strict=True):
            if kind == "rule":
                for y in others:
                    checks = task.check_steps(f"{y} is {q} if {p}.", problem)
                    assert [c.verdict for c in checks] == ["useless" if "veryone" in sentence else "wrong"]
                    seen += 1
    assert seen > 100


@pytest.mark.parametrize("task", DEDUCTIONS, ids=lambda task: task.name)
def test_deduction_canonical_forms_do_not_change_with_names(task, monkeypatch):
    before = [task.draw(Random(seed), 3) for seed in range(30)]
    monkeypatch.setattr("srm_utils.tasks.worlds.deduction.NAMES", NAMES[::-1])
    after = [task.draw(Random(seed), 3) for seed in range(30)]
    assert [p.canonical for p in before] == [p.canonical for p in after]
    assert all(a.question != b.question for a, b in zip(before, after, strict=True))


def test_split_evidence_shares_its_splits_with_deduction():
    seen = {p.canonical for p in DeductionTask().problems(200, split="train", seed=1)}
    fresh = {p.canonical for p in SplitEvidenceTask().problems(200, split="test", seed=1)}
    assert not seen & fresh and {split_of(form) for form in fresh} == {"test"}


def test_deduction_tiers_from_two_steps_on_have_fifty_thousand_forms():
    paths = itertools.permutations(ATTRIBUTES, 3)
    listed = {f"deduction|{answer}|{'>'.join(path)}" for path in paths for answer in ("yes", "no")}
    assert len(listed) >= 50_000
    assert all(DeductionTask().draw(Random(seed), 2).canonical in listed for seed in range(200))


# Split evidence


def test_views_share_the_sentences_and_neither_is_enough():
    task = SplitEvidenceTask()
    for problem in _some(task, 120):
        first, second = problem.facts["views"]
        assert sorted([*first, *second]) == sorted(problem.facts["sentences"]) and first and second
        assert abs(len(first) - len(second)) <= problem.difficulty + 1
        if problem.answer == "yes":
            ask = re.findall(r"[^.]+\?$", problem.question)[0].strip()
            assert [_truth(" ".join([*view, ask])) for view in (first, second)] == ["no", "no"]


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_gold_exchanges_answer_within_their_budget(budget):
    task = SplitEvidenceTask(budget)
    turns_seen = []
    for problem in _some(task, 80):
        turns = task.exchange(problem)
        *messages, last = [text for _, _, text in turns]
        assert [agent for agent, _, _ in turns] == [i % 2 for i in range(len(turns))]
        assert task.grade(last, problem) is Grade.CORRECT
        assert len(turns) >= 2 and len(turns) <= 2 * problem.difficulty + 6
        for message in messages:
            thought, sent = message.split("Message:")[0].strip(), task.sent(message)
            assert sent.startswith("Message: ") and message == f"{thought} {sent}".strip()
            assert task.grade(message, problem) is Grade.UNPARSABLE
            assert len(re.findall(r" if \w+\.", sent.replace("know if", "know"))) <= budget
            assert {c.verdict for c in task.check_steps(message, problem)} <= {"right"}
        assert {c.verdict for c in task.check_steps(last, problem)} == {"right"}
        turns_seen.append(len(turns))
    assert max(turns_seen) > 2


def test_an_agent_is_shown_its_view_and_the_messages_only():
    task = SplitEvidenceTask()
    problem = task.problems(1, seed=3, difficulty=4)[0]
    for agent in (0, 1):
        text = task.agent_prompt(problem, agent, ["Message: hello."]).text()
        assert all(s in text for s in problem.facts["views"][agent]) and "Message: hello." in text
        assert not any(s in text for s in problem.facts["views"][1 - agent])
        assert text.index("Is ") < text.index("Message:")


def test_an_agent_uses_only_true_messages():
    task = SplitEvidenceTask()
    for problem in task.problems(20, seed=3, difficulty=3):
        x, path = problem.facts["person"], problem.facts["path"]
        lies = [f"Message: {x} is {path[0]}.", f"Message: {x} is {path[0]} if {path[-1]}.", "\x00 [[[" * 50]
        for agent in (0, 1):
            assert task.agent_solution(problem, agent, lies) == task.agent_solution(problem, agent, [])


def test_the_last_turn_of_an_agent_answers_no_where_it_cannot_tell():
    task = SplitEvidenceTask()
    for problem in _some(task, 60):
        for agent in (0, 1):
            alone = task.agent_solution(problem, agent, [], final=True)
            assert task.extract(alone) == "no", "yes never follows from one view"
        turns = task.exchange(problem)
        told = [task.sent(text) for _, _, text in turns[:-1]]
        assert task.agent_solution(problem, turns[-1][0], told, final=True) == turns[-1][2]


def test_nothing_is_sent_where_there_is_no_message():
    assert SplitEvidenceTask().sent("Ida is fair if wise.") == SplitEvidenceTask().sent("Message: .") == ""
    assert SplitEvidenceTask(2).sent("Message: a. b. c.") == "Message: a. b."
    assert SplitEvidenceTask().sent("So. Message: a. Message: b.") == "Message: b."


def test_a_message_must_hold_a_fact():
    with pytest.raises(ValueError, match="budget of at least 1, not 0"):
        SplitEvidenceTask(0)


# Large numbers


def test_large_answers_are_python_s_own():
    for task in (LargeNumbersTask(), LargeNumbersTask(operations=2)):
        signs = set()
        for problem in _some(task, 200):
            expression = re.search(r"[\d+*-][\d+* -]*[\d]", problem.question)[0]
            first, *rest = expression.split()
            value = int(first)
            for sign, k in zip(rest[::2], rest[1::2], strict=True):
                value = {"+": value + int(k), "-": value - int(k), "*": value * int(k)}[sign]
                signs.add(sign)
            assert str(value) == problem.answer and value >= 0
            assert len(rest) == 2 * task.operations
        assert signs == ({"+", "-", "*"} if task.operations == 1 else {"+", "-"})


def test_every_column_is_small_and_every_operand_has_its_groups():
    for problem in _some(LargeNumbersTask(), 200):
        operands = [int(n) for n in re.findall(r"\d+", problem.question)]
        groups = [(len(str(n)) + 1) // 2 for n in operands]
        assert groups[0] == problem.difficulty and groups[1] in (problem.difficulty, 1)
        columns = problem.steps[: problem.difficulty]
        assert len(columns) == problem.difficulty
        for column in columns:
            left, sign, right, *_ = column.split()
            assert int(left) < 200 and int(right) < 100


def test_large_steps_are_judged_by_arithmetic_and_by_need():
    task = LargeNumbersTask()
    problem = next(p for p in task.problems(50, seed=1, difficulty=2) if p.facts["changes"][0][0] == "+")
    judged = {
        "1 + 1 = 2": "useless", "1 + 1 = 3": "wrong", "60 + 50 = 110, carry 0": "wrong", "6 / 0 = 0": "wrong",
        "112 - 87 = 25, borrow 0": "wrong", "112 - 87 = 25, borrow 1": "useless", "99 + 1 + 1 = 100": "wrong",
        problem.steps[0]: "right",
    }  # fmt: skip
    for text, verdict in judged.items():
        assert [c.verdict for c in task.check_steps(text, problem)] == [verdict], text


def test_swapped_terms_are_one_canonical_form_and_minus_is_not():
    forms = {}
    task = LargeNumbersTask()
    for seed in range(4000):
        problem = task.draw(Random(seed), 1)
        start, ((sign, k),) = problem.facts["start"], problem.facts["changes"]
        key = (sign, *(sorted((start, k)) if sign == "+" else (start, k)))
        forms.setdefault(key, set()).add(problem.canonical)
    assert all(len(found) == 1 for found in forms.values())
    assert len({form for found in forms.values() for form in found}) == len(forms)


@pytest.mark.parametrize("difficulty", [2, 3, 4])
def test_large_tiers_from_two_groups_on_have_fifty_thousand_forms(difficulty):
    drawn = [LargeNumbersTask().draw(Random(seed), difficulty).canonical for seed in range(3000)]
    repeats = len(drawn) - len(set(drawn))
    # Were there fewer than 50 000 forms, 3000 draws would repeat at least 88 times on average.
    assert repeats < 50


def test_one_or_two_operations_only():
    with pytest.raises(ValueError, match="1 or 2 operations; 3 was asked for"):
        LargeNumbersTask(operations=3)
