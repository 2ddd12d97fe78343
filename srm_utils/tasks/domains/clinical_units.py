"""Units of the clinical domain, by `pint`: which amount a text states, and the factor that it is taken times.

A laboratory states one substance by its mass or by its amount, so a conversion needs the molar mass: 1 mg/dL of
creatinine is 88.4 umol/L, 1 mg/dL of glucose is 0.0555 mmol/L. Milliequivalents are taken for ions of one charge only
(sodium, chloride, bicarbonate), where 1 mEq is 1 mmol.
"""

from __future__ import annotations

from functools import cache
from typing import Any

#: Molar masses in g/mol, by the name of a quantity. Blood urea nitrogen counts the two nitrogen atoms of urea.
MOLAR_MASSES = {
    "creatinine": 113.12,
    "serum creatinine": 113.12,
    "urine creatinine": 113.12,
    "glucose": 180.16,
    "urea nitrogen": 28.01,
    "bilirubin": 584.66,
    "calcium": 40.08,
    "total cholesterol": 386.65,
    "HDL cholesterol": 386.65,
    "triglyceride": 885.4,
}


@cache
def registry() -> Any:
    """The unit registry of `pint`, with milliequivalents and osmoles.

    Raises ImportError that says how to install `pint`.
    """
    try:
        import pint
    except ImportError as error:
        raise ImportError("Units need the package pint; install it with: pip install 'srm_utils[domains]'.") from error
    units: Any = pint.UnitRegistry()
    units.define("milliequivalent = millimole = mEq")
    units.define("osmole = mole = Osm")
    return units


@cache
def factor(quantity: str, unit: str, wanted: str) -> float:
    """What a value in `unit` is taken times to be in `wanted`.

    `quantity` is the name of what is measured, whose molar mass may be needed. Raises ValueError in one sentence for a
    unit that does not exist and for one of another kind.

    >>> round(factor("creatinine", "umol/L", "mg/dL") * 88.4, 3), factor("height", "inch", "cm")
    (1.0, 2.54)
    """
    import pint

    units = registry()
    try:
        amount = units.Quantity(1.0, _spelt(unit))
    except (pint.UndefinedUnitError, pint.DefinitionSyntaxError, AssertionError, ValueError, TypeError):
        raise ValueError(f"There is no unit {unit!r}; give {quantity} in {wanted}.") from None
    target = units.Quantity(1.0, _spelt(wanted))
    mass = MOLAR_MASSES.get(quantity)
    for per in (1.0, units.Quantity(mass, "g/mol"), 1 / units.Quantity(mass, "g/mol")) if mass else (1.0,):
        if (amount * per).is_compatible_with(target):
            return float((amount * per).to(target.units).magnitude)
    raise ValueError(f"{unit!r} is no unit of {quantity}; give it in {wanted}.")


def taught(quantity: str, unit: str, wanted: str) -> tuple[str, float]:
    """A conversion as it is taught: the sign and a number of four digits, which is above 1.

    >>> taught("creatinine", "umol/L", "mg/dL"), taught("glucose", "mmol/L", "mg/dL"), taught("weight", "lb", "kg")
    (('/', 88.4), ('*', 18.02), ('/', 2.205))
    """
    times = factor(quantity, unit, wanted)
    return ("*", float(f"{times:.4g}")) if times >= 1 else ("/", float(f"{1 / times:.4g}"))


def _spelt(unit: str) -> str:
    """A unit as `pint` reads it: "/min" is one over a minute."""
    return f"1{unit}" if unit.startswith("/") else unit
