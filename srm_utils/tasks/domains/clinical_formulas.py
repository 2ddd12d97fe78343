"""Published clinical formulas: inputs with units and ranges, the expression as it is printed, and its source.

What a formula is (`Formula`, `Input`) and the nineteen that compute a quantity; `clinical_scores` has the scores. A
range says which values a note may hold (`low` to `high`, an impossible value lies far outside) and to which the source
applies (`valid`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: What a note states: a number, or one of a few words.
Value = float | str
Values = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Input:
    """One thing that a formula needs.

    `name` is what notes call it, `unit` the formula's own unit ("" for a pure number), `low` and `high` the values that
    notes hold in that unit, `decimals` their decimals, `others` further units in which laboratories state it. `words`
    are the possible values of what is no number. `points` makes a value into points, for a score.
    """

    name: str
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    decimals: int = 0
    others: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    points: Callable[[Value], int] | None = field(default=None, compare=False)

    @property
    def variable(self) -> str:
        """The name in expressions and programs.

        >>> Input("urea nitrogen", "mg/dL").variable
        'urea_nitrogen'
        """
        return self.name.replace(" ", "_")


@dataclass(frozen=True, slots=True)
class Formula:
    """One published formula or score.

    `title` is what a note asks for, `unit` that of the result ("" for points and ratios), `decimals` those to which it
    is stated. `expression` gives the right side for a patient, in the inputs' variables: some formulas have branches.
    `source` is the publication, `doi` its identifier, `applies` says to whom. `valid` are the values to which the
    source applies, by input, where they are narrower than what can be measured. `ages` are those of the patients in
    notes.
    """

    key: str
    title: str
    unit: str
    decimals: int
    inputs: tuple[Input, ...]
    expression: Callable[[Values], str] = field(compare=False)
    source: str
    doi: str
    applies: str
    valid: Mapping[str, tuple[float, float]] = field(default_factory=dict, compare=False)
    ages: tuple[int, int] = (19, 94)

    @property
    def is_score(self) -> bool:
        """Whether the result is a sum of points, which is right or wrong without tolerance."""
        return all(i.points is not None for i in self.inputs)


def number(value: Value) -> float:
    """A value that must be a number. Raises TypeError for a word."""
    if isinstance(value, str):
        raise TypeError(f"{value!r} is a word where a number is needed.")
    return float(value)


def _fixed(expression: str) -> Callable[[Values], str]:
    return lambda values: expression


# ---------------------------------------------------------------- inputs that several formulas share

AGE = Input("age", "years", 19, 94)
SEX = Input("sex", words=("female", "male"))
WEIGHT = Input("weight", "kg", 42, 128, others=("lb",))
HEIGHT = Input("height", "cm", 146, 199, others=("inch",))
CREATININE = Input("creatinine", "mg/dL", 0.5, 6.0, 1, ("umol/L",))
SODIUM = Input("sodium", "mEq/L", 118, 158, others=("mmol/L",))
GLUCOSE = Input("glucose", "mg/dL", 62, 480, others=("mmol/L",))
UREA = Input("urea nitrogen", "mg/dL", 6, 92, others=("mmol/L",))
ALBUMIN = Input("albumin", "g/dL", 1.6, 5.1, 1, ("g/L",))
BILIRUBIN = Input("bilirubin", "mg/dL", 0.4, 9.5, 1, ("umol/L",))
INR = Input("INR", "", 0.9, 3.6, 1)

# ---------------------------------------------------------------- expressions with branches


def _cockcroft_gault(values: Values) -> str:
    plain = "( 140 - age ) * weight / ( 72 * creatinine )"
    return f"{plain} * 0.85" if values["sex"] == "female" else plain


def _ckd_epi(values: Values) -> str:
    female = values["sex"] == "female"
    kappa, alpha = ("0.7", "-0.241") if female else ("0.9", "-0.302")
    power = alpha if number(values["creatinine"]) <= float(kappa) else "-1.2"
    plain = f"142 * ( creatinine / {kappa} ) ** {power} * 0.9938 ** age"
    return f"{plain} * 1.012" if female else plain


def _devine(values: Values) -> str:
    return f"{'45.5' if values['sex'] == 'female' else '50'} + 2.3 * ( height / 2.54 - 60 )"


def _water_deficit(values: Values) -> str:
    return f"{'0.5' if values['sex'] == 'female' else '0.6'} * weight * ( sodium / 140 - 1 )"


def _maintenance(values: Values) -> str:
    weight = number(values["weight"])
    if weight <= 10:
        return "4 * weight"
    return "40 + 2 * ( weight - 10 )" if weight <= 20 else "60 + ( weight - 20 )"


def _meld(values: Values) -> str:
    # Values below 1 count as 1, and creatinine above 4 as 4, so that no logarithm is negative.
    said = {i: i if number(values[i]) >= 1 else "1" for i in ("bilirubin", "INR", "creatinine")}
    if number(values["creatinine"]) > 4:
        said["creatinine"] = "4"
    return (
        f"3.78 * log ( {said['bilirubin']} ) + 11.2 * log ( {said['INR']} ) "
        f"+ 9.57 * log ( {said['creatinine']} ) + 6.43"
    )


def _meld_sodium(values: Values) -> str:
    sodium = number(values["sodium"])
    if not 125 <= sodium <= 137:  # counts as the nearer end
        said = "125" if sodium < 125 else "137"
        return f"MELD + 1.32 * ( 137 - {said} ) - 0.033 * MELD * ( 137 - {said} )"
    return "MELD + 1.32 * ( 137 - sodium ) - 0.033 * MELD * ( 137 - sodium )"


# ---------------------------------------------------------------- the formulas

EQUATIONS: tuple[Formula, ...] = (
    Formula("bmi", "body mass index", "kg/m**2", 1, (WEIGHT, HEIGHT), _fixed("weight / ( height / 100 ) ** 2"),
            "Keys et al., Indices of relative weight and obesity, J Chronic Dis 1972;25:329-343",
            "10.1016/0021-9681(72)90027-6", "adults"),
    Formula("body_surface", "body surface area by Mosteller", "m**2", 2, (WEIGHT, HEIGHT),
            _fixed("( height * weight / 3600 ) ** 0.5"),
            "Mosteller, Simplified calculation of body-surface area, N Engl J Med 1987;317:1098",
            "10.1056/NEJM198710223171717", "adults and children"),
    Formula("ideal_weight", "ideal body weight by Devine", "kg", 1,
            (SEX, Input("height", "cm", 154, 199, others=("inch",))), _devine,
            "Devine, Gentamicin therapy, Drug Intell Clin Pharm 1974;8:650-655", "10.1177/106002807400801104",
            "adults of at least 60 inches", {"height": (152.4, 230)}),
    Formula("arterial_pressure", "mean arterial pressure", "mmHg", 0,
            (Input("systolic pressure", "mmHg", 84, 212, others=("kPa",)),
             Input("diastolic pressure", "mmHg", 42, 82, others=("kPa",))),
            _fixed("( systolic_pressure + 2 * diastolic_pressure ) / 3"),
            "DeMers and Wachs, Physiology, mean arterial pressure, StatPearls, NBK538226", "",
            "adults at an ordinary heart rate"),
    Formula("anion_gap", "anion gap", "mEq/L", 0,
            (SODIUM, Input("chloride", "mEq/L", 82, 104, others=("mmol/L",)),
             Input("bicarbonate", "mEq/L", 6, 13, others=("mmol/L",))),
            _fixed("sodium - chloride - bicarbonate"),
            "Emmett and Narins, Clinical use of the anion gap, Medicine 1977;56:38-54",
            "10.1097/00005792-197756010-00002", "any patient; albumin is not corrected for"),
    Formula("corrected_calcium", "calcium corrected for albumin", "mg/dL", 1,
            (Input("calcium", "mg/dL", 6.4, 12.8, 1, ("mmol/L",)), ALBUMIN),
            _fixed("calcium + 0.8 * ( 4 - albumin )"),
            "Payne et al., Interpretation of serum calcium in patients with abnormal serum proteins, "
            "Br Med J 1973;4:643-646", "10.1136/bmj.4.5893.643", "adults; ionised calcium is better where it matters"),
    Formula("corrected_sodium", "sodium corrected for glucose", "mEq/L", 0,
            (SODIUM, Input("glucose", "mg/dL", 164, 680, others=("mmol/L",))),
            _fixed("sodium + 0.024 * ( glucose - 100 )"),
            "Hillier et al., Hyponatremia: evaluating the correction factor for hyperglycemia, "
            "Am J Med 1999;106:399-403", "10.1016/S0002-9343(99)00055-8", "glucose above 100 mg/dL",
            {"glucose": (100, 1500)}),
    Formula("osmolality", "calculated serum osmolality", "mOsm/kg", 0, (SODIUM, GLUCOSE, UREA),
            _fixed("2 * sodium + glucose / 18 + urea_nitrogen / 2.8"),
            "Smithline and Gardner, Gaps - anionic and osmolal, JAMA 1976;236:1594-1597", "",
            "adults without ethanol or other osmoles"),
    Formula("cockcroft_gault", "creatinine clearance by Cockcroft and Gault", "mL/min", 1,
            (AGE, SEX, WEIGHT, CREATININE), _cockcroft_gault,
            "Cockcroft and Gault, Prediction of creatinine clearance from serum creatinine, Nephron 1976;16:31-41",
            "10.1159/000180580", "adults with stable creatinine", {"age": (18, 100)}),
    Formula("ckd_epi", "glomerular filtration rate by CKD-EPI 2021", "mL/min", 1, (AGE, SEX, CREATININE), _ckd_epi,
            "Inker et al., New creatinine- and cystatin C-based equations to estimate GFR without race, "
            "N Engl J Med 2021;385:1737-1749", "10.1056/NEJMoa2102953", "adults with stable creatinine",
            {"age": (18, 110)}),
    Formula("sodium_excretion", "fractional excretion of sodium", "%", 2,
            (Input("urine sodium", "mEq/L", 8, 96, others=("mmol/L",)), SODIUM,
             Input("urine creatinine", "mg/dL", 24, 190), Input("serum creatinine", "mg/dL", 0.8, 6.0, 1, ("umol/L",))),
            _fixed("100 * urine_sodium * serum_creatinine / ( sodium * urine_creatinine )"),
            "Espinel, The FENa test: use in the differential diagnosis of acute renal failure, JAMA 1976;236:579-581",
            "10.1001/jama.1976.03270060029022", "acute kidney injury with little urine, without diuretics"),
    Formula("qtc", "corrected QT interval by Bazett", "ms", 0,
            (Input("QT interval", "ms", 310, 498, others=("s",)), Input("heart rate", "/min", 46, 118)),
            _fixed("QT_interval / ( 60 / heart_rate ) ** 0.5"),
            "Bazett, An analysis of the time-relations of electrocardiograms, Heart 1920;7:353-370",
            "10.1111/j.1542-474X.1997.tb00325.x", "heart rates of 60 to 100; over-corrects above"),
    Formula("oxygen_gradient", "alveolar-arterial oxygen gradient", "mmHg", 0,
            (Input("inspired oxygen", "%", 21, 60), Input("carbon dioxide pressure", "mmHg", 24, 62, others=("kPa",)),
             Input("oxygen pressure", "mmHg", 42, 64, others=("kPa",))),
            _fixed("7.13 * inspired_oxygen - carbon_dioxide_pressure / 0.8 - oxygen_pressure"),
            "Hantzidiamantis and Amaro, Physiology, alveolar to arterial oxygen gradient, StatPearls, NBK545153", "",
            "sea level: 760 mmHg, of which 47 are water vapour"),
    Formula("ldl", "LDL cholesterol by Friedewald", "mg/dL", 0,
            (Input("total cholesterol", "mg/dL", 164, 312, others=("mmol/L",)),
             Input("HDL cholesterol", "mg/dL", 24, 72, others=("mmol/L",)),
             Input("triglyceride", "mg/dL", 52, 388, others=("mmol/L",))),
            _fixed("total_cholesterol - HDL_cholesterol - triglyceride / 5"),
            "Friedewald et al., Estimation of the concentration of low-density lipoprotein cholesterol in plasma, "
            "Clin Chem 1972;18:499-502", "10.1093/clinchem/18.6.499", "triglycerides below 400 mg/dL, fasting",
            {"triglyceride": (0, 400)}),
    Formula("water_deficit", "free water deficit", "L", 1,
            (SEX, WEIGHT, Input("sodium", "mEq/L", 146, 172, others=("mmol/L",))), _water_deficit,
            "Adrogue and Madias, Hypernatremia, N Engl J Med 2000;342:1493-1499", "10.1056/NEJM200005183422006",
            "adults with sodium above 140 mEq/L", {"sodium": (140, 200)}),
    Formula("maintenance", "hourly maintenance fluid by the 4-2-1 rule", "mL/h", 0,
            (Input("weight", "kg", 4, 48, others=("lb",)),), _maintenance,
            "Holliday and Segar, The maintenance need for water in parenteral fluid therapy, "
            "Pediatrics 1957;19:823-832",
            "10.1542/peds.19.5.823", "children without losses beyond the usual ones", ages=(1, 12)),
    Formula("dose", "volume of the dose", "mL", 1,
            (Input("weight", "kg", 42, 128, others=("lb",)), Input("dose for each kg", "mg/kg", 2, 15),
             Input("drug concentration", "mg/mL", 5, 50)),
            _fixed("weight * dose_for_each_kg / drug_concentration"),
            "Toney-Butler, Nicolas and Wilcox, Dose calculation desired over have formula method, "
            "StatPearls, NBK493162",
            "", "drugs dosed by body weight, without a maximum"),
    Formula("meld", "MELD score", "", 0, (BILIRUBIN, INR, CREATININE), _meld,
            "Kamath et al., A model to predict survival in patients with end-stage liver disease, "
            "Hepatology 2001;33:464-470", "10.1053/jhep.2001.22172", "adults with cirrhosis, not on dialysis"),
    Formula("meld_sodium", "MELD-Na score", "", 0, (Input("MELD", "", 12, 39), SODIUM), _meld_sodium,
            "Kim et al., Hyponatremia and mortality among patients on the liver-transplant waiting list, "
            "N Engl J Med 2008;359:1018-1026 (coefficients of the network's policy of 2016)", "10.1056/NEJMoa0801209",
            "MELD above 11", {"MELD": (11.5, 40)}),
)  # fmt: skip
