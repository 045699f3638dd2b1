"""Recognise levels that have an order: ranges such as `18-24`, ratings such as `1 star`, and words such as `low`."""

import itertools
import math
import re
from collections.abc import Sequence

# Words of common scales; words of one line mean the same.
_SCALES = (
    ("none|no|zero|keine", "very low|sehr niedrig|sehr gering", "low|niedrig|gering",
     "medium|mid|moderate|mittel|average", "high|hoch", "very high|sehr hoch"),
    ("none|no|keine", "mild|light|slight|leicht", "moderate|mittel", "severe|heavy|strong|schwer|stark", "very severe"),
    ("xxs", "xs", "s", "m", "l", "xl", "xxl", "xxxl|3xl"),
    ("tiny", "small|klein|petit", "medium|mittel", "large|big|groß|gross|grand", "extra large|huge|very large"),
    ("short|kurz", "medium|mittel", "long|tall|lang"),
    ("slow", "medium|normal", "fast"),
    ("very bad|very poor|terrible|awful|sehr schlecht|ungenügend", "bad|poor|po|schlecht|mangelhaft",
     "fair|medium|average|ok|okay|neutral|fa|ta|mittel|ausreichend|typical", "good|gd|gut|befriedigend",
     "very good|sehr gut", "premium", "excellent|ex|ideal|outstanding"),
    ("ungenügend", "mangelhaft", "ausreichend", "befriedigend", "gut", "sehr gut"),
    ("none|not at all|gar nicht", "a little|little|wenig", "some|somewhat|etwas", "quite a bit|ziemlich",
     "a lot|very much|viel|sehr"),
    ("trifft nicht zu", "trifft eher nicht zu", "teils teils|teils/teils", "trifft eher zu", "trifft zu"),
    ("never|nie", "rarely|seldom|selten", "sometimes|occasionally|manchmal", "often|frequently|oft|häufig",
     "usually|very often|meistens", "always|immer"),
    ("strongly disagree", "disagree", "neutral|neither agree nor disagree|neither|undecided", "agree",
     "strongly agree"),
    ("very dissatisfied|very unsatisfied", "dissatisfied|unsatisfied", "neutral", "satisfied", "very satisfied"),
    ("very unlikely", "unlikely", "neutral|possible", "likely", "very likely"),
    ("cold|kalt", "cool|kühl", "mild|lukewarm", "warm", "hot|heiß"),
    ("beginner|novice|junior|anfänger", "intermediate|fortgeschritten", "advanced|senior", "expert|experte"),
    ("bronze", "silver|silber", "gold", "platinum|platin", "diamond"),
    ("first|1st|lowest", "second|2nd|middle", "third|3rd", "fourth|4th", "fifth|5th"),
    ("minor", "major", "critical"),
    ("low", "normal|medium", "high", "urgent", "critical"),
)  # fmt: skip
_RANKS = [{word: rank for rank, words in enumerate(scale) for word in words.split("|")} for scale in _SCALES]
_BELOW = r"<=?|≤|under|below|up to|less than|younger than|unter|bis|max\.?"
_ABOVE = r">=?|≥|over|above|more than|at least|older than|über|ab|from"
# As pandas.cut writes it.
_INTERVAL = re.compile(r"[\[(]\s*(-?[\d.]+|-inf)\s*,\s*(-?[\d.]+|inf)\s*[\])]")
MAX_RATINGS = 11
_RATINGS, _ORDINALS = {"star", "stern", "sterne", "étoile", "point"}, {"st", "nd", "rd", "th"}
_NUMBER = r"\d[\d,.' ]*"
_UNIT = r"[^\d\s<>+~-][^\d<>+~-]*"
_RANGE = re.compile(
    rf"\s*(?P<word>{_BELOW}|{_ABOVE})?\s*[$€£]?\s*(?P<low>{_NUMBER})\s*(?:{_UNIT})??"
    rf"(?:\s*(?:-|–|—|~|to|bis)\s*[$€£]?\s*(?P<high>{_NUMBER}))?"
    rf"\s*(?P<more>\+|or more|and over|and more)?\s*(?P<unit>{_UNIT})?\s*",
    re.IGNORECASE,
)


def find_order(levels: Sequence[str]) -> list[str] | None:
    """Return the levels in order, lowest first; None if they have none.

    >>> find_order(["65+", "18-24", "< 18", "25-64"])
    ['< 18', '18-24', '25-64', '65+']
    >>> find_order(["high", "Low", "medium"])
    ['Low', 'medium', 'high']
    >>> find_order(["2 stars", "10 stars", "1 star"])
    ['1 star', '2 stars', '10 stars']
    >>> find_order(["red", "green"])
    """
    if len(levels) < 2:
        return None
    words = {level: " ".join(level.lower().replace("_", " ").split()) for level in levels}
    for ranks in _RANKS:
        if (
            all(word in ranks for word in words.values())
            and len({ranks[word] for word in words.values()}) == len(levels) > 1
        ):
            return sorted(levels, key=lambda level: ranks[words[level]])
    return _order_ranges(levels)


def _order_ranges(levels: Sequence[str]) -> list[str] | None:
    intervals = {level: match for level in levels if (match := _INTERVAL.fullmatch(level))}
    if len(intervals) == len(levels):
        return _sort_ranges({level: (float(match[1]), float(match[2])) for level, match in intervals.items()})
    matches = {level: match for level in levels if (match := _RANGE.fullmatch(level))}
    if len(matches) < len(levels):
        return None
    n_ranges = sum(bool(match["high"] or match["more"] or match["word"]) for match in matches.values())
    # Numbers with a unit are numbers, unless they are a few ratings such as `1 star`.
    units = {(match["unit"] or "").strip().lower().removesuffix("s") for match in matches.values()}
    is_rating = len(levels) <= MAX_RATINGS and (units <= _RATINGS or units <= _ORDINALS)
    if not is_rating and not (n_ranges >= 2 or (n_ranges == 1 and len(levels) > 2)):
        return None
    return _sort_ranges({level: _limits(match) for level, match in matches.items()})


def _sort_ranges(limits: dict[str, tuple[float, float]]) -> list[str] | None:
    order = sorted(limits, key=lambda level: limits[level])
    are_apart = all(limits[low][1] <= limits[high][0] for low, high in itertools.pairwise(order))
    return order if are_apart and all(low <= high for low, high in limits.values()) else None


def _limits(match: "re.Match[str]") -> tuple[float, float]:
    low, word = _value(match["low"]), (match["word"] or "").lower()
    if word and re.fullmatch(_BELOW, word):
        return -math.inf, low
    if match["more"] or word:
        return low, math.inf
    return low, _value(match["high"]) if match["high"] else low


def _value(text: str) -> float:
    digits = text.strip().rstrip(",.' ").replace(" ", "").replace("'", "")
    # Three digits follow a mark of thousands.
    digits = re.sub(r"[,.](?=\d{3}(\D|$))", "", digits).replace(",", ".")
    try:
        return float(digits)
    except ValueError:
        return math.nan
