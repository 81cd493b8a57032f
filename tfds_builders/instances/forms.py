"""Forms of expressions: "{n}" is the noun, "{a}" the noun of a second object.

Left and right appear only as words that `mirror_sentence` exchanges in training.
"""

KINDS = (
    "name",
    "position",
    "ordinal",
    "size",
    "nearness",
    "colour",
    "relation",
    "pair",
)
NOTHING = "nothing"

NAME = ("{n}",)
ONLY = ("only {n}", "single {n}", "{n} that is the only one", "one {n}")


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


_SIDE = _split(
    "{d} {n} | {d} {n} | {n} on the {d} | {n} on the {d} | {n} on {d} | {n} {d} | "
    "{n} to the {d} | {n} on the {d} side | {n} on {d} side | {d} side {n} | "
    "{n} at the {d} | {n} at {d} | {n} on the {d} hand side | {d} hand {n} | "
    "{n} that is on the {d} | {n} which is on the {d} | {n} on your {d} | "
    "{n} over on the {d} | {n} to our {d} | {n}, {d} side"
)
_FURTHEST = _split(
    "{d}most {n} | {d}most {n} | {n} furthest to the {d} | {n} farthest {d} | "
    "far {d} {n} | {n} on the far {d} | {n} on far {d} | {n} far {d} | "
    "{n} all the way to the {d} | {n} that is furthest {d} | {d} most {n} | "
    "furthest {d} {n} | {n} furthest {d} | "
    "{n} closest to the {d} edge"
)
SIDE = {d: tuple(f.replace("{d}", d) for f in _SIDE) for d in ("left", "right")}
FURTHEST = {d: tuple(f.replace("{d}", d) for f in _FURTHEST) for d in SIDE}
VERTICAL = {
    "top": _split(
        "top {n} | {n} at the top | upper {n} | {n} at top | {n} up top | "
        "{n} that is at the top | {n} on the top"
    ),
    "bottom": _split(
        "bottom {n} | {n} at the bottom | lower {n} | {n} at bottom | "
        "{n} that is at the bottom | {n} on the bottom | {n} down low"
    ),
}
UTMOST = {
    "top": _split("topmost {n} | highest {n} | uppermost {n} | {n} highest up"),
    "bottom": _split("bottommost {n} | lowest {n} | {n} furthest down"),
}
MIDDLE = _split(
    "middle {n} | {n} in the middle | center {n} | {n} in the center | {n} in middle | "
    "centre {n} | {n} in the centre | central {n} | {n} middle | "
    "{n} that is in the middle | {n} in center"
)
BETWEEN = ("{n} between the other two", "{n} in between")
_CORNER = _split(
    "{n} in the {v} {d} corner | {v} {d} {n} | {v} {d} corner {n} | {n} {v} {d} | "
    "{n} at the {v} {d} | {n} in {v} {d} | {n} in the {v} {d} | {n} {v} {d} corner | "
    "{n} in the corner at the {v} {d}"
)


def corner(vertical: str, side: str) -> tuple[str, ...]:
    """Returns the forms of a corner, such as ("top", "left")."""
    words = {"top": ("top", "upper"), "bottom": ("bottom", "lower")}[vertical]
    return tuple(
        form.replace("{v}", word).replace("{d}", side)
        for form in _CORNER
        for word in words
    )


_ORDINALS = (
    ("first", "1st"),
    ("second", "2nd"),
    ("third", "3rd"),
    ("fourth", "4th"),
    ("fifth", "5th"),
    ("sixth", "6th"),
    ("seventh", "7th"),
    ("eighth", "8th"),
)
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_ORDINAL = _split(
    "{o} {n} from the {d} | {o} {n} from the {d} | {o} {n} from {d} | "
    "{n} {o} from the {d} | {n} {o} from {d} | {o} {n} counting from the {d} | "
    "{n} that is {o} from the {d} | {n} number {k} from the {d} | {o} from {d} {n}"
)


def ordinal(place: int, side: str) -> tuple[str, ...]:
    """Returns the forms of a zero-based place counted from a side."""
    return tuple(
        form.replace("{o}", word).replace("{k}", _NUMBERS[place]).replace("{d}", side)
        for form in _ORDINAL
        for word in _ORDINALS[place]
    )


MOST_COUNTED = len(_ORDINALS) - 2  # `absent` counts two further.

BIG = _split("big {n} | large {n} | {n} that is big")
BIGGEST = _split(
    "biggest {n} | largest {n} | big {n} | large {n} | {n} that is the biggest | "
    "biggest of the {n} | {n} which is largest"
)[:5]
BIGGER = _split("bigger {n} | larger {n} | {n} that is bigger | {n} which is larger")
SMALL = _split("small {n} | little {n} | tiny {n}")
SMALLEST = _split(
    "smallest {n} | small {n} | little {n} | littlest {n} | tiniest {n} | "
    "{n} that is the smallest"
)
SMALLER = _split(
    "smaller {n} | littler {n} | {n} that is smaller | {n} which is smaller"
)
FRONT = _split(
    "{n} in front | front {n} | {n} in the front | {n} in the foreground | "
    "foreground {n} | {n} up front | {n} near us | {n} at the front"
)
CLOSEST = _split(
    "closest {n} | nearest {n} | {n} closest to us | {n} nearest to us | "
    "{n} closest to the camera | {n} nearest the camera | {n} closest to me | "
    "{n} closest | {n} nearest | {n} closest to the viewer"
)
CLOSER = _split("closer {n} | nearer {n} | {n} closer to us | {n} that is closer")
BACK = _split(
    "{n} in the back | back {n} | {n} in the background | {n} in back | {n} behind | "
    "{n} at the back | background {n} | rear {n} | {n} in the distance | "
    "{n} far away | distant {n}"
)
FURTHEST_BACK = _split(
    "furthest {n} | farthest {n} | {n} furthest away | {n} farthest from us | "
    "{n} furthest back | most distant {n} | {n} farthest away | "
    "{n} furthest from the camera"
)
FURTHER = _split("further {n} | {n} further away | {n} farther away | {n} further back")
COLOUR = _split(
    "{c} {n} | {c} {n} | {c} {n} | {n} that is {c} | {c} colored {n} | "
    "{n} which is {c} | {c} coloured {n} | {n} with {c} color"
)
CLOTHES = _split(
    "{n} in {c} | {n} wearing {c} | {n} dressed in {c} | {n} in {c} clothes | "
    "{n} with {c} clothes | {n} in the {c} top"
)
RELATIONS = {
    "left": _split(
        "{n} to the left of {a} | {n} left of {a} | {n} on the left of {a} | "
        "{n} on the left side of {a}"
    ),
    "right": _split(
        "{n} to the right of {a} | {n} right of {a} | {n} on the right of {a} | "
        "{n} on the right side of {a}"
    ),
    "above": _split("{n} above {a} | {n} over {a} | {n} higher than {a}"),
    "below": _split("{n} below {a} | {n} under {a} | {n} underneath {a}")[:1]
    + ("{n} lower than {a}", "{n} beneath {a}"),
    "near": _split(
        "{n} next to {a} | {n} beside {a} | {n} by {a} | {n} near {a} | "
        "{n} close to {a} | {n} right by {a}"
    )[:5],
    "on": _split("{n} on {a} | {n} on top of {a} | {n} that is on {a} | {n} on {a}"),
    "riding": _split("{n} on {a} | {n} riding {a} | {n} on {a} | {n} who rides {a}"),
    "front": _split("{n} in front of {a} | {n} that is in front of {a}"),
    "behind": _split("{n} behind {a} | {n} that is behind {a} | {n} in back of {a}"),
}
# Forms without a noun, used if all annotated objects are of one class.
BARE = {
    "left": _split("left | on the left | to the left | on left | left side"),
    "right": _split("right | on the right | to the right | on right | right side"),
    "top": ("top", "at the top"),
    "bottom": ("bottom", "at the bottom"),
    "middle": ("middle", "in the middle", "center", "middle one"),
    "front": _split(
        "closest | nearest | in front | closest to us | front | foreground"
    ),
    "back": _split("furthest | in the back | background | furthest away | back"),
    "big": ("biggest", "largest"),
    "small": ("smallest", "tiniest"),
}

OPENINGS = _split(
    "can you see | please find | find | show me | where is | look at | i want | "
    "please select | select | segment | mark | i see | there is | this is | "
    "could you find | pick | click on | highlight | find me | give me | it is | "
    "i mean | can you find | please mark | point to | check out | do you see"
)
ENDINGS = _split(
    "in the picture | in the photo | in this image | in the image | you see | please | "
    "here | in this picture | that you can see | in the scene | in this photo | "
    "in the shot | in view | that is visible | that we can see | thanks"
)
# Truth unknown, so used only in training and beside words that select the object.
POSES = _split(
    "sitting | standing | lying down | walking | running | looking at us | "
    "looking at the camera | resting | sitting there | standing there | lying there | "
    "facing us | facing away | sleeping | playing | waiting | eating | "
    "looking away | looking to the side | sitting down | lying | laying down | "
    "standing still | jumping | posing | watching | relaxing | being still | "
    "that is standing | that is sitting | that is lying down | looking down | "
    "looking up | with its back to us | seen from behind | drinking | staring"
)
WORN = _split(
    "wearing a hat | with a hat | in a hat | with glasses | wearing glasses | "
    "in a suit | in a dress | in a jacket | in jeans | in shorts | in a coat | "
    "with a beard | with long hair | with short hair | holding something | smiling | "
    "laughing | talking | with arms crossed | bending over | leaning forward | "
    "working | taking a picture | who is standing | who is sitting | in a shirt | "
    "wearing a cap | with a helmet | in uniform | who is smiling | holding a stick"
)
MARKS = _split(
    "with its mouth open | with a collar | wearing a collar | with its tongue out | "
    "with long ears | with spots | grazing | eating grass | curled up | on a leash | "
    "with its head down | with its head up | with a long tail | barking | "
    "with floppy ears | with horns | with big eyes | with thick fur | that is asleep"
)
PLACES = _split(
    "on the grass | in the grass | in the field | on the floor | on the ground | "
    "in the snow | on the carpet | on the sand | on the road | on the street | "
    "near the water | in the water | by the wall | near the fence | behind the fence | "
    "under the tree | near the tree | in front of the house | by the window | "
    "outside | in the garden | in the room | in the shade | in the sun | "
    "at the beach | inside"
)
THINGS_DO = _split(
    "standing there | sitting there | lying there | being used | placed there | "
    "that someone left | that belongs to them | being shown | over there | in use"
)
MOODS = _split(
    "cute | nice | pretty | beautiful | funny | lovely | sweet | old | young | happy | "
    "fluffy | furry | fat | friendly | calm | tired | adorable | curious | lonely | "
    "sleepy | skinny | tall | short | angry | sad | standing | sitting | sleeping"
)
QUALITIES = _split(
    "nice | old | new | simple | clean | typical | plain | ordinary | round | wooden | "
    "dirty | metal | plastic | empty | open"
)


def idle(alive: bool, person: bool) -> tuple[str, ...]:
    """Returns noun forms with words that are not needed to select the object."""
    if not alive:
        doing, like = THINGS_DO + PLACES[:12], QUALITIES
    else:
        doing = POSES + PLACES + (WORN if person else MARKS)
        like = MOODS
    behind = tuple("{n} " + words for words in doing)
    return behind + tuple(words + " {n}" for words in like)
