r"""From a written answer to tokens: spelling variants of LaTeX, Unicode and English are brought to one form.

>>> [t.text for t in tokenised(cleaned(r"$\dfrac{1{,}000}{2}$ hrs"))]
['\\frac', '{', '1000', '}', '{', '2', '}', 'hrs']
"""

from __future__ import annotations

import re
from typing import NamedTuple

from srm_utils.tasks.grading.number_words import with_digits

ANSWER_CHARACTERS = 1_000  #: longer answers are compared as text only
MAX_TOKENS = 400


class Refused(ValueError):
    """Not an answer that we read: outside the allow-list, unbalanced, or too large."""


class Token(NamedTuple):
    kind: str
    text: str
    spaced: bool


#: Full-width forms of ASCII, as Chinese and Japanese texts write them.
_FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_UNICODE: dict[int, str] = _FULL_WIDTH | str.maketrans(
    {
        **dict.fromkeys(["\u2212", "\u2013", "\u2014", "\u2010", "\u2011", "\u2012", "\ufe63"], "-"),
        **dict.fromkeys(["\u00a0", "\u2009", "\u202f", "\u3000", "\u2002", "\u2003", "\u200a"], " "),
        **dict.fromkeys(["\u200b", "\u2060", "\ufeff"], ""),
        "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": "/", "∗": "*",
        "⁄": "/", "∕": "/", "√": r"\sqrt ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
        "⩽": r"\le ", "⩾": r"\ge ", "∪": r"\cup ", "∈": r"\in ", "±": r"\pm ", "∓": r"\mp ", "°": " degrees ",
        "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ",
        "λ": r"\lambda ", "φ": r"\phi ", "ω": r"\omega ", "≈": r"\approx ", "≡": r"\equiv ", "∠": r"\angle ",
        "△": r"\triangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
        "’": "'", "‘": "'", "“": '"', "”": '"', "、": ", ", "。": ".", "【": "[", "】": "]",
        "½": " 1/2", "⅓": " 1/3", "⅔": " 2/3", "¼": " 1/4", "¾": " 3/4", "⅕": " 1/5", "⅛": " 1/8", "⟨": "(", "⟩": ")",
    }
)  # fmt: skip
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_PLAIN_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻₀₁₂₃₄₅₆₇₈₉", "0123456789-0123456789")

_SPACED_THOUSANDS = re.compile(
    r"(?<![0-9.,])([0-9]{1,3})((?:(?:\{,\}|,\\! ?|,\\,|\\,|\\ |~| )[0-9]{3})+)(?![0-9])(?! */)"
)
_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])(?!,[0-9])")
_SIZING = re.compile(
    r"\\(?:left|right)(?![A-Za-z])\s*\.|\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])"
)
_SPACING = re.compile(
    r"\\[!,;: ]|\\q?quad(?![A-Za-z])|\\(?:thin|med|thick)space(?![A-Za-z])|\\[hv]space\s*\*?\{[^{}]*\}"
    r"|~|\\\(|\\\)|\\\[|\\\]|\s"
)
WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|tt|sf|sc)?|math(?:rm|bf|it|sf|normal|tt)|mbox|operatorname\*?|boxed|fbox|bm"
    r"|boldsymbol|underline|emph)\s*\{([^{}]*)\}"
)
#: Markdown's bold, unlike a power written with two stars.
BOLD_PART = re.compile(r"(?<![\w)}\]])\*\*(?=\S)(.+?)(?<=\S)\*\*(?![\w({\\])")
_OVER = re.compile(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}")
_BARE_OVER = re.compile(r"([^{}]*)\\over(?![A-Za-z])([^{}]*)")
_SYNONYMS = (
    (re.compile(r"\^\s*\{?\s*\\circ(?![A-Za-z])\s*\}?|\\degree(?![A-Za-z])"), " degrees "),
    (re.compile(r"\\(?:[dtc]|s|nice)frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![A-Za-z])"), r"\\binom"),
    (re.compile(r"\\%|\b(?:per ?cent(?:age)?|pct)\b", re.IGNORECASE), "%"),
    (re.compile(r"\\(?:leq|leqslant)(?![A-Za-z])|<="), r"\\le "),
    (re.compile(r"\\(?:geq|geqslant)(?![A-Za-z])|>="), r"\\ge "),
    (re.compile(r"\\neq(?![A-Za-z])|!="), r"\\ne "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\langle(?![A-Za-z])"), "("),
    (re.compile(r"\\rangle(?![A-Za-z])"), ")"),
    (re.compile(r"\\lbrack(?![A-Za-z])"), "["),
    (re.compile(r"\\rbrack(?![A-Za-z])"), "]"),
    (re.compile(r"\\[lr]?[vV]ert(?![A-Za-z])"), "|"),
    (re.compile(r"\\(?:varnothing|emptyset)(?![A-Za-z])"), r"\\{\\}"),
    (re.compile(r"\\mathbb\s*\{?\s*R\s*\}?|\\R(?![A-Za-z])"), r"(-\\infty,\\infty)"),
    (re.compile(r"\\(?:simeq|doteq)(?![A-Za-z])"), r"\\approx "),
    (re.compile(r"\\equiv(?![A-Za-z])"), "="),
    (re.compile(r"\\ast(?![A-Za-z])"), "*"),
    (re.compile(r"\\colon(?![A-Za-z])"), ":"),
    (re.compile(r"\\(?:textdollar|dollar)(?![A-Za-z])"), "¤"),
    (re.compile(r"\\(?:euro|texteuro)(?![A-Za-z])"), "€"),
    (re.compile(r"\\(?:pounds|textsterling)(?![A-Za-z])"), "£"),
    (re.compile(r"\(\s*\\?(?:bmod|mod(?:ulo)?)\s+\{?([0-9]+|[a-z])\}?\s*\)"), r"\\pmod{\1}"),
    (re.compile(r"\\(?:bmod|mod)\s*\{?([0-9]+|[a-z])\}?"), r"\\pmod{\1}"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<=[0-9]) ?[xX] ?(?=[0-9])"), r"\\times "),
    (re.compile(r"\b(?:US|AU|CA|NZ) ?¤"), "¤"),
    (re.compile(r"^([+-]?) ?(USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|CAD|AUD|Rs\.?) ?([0-9.]+)"), r"\1\3 \2"),
)
MATRIX = re.compile(r"[\[(]?\s*\\begin\{([bpB]?matrix|smallmatrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}\s*[\])]?")
#: What may stand before an answer without changing it.
_LEAD = re.compile(
    r"(?:(?:therefore|thus|hence|so|then|approximately|approx\.?|about|around|roughly|exactly|precisely|simply|just|"
    r"clearly|obviously|indeed|actually|only|still|also|now|equal to|equals|given by|found to be|a total of)\b[\s,:]*"
    r"|[=:]\s*|(?:\\approx|\\sim)(?![A-Za-z])\s*)+(?=\S)",
    re.IGNORECASE,
)
_REST = re.compile(r",? (?:and )?(?:not|rather than|instead of) .*$", re.IGNORECASE)
_SIGNS = (
    (re.compile(r"^(?:negative|minus) (?=[0-9.¤\\])", re.IGNORECASE), "-"),
    (re.compile(r"^(?:positive|plus) (?=[0-9.¤\\])", re.IGNORECASE), ""),
    (re.compile(r"\bplus or minus\b|\bplus-minus\b", re.IGNORECASE), r"\\pm"),
)
CURRENCY = {"¤": "dollar", "€": "euro", "£": "sterling", "¥": "yen", "₹": "rupee"}
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6}(?![0-9A-Za-z.]))?)"
    r"|(?P<command>\\[A-Za-z]+|\\[{}])|(?P<word>[^\W\d_]+)|(?P<sign>[-+*/^_=<>()\[\]{},;:|!%'&¤€£¥₹])"
)


def cleaned(text: str) -> str:
    r"""Spelling variants of LaTeX, Unicode, Markdown and English brought to one form.

    >>> cleaned(r"$\dfrac{1{,}000}{2}$"), cleaned("approximately **twenty-one**"), cleaned("12, not 13")
    ('\\frac{1000}{2}', '21', '12')
    """
    if len(text) > ANSWER_CHARACTERS:
        raise Refused("too long")
    if any(ord(c) < 32 and c not in "\t\n\r" for c in text) or "..." in text or "…" in text or r"\ldots" in text:
        raise Refused("control characters or an ellipsis")
    s = BOLD_PART.sub(r"\1", text.strip())
    for _ in range(3):
        s = _unwrapped(s)
    s = _RAISED.sub(lambda m: "^{" + m.group().translate(_PLAIN_DIGITS) + "}", s)
    s = _LOWERED.sub(lambda m: "_{" + m.group().translate(_PLAIN_DIGITS) + "}", s)
    s = s.translate(_UNICODE).replace(r"\$", "¤")
    # One lone dollar sign is money; a pair of them encloses mathematics.
    s = s.replace("$", "¤") if s.count("$") == 1 else s.replace("$", " ")
    s = _SIZING.sub("", s)
    s = _SPACED_THOUSANDS.sub(lambda m: m.group(1) + re.sub(r"[^0-9]", "", m.group(2)), s)
    s = _SPACING.sub(" ", s.replace("\\\\", r"\cr "))
    for _ in range(4):
        s = WRAPPER.sub(r" \1 ", s)
    for _ in range(4):
        s = _OVER.sub(r"\\frac{\1}{\2}", s)
    if found := _BARE_OVER.fullmatch(s):
        s = rf"\frac{{{found[1]}}}{{{found[2]}}}"
    for pattern, replacement in _SYNONYMS:
        s = pattern.sub(replacement, s)
    if not re.search(r"[(\[]|\\\{|^\{", s) or re.search(r", |;", s):
        s = _THOUSANDS.sub(lambda m: m.group().replace(",", ""), s)
    s = " ".join(s.split()).rstrip(".,;: ").lstrip(",;: ")
    for _ in range(2):
        s = _unwrapped(s.removesuffix(r"\cr").strip())
    if found := _LEAD.match(s):
        s = s[found.end() :]
    s = with_digits(_REST.sub("", s))
    for pattern, replacement in _SIGNS:
        s = pattern.sub(replacement, s)
    return s.strip()


def _unwrapped(s: str) -> str:
    """Without the emphasis, code marks or quotation marks around it."""
    s = s.strip("` ")
    for mark in ("**", "__", '"', "'", "*"):
        if len(s) > 2 * len(mark) and s.startswith(mark) and s.endswith(mark) and mark not in s[len(mark) : -len(mark)]:
            s = s[len(mark) : -len(mark)].strip()
    return s


def tokenised(s: str) -> list[Token]:
    """The tokens of a cleaned text. Raises `Refused` for a character that is not read."""
    out: list[Token] = []
    at = 0
    while at < len(s):
        if s[at] == " ":
            at += 1
            continue
        found = _TOKEN.match(s, at)
        if not found or len(out) >= MAX_TOKENS:
            raise Refused("a character we do not read, or too many tokens")
        out.append(Token(str(found.lastgroup), found.group(), at > 0 and s[at - 1] == " "))
        at = found.end()
    return out
