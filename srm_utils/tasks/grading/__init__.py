r"""Grading of real mathematics and of multiple choice: is this answer the gold answer?

A model's text is hostile until proven otherwise, so it passes three gates, each bounded:

1. A tokeniser with an allow-list and a small parser of ours (lengths, nesting, digits, exponents bounded) turn the
   text into numbers and a tree. Plain numbers are compared here, exactly, with `fractions.Fraction`.
2. Sets, tuples, intervals, unions, relations and matrices are compared by structure, piece by piece.
3. Only what is left, two expressions such as ``\frac{1+\sqrt5}{2}`` and ``(1+sqrt(5))/2``, is first tried at sample
   points and then goes to math-verify's `verify`, as a tree of allowed operations and never as text: math-verify's
   reader of plain expressions ends in Python's `eval` (sympy's `parse_expr`) and its LaTeX reader misreads
   (``d\cdot x`` becomes a product with "dcdot"). What the judge cannot show equal in its time is not equal.

The files: `extract` finds the answer in a text, `tokens`, `number_words`, `units`, `expressions` and `read` read it,
`compare`, `numeric` and `judge` compare it, `canonical` writes it in one form, `choice` is multiple choice.

Conventions
-----------
- Exactness: 0.5 is 1/2 and ``0.\overline{3}`` is 1/3; 0.333 is not 1/3 and 3.14 is not pi. Nothing is rounded, but
  ``1/3 \approx 0.333`` counts as either side.
- Percent: ``50%``, ``50\%`` and ``50 percent`` are the same, and equal 0.5 and 1/2. Against a bare number the sign
  may also have been meant as the unit the question asked for, so 50% matches 50 too; 50% never matches 0.5%.
- Units: one missing unit or counted thing is forgiven (5 cm for 5, $5 for 5, 18 apples for 18). Two units must agree by
  name, spelling variants and plurals aside; nothing is converted (500 cm is not 5 m). Degrees also equal their radians
  (180 degrees is pi). Words that multiply are read (5 million, 2 dozen, 3 quarters); any other words are never
  forgiven (5 less than the total, 5 wrong).
- Thousands: ``1,000``, ``1{,}000``, ``1\,000`` and ``1 000`` are 1000. Inside brackets a comma separates, unless
  another comma followed by a space shows that it groups digits: ``(1,234)`` is a pair, ``(1,000, 2,000)`` is one too.
- Names: ``x = 2``, ``P(A) = 2`` and ``AB = 2`` are 2, but ``x = 2`` is not ``y = 2``; ``x = 1, y = 2`` is (1, 2).
  ``m + n = 5`` is 5. Letters are case-sensitive, words are not.
- Lists: ``1, 2``, ``1 and 2``, ``{1, 2}`` and ``\pm`` are unordered. Tuples are ordered. A bare list matches a tuple in
  the same order; a set never matches a tuple. A set of one element matches the element.
- Intervals: brackets must agree. ``(0,9)`` may be an interval or a pair. ``x > 2`` is ``(2,\infty)``; other relations
  are judged as relations. Adjacent parts of a union are not merged.
- Number bases: ``101_2`` matches ``101_2`` and bare ``101`` (the question named the base), not 5. Ratios go term by
  term. A missing ``\pmod 7`` is forgiven as a unit is.
- Final answer: the last of ``\boxed{}``, ``<answer>`` tags, ``#### x`` and "the answer is x" that can be read, then a
  text that is nothing but an answer. An unclosed box or bracket, or thinking that never ended, was truncated and is
  unparsable; after ``</think>`` only what follows counts. Only where nothing is marked, a bold number, the last
  equation's right side, a last line or a concluding sentence is read, and reported apart as unmarked.

>>> equal_math(r"\frac12", "0.5"), equal_math("[0,9)", "(0,9)"), equal_math("0.333", "1/3")
(True, False, False)
"""

from srm_utils.tasks.grading.choice import find_choice, grade_choice, lettered
from srm_utils.tasks.grading.compare import equal_math, find_math, grade_math
from srm_utils.tasks.grading.extract import Found, extract_final_answer
from srm_utils.tasks.grading.grade import Grade

__all__ = [
    "Found",
    "Grade",
    "equal_math",
    "extract_final_answer",
    "find_choice",
    "find_math",
    "grade_choice",
    "grade_math",
    "lettered",
]
