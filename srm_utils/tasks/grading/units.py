"""The words behind a number: units, counted things, and what is neither.

A unit or a counted thing may be left away (5 cm for 5, 18 apples for 18). Any other words change what is said
("5 less than the total", "5 wrong"), so they are kept and never forgiven: such a unit starts with `UNFORGIVEN`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

UNFORGIVEN = "?"

#: Spellings by unit; the first word of each entry is the unit's name.
UNIT_NAMES: dict[str, str] = {
    spelling: names.split()[0]
    for names in (
        "m meter metre mtr", "cm centimeter centimetre", "mm millimeter millimetre", "km kilometer kilometre kms",
        "in inch inche", "ft foot feet", "yd yard", "mi mile", "g gram gm gms", "kg kilogram kilo kgs",
        "mg milligram", "lb pound lbs", "oz ounce", "s second sec", "min minute mins", "h hour hr", "d day",
        "wk week", "mo month", "yr year", "ms millisecond",
        "l L liter litre", "ml mL milliliter millilitre", "dollar USD usd buck", "euro EUR eur", "cent",
        "sterling GBP gbp", "yen JPY", "rupee INR Rs", "yuan CNY RMB rmb", "franc CHF", "won peso ruble",
        "degree deg", "mph", "kph kmh", "unit", "square sq", "cubic cu", "per", "radian rad",
        "J joule", "kJ kilojoule", "N newton", "W watt", "kW kilowatt", "kWh", "V volt", "ampere amp", "Hz hertz",
        "kHz", "MHz", "GHz", "Pa pascal", "kPa", "K kelvin", "C celsius", "F fahrenheit", "mol mole", "cal calorie",
        "kcal kilocalorie", "eV", "ha hectare", "acre", "gal gallon", "qt quart", "pt pint", "cup", "tbsp tablespoon",
        "tsp teaspoon", "tonne ton", "byte", "kb KB kilobyte", "mb MB megabyte", "gb GB gigabyte", "bit",
        "atm", "bar", "ohm", "dB decibel", "light-year", "nm nanometer nanometre",
    )
    for spelling in names.split()
}  # fmt: skip

#: Things that are counted or measured, in the singular: only these are forgiven in the singular.
_THINGS = set(
    """
    adult animal answer apple area aunt baby bag bagel ball balloon banana band bar barrel basket bat battery beach bead
    bean bear bed bee beer bike bird biscuit block blueberry board boat book bottle bouquet bowl box boy bracelet branch
    bread brick bridge brother brownie bucket bug building bus bush business butter butterfly button cabin cake camera
    can candle candy car card carrot carton case cat chair chance change chapter chicken child chip chocolate circle
    city class clock coach coconut coffee coin color colour combination cookie corn cost couple cow crate crayon cream
    customer cycle dance desk diamond difference digit dinner distance dog doll donut door dress drink driver drop duck
    edge egg element employee episode error eraser event face factor family fan farm farmer fence file fish flavor
    flight floor flour flower foot fork friend frog fruit fuel gallon game garden gas gift girl glass goal goat gold
    grape grass group guest guitar hair hamburger hand hat head height home horse hose house ice idea income inch ink
    integer item jar job juice jump key kid kilometer kitten knife lamp lap leaf lemon length lesson letter level
    library light line liquid list loaf lock log loss lunch machine man mango marble mark match meal meat message
    milk money monkey mother mouse movie muffin mug music nail necklace neighbor newspaper night nickel notebook nurse
    object octopus oil onion option orange order outcome oven owl pack package packet page paint pair pan paper parent
    part party passenger path pay peach pear pen pencil penny people pepper permutation person pet phone photo piano
    picture pie piece pig pile pineapple pizza place plan planet plant plate player plum point pole pool post potato
    pound present price prize problem profit project puppy puzzle quarter question rabbit radio radius rate ratio ream
    recipe revenue ribbon rice ride ring road robot rock room root rope rose round row ruler salad salary salmon salt
    sandwich saving scarf school score seat section seed session set sheep sheet shelf shell ship shirt shoe shop
    shrimp side sister size snack soap sock soda soldier solution song space speed spider spoon square squirrel staff
    stair stamp star station stem step stick sticker stone store story strawberry street string student subset sugar
    suit sum swimmer table tank tap tape task tax teacher team term test text thing ticket tie tile time tip tire toast
    tomato tool tooth top total towel town toy train tray tree trip trophy truck tube turkey turtle umbrella uncle
    value van vase vegetable vehicle vertex video visitor vote wall wallet wage watch water watermelon way wedding
    weight wheat wheel width win window wine winner woman wood word worker yarn zebra age perimeter volume surface
    temperature discount interest balance budget expense
    deer geese children men women mice teeth feet dice oxen leaves knives loaves shelves lives wolves calves halves
    furniture homework equipment luggage traffic information percentage
    """.split()
)
_NO_PLURALS = set(
    """
    less plus minus times is was has does this thus always perhaps others ones tens hundreds thousands millions yes
    across besides unless towards afterwards otherwise sometimes means equals makes gives gets goes says wins loses
    various obvious previous serious famous numerous false
    """.split()
)
#: Words that change what a number says, or that only a statement about it holds.
_CHANGING = set(
    """
    less fewer greater larger smaller bigger higher lower longer shorter than times wrong incorrect false not no never
    or plus minus over under below above divided multiplied by squared cubed power half double doubled twice triple
    tripled percent negative mod modulo base factorial choose point most least if but correct right true maybe unless
    except because hence is are was were be been equals equal does did do can could would should cannot isn aren wasn
    neither none impossible unknown undefined unclear x y z
    """.split()
)
_CONNECTORS = set(
    """
    of per a an each every in for on at left remaining total altogether together old long tall high wide deep away ago
    later today tomorrow now overall combined apart early late spent saved needed required available extra more
    the to from with his her their its
    """.split()
)
#: A statement may consist of these alone: "18 left", "5 more".
_ALONE = set(
    "left remaining total altogether together old long tall high wide deep away ago later more extra each in apiece "
    "overall combined people pm am now today".split()
)


def is_forgiven(words: Sequence[str]) -> bool:
    """Whether the words behind a number only name what is counted.

    >>> is_forgiven(["red", "apples", "left"]), is_forgiven(["less", "than", "the", "total"]), is_forgiven(["wrong"])
    (True, False, False)
    """
    lowered = [w.lower() for w in words]
    if lowered[:1] == ["times"] and (len(lowered) == 1 or lowered[1] in ("a", "per", "each", "every", "in")):
        return True  # "5 times a week", unlike "5 times larger"
    if not lowered or len(lowered) > 12 or set(lowered) & _CHANGING:
        return False
    if set(lowered) <= _ALONE:
        return True
    at = next((i for i, w in enumerate(lowered) if w in _CONNECTORS and not _is_thing(w)), len(lowered))
    while at == 0 or (at < len(lowered) and lowered[at - 1] in _CONNECTORS):  # "more apples", "of the apples"
        at = next((i for i in range(at + 1, len(lowered)) if lowered[i] in _CONNECTORS), len(lowered))
    head = [w for w in lowered[:at] if w not in _CONNECTORS]
    return 0 < len(head) <= 4 and _is_thing(head[-1])


def _is_thing(word: str) -> bool:
    """Whether a word is a known thing or looks like a plural."""
    if word in _THINGS or word in UNIT_NAMES or _singular_of(word) in UNIT_NAMES:
        return True
    return len(word) > 3 and word not in _NO_PLURALS and re.search(r"[^sui]s$", word) is not None


def _singular_of(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 2 else word


def unit_of(word: str) -> str:
    """The name of a unit, whatever its spelling; of another word its singular in lower case.

    >>> unit_of("hrs"), unit_of("Feet"), unit_of("apples")
    ('h', 'ft', 'apple')
    """
    for spelling in (word, word.lower(), _singular_of(word), _singular_of(word.lower())):
        if spelling in UNIT_NAMES:
            return UNIT_NAMES[spelling]
    return _singular_of(word.lower()) if len(word) > 3 else word.lower()


def is_unit(word: str) -> bool:
    """Whether a word is a unit in one of its spellings, no mere letter of a product.

    >>> is_unit("yrs"), is_unit("xyz")
    (True, False)
    """
    return word in UNIT_NAMES or (len(word) > 2 and unit_of(word) in _UNITS)


def named_unit(words: Sequence[str]) -> str:
    """One name for the words and signs behind a number, marked where they are neither unit nor counted thing.

    >>> named_unit(["miles", "per", "hour"]), named_unit(["square", "cm"]), named_unit(["wrong"])
    ('mph', 'cm ^ 2', '?wrong')
    """
    names = [unit_of(w) if w[0].isalpha() else w for w in words if w not in ("{", "}")]
    if names and names[-1] in ("squared", "cubed"):
        names[-1:] = ["^", "2" if names[-1] == "squared" else "3"]
    name = " ".join("per" if n in ("/", "an", "a", "each", "every") and 0 < i < len(names) - 1 else n
                    for i, n in enumerate(names))  # fmt: skip
    name = re.sub(r"\bsquare (\S+)", r"\1 ^ 2", name)
    name = re.sub(r"\bcubic (\S+)", r"\1 ^ 3", name)
    name = re.sub(r"^unit \^ [23]$", "unit", name)
    name = {"mi per h": "mph", "km per h": "kph", "lb sterling": "sterling"}.get(name, name)
    words_only = [w for w in words if w[0].isalpha()]
    known = all(unit_of(w) in _UNITS for w in words_only if w not in ("a", "an", "each", "every"))
    if known or is_forgiven(words_only):
        return name
    return UNFORGIVEN + name


_UNITS = set(UNIT_NAMES.values()) | {"squared", "cubed"}
