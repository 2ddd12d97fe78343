"""Countdown's expressions: whole numbers within 0 to 99 joined by + - * /, read, valued and written."""

from __future__ import annotations

import re

MAX_RESULT = 99
#: Characters of an answer that is read at all.
MAX_ANSWER = 120

#: A whole number, or (sign, left, right).
Expression = int | tuple[str, "Expression", "Expression"]


# Nothing that an expression is made of may follow: too long an answer is no answer, and neither is a decimal.
_ANSWER = re.compile(rf"([-+*/()0-9 ]{{1,{MAX_ANSWER}}})(?![-+*/()0-9 ]|\.[0-9])")


def read_expression(said: str, whole: bool) -> str | None:
    """The expression that a statement begins with, every inner part in brackets, larger operands of + and * first.

    >>> read_expression("3*8 - 2 = 22", whole=False), read_expression("so 3 * 8", whole=False)
    ('( 8 * 3 ) - 2', None)
    """
    found = _ANSWER.match(said)
    if not found or (whole and said[found.end() :].strip(" .")) or not re.search(r"[-+*/]", found[1]) and whole:
        return None
    expression = parse_expression(found[1])
    return None if expression is None else as_text(canonical_form(expression))


def evaluate(text: str) -> int | None:
    """The value of an expression under the rules, by our own parser; None where there is none.

    >>> evaluate("( 8 * 3 ) - 2"), evaluate("5 / 2"), evaluate("print ( 5 )")
    (22, None, None)
    """
    expression = parse_expression(text)
    return None if expression is None else value_of(expression)


def canonical_form(expression: Expression) -> Expression:
    if isinstance(expression, int):
        return expression
    sign, left, right = expression[0], canonical_form(expression[1]), canonical_form(expression[2])
    if sign in "+*":
        left, right = sorted((left, right), key=lambda e: (-(value_of(e) or 0), as_text(e)))
    return sign, left, right


def reduced_by(expression: Expression, parts: tuple[int, str, int], result: int) -> Expression:
    """The expression with one part, (left, sign, right), replaced by its result."""
    if isinstance(expression, int):
        return expression
    sign, left, right = expression
    if isinstance(left, int) and isinstance(right, int):
        return result if (left, sign, right) == parts else expression
    reduced = reduced_by(left, parts, result)
    return (sign, reduced, right) if reduced != left else (sign, left, reduced_by(right, parts, result))


def as_text(expression: Expression, inner: bool = False) -> str:
    if isinstance(expression, int):
        return str(expression)
    sign, left, right = expression
    text = f"{as_text(left, True)} {sign} {as_text(right, True)}"
    return f"( {text} )" if inner else text


def numbers_in(expression: Expression) -> list[int]:
    return [expression] if isinstance(expression, int) else [*numbers_in(expression[1]), *numbers_in(expression[2])]


def value_of(expression: Expression) -> int | None:
    if isinstance(expression, int):
        return expression
    left, right = value_of(expression[1]), value_of(expression[2])
    return None if left is None or right is None else computed(left, expression[0], right)


def parse_expression(text: str) -> Expression | None:
    """The expression a text is (usual precedence, brackets, whole numbers), None if it is none or too long."""
    if len(text) > MAX_ANSWER or re.fullmatch(r"(?:[-+*/()]|[0-9]{1,6}(?![0-9])| )*", text) is None:
        return None
    tokens = re.findall(r"[-+*/()]|[0-9]+", text)
    at = 0

    def chain(signs: str) -> Expression | None:
        nonlocal at
        whole = chain("*/") if signs == "+-" else atom()
        while whole is not None and at < len(tokens) and tokens[at] in signs:
            sign = tokens[at]
            at += 1
            right = chain("*/") if signs == "+-" else atom()
            whole = None if right is None else (sign, whole, right)
        return whole

    def atom() -> Expression | None:
        nonlocal at
        token = tokens[at] if at < len(tokens) else ""
        at += 1
        if token == "(":
            inside = chain("+-")
            closed = at < len(tokens) and tokens[at] == ")"
            at += 1
            return inside if closed else None
        return int(token) if token.isdigit() else None

    whole = chain("+-")
    return whole if at == len(tokens) else None


def computed(left: int, sign: str, right: int) -> int | None:
    """What a step gives under the rules, None where it is illegal."""
    if sign == "/":
        value = left // right if right and left % right == 0 else -1
    else:
        value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return value if 0 <= value <= MAX_RESULT else None
