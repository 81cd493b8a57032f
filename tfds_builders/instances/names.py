"""Words for the classes of COCO, and the classes that a word could also mean.

A word fits an object for certain if the word is a name of its class. It picks out the
object only if no other object of the image *could* be meant by it, which is the wider
relation: "bear" is certain for a bear, and a teddy bear could be meant by it.
"""

import functools
import re

# Class: names that are true of every object of the class | loose names, true of some.
# The annotation does not state gender, age or breed, so "man" and "puppy" are loose.
# Where only one object could be meant a loose name still picks it out, and training
# needs these words.
_TABLE = """
person: person, human, human being, someone, somebody, individual, figure | man, woman,
 guy, lady, girl, boy, kid, child, dude, gentleman, male, female, player, rider, adult,
 baby, fella, mom, dad, young man, young woman, old man, little girl, little boy
bicycle: bicycle, bike, cycle, pushbike | mountain bike, road bike
car: car, automobile, auto, motorcar | sedan, taxi, van, jeep, suv, hatchback
motorcycle: motorcycle, motorbike, bike, motor bike | scooter, moped, harley
airplane: airplane, plane, aeroplane, aircraft | jet, airliner, jetliner, passenger jet
bus: bus, autobus | coach, double decker, city bus, school bus
train: train, railway train | locomotive, subway, tram, train car, engine
truck: truck, lorry | pickup, pickup truck, van, delivery truck, trailer
boat: boat, vessel, watercraft | ship, sailboat, canoe, rowboat, yacht, ferry, kayak
traffic light: traffic light, stoplight, traffic signal, signal light, stop light
fire hydrant: fire hydrant, hydrant, fireplug
stop sign: stop sign, sign, traffic sign, road sign
parking meter: parking meter, meter
bench: bench, seat | park bench, wooden bench, pew
bird: bird, birdie, fowl | duck, seagull, pigeon, gull, parrot, goose, sparrow, hen,
 chicken
cat: cat, kitty, feline, house cat, kitty cat, pussycat | kitten, tabby, tomcat
dog: dog, doggy, doggie, canine, hound, pooch, mutt | puppy, pup, terrier, labrador,
 retriever, poodle, shepherd, bulldog, collie, spaniel
horse: horse, equine, steed | pony, mare, stallion, foal, colt, horsey
sheep: sheep | lamb, ewe, ram
cow: cow, bovine | bull, calf, ox, heifer, steer
elephant: elephant, pachyderm | baby elephant
bear: bear | polar bear, grizzly, brown bear, bear cub
zebra: zebra
giraffe: giraffe
backpack: backpack, rucksack, knapsack, bag, back pack | book bag
umbrella: umbrella, parasol | sunshade
handbag: handbag, bag, hand bag | purse, tote bag, shoulder bag
tie: tie, necktie | bow tie
suitcase: suitcase, luggage, case, bag, piece of luggage | briefcase, travel bag
frisbee: frisbee, disc, flying disc
skis: skis, pair of skis, ski
snowboard: snowboard, board, snow board
sports ball: ball, sports ball | soccer ball, tennis ball, baseball, football,
 basketball
kite: kite | flying kite
baseball bat: baseball bat, bat
baseball glove: baseball glove, glove, mitt, baseball mitt
skateboard: skateboard, board, skate board | longboard
surfboard: surfboard, board, surf board
tennis racket: tennis racket, racket, racquet, tennis racquet
bottle: bottle, flask | water bottle, wine bottle, beer bottle, beer, drink
wine glass: wine glass, glass, wineglass, goblet, stemware | glass of wine, wine
cup: cup | mug, coffee cup, coffee mug, coffee, tea, glass, drink, tumbler, paper cup
fork: fork
knife: knife, blade | butter knife
spoon: spoon | teaspoon, ladle
bowl: bowl, dish | soup bowl, salad bowl, soup
banana: banana | bananas, bunch of bananas
apple: apple | red apple
sandwich: sandwich | sub, burger, toast, panini
orange: orange | tangerine, mandarin, clementine
broccoli: broccoli | floret, green vegetable
carrot: carrot
hot dog: hot dog, hotdog, frankfurter | sausage, wiener
pizza: pizza, pizza pie | slice of pizza, pizza slice
donut: donut, doughnut | pastry
cake: cake | birthday cake, slice of cake, pastry, cupcake, dessert
chair: chair, seat | armchair, stool, wooden chair
couch: couch, sofa, settee | loveseat, lounge, armchair
potted plant: potted plant, plant, houseplant, pot plant, house plant | flower, shrub,
 flowerpot
bed: bed | mattress, bunk
dining table: table, dining table, dinner table | desk, counter, tabletop, coffee table
toilet: toilet, commode, loo | urinal, toilet bowl, bathroom
tv: tv, television, tv set, television set, telly, screen | monitor, computer monitor,
 computer, computer screen, display
laptop: laptop, laptop computer, notebook computer, computer | macbook, notebook
mouse: mouse, computer mouse
remote: remote, remote control, controller | wii remote, tv remote
keyboard: keyboard | computer keyboard
cell phone: cell phone, phone, cellphone, mobile phone, mobile, telephone |
 smartphone, iphone
microwave: microwave, microwave oven
oven: oven | stove, range, cooker
toaster: toaster
sink: sink, basin, washbasin | bathroom sink, kitchen sink
refrigerator: refrigerator, fridge, icebox | freezer
book: book | notebook, paperback, novel, textbook
clock: clock, timepiece | wall clock, clock tower, alarm clock
vase: vase | flower vase, pot, jar, urn
scissors: scissors, pair of scissors, shears
teddy bear: teddy bear, teddy, stuffed bear, stuffed animal, toy bear, plush bear |
 bear, stuffed toy, toy, doll
hair drier: hair drier, hair dryer, hairdryer, blow dryer, dryer
toothbrush: toothbrush, tooth brush
"""

# Wider words, and the classes that they are true of.
_WIDER = """
animal: bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
creature: bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
beast: horse, cow, elephant, bear, zebra, giraffe
mammal: cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
four legged animal: cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
pet: cat, dog
farm animal: horse, sheep, cow
vehicle: car, motorcycle, bus, train, truck
automotive vehicle: car, bus, truck
two wheeler: bicycle, motorcycle
fruit: banana, apple, orange
vegetable: broccoli, carrot
food: banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake
furniture: bench, chair, couch, bed, dining table
piece of furniture: bench, chair, couch, bed, dining table
utensil: fork, knife, spoon
piece of cutlery: fork, knife, spoon
electronic device: tv, laptop, cell phone
appliance: microwave, oven, toaster, refrigerator
kitchen appliance: microwave, oven, toaster, refrigerator
"""

# Word: further classes that somebody could mean by it. Names of several classes need
# no entry.
_ALSO = """
figure: teddy bear
someone: teddy bear
pet: bird, teddy bear
animal: person, teddy bear
creature: person, teddy bear
mammal: person
vehicle: bicycle, boat, airplane
car: truck
truck: car
van: bus
bus: truck
train: bus
glass: bottle, vase, bowl
bottle: vase
cup: bowl, wine glass
bowl: cup, sink
dish: cup, cake, pizza, sandwich
case: suitcase, backpack, handbag
seat: couch, toilet, bed
chair: couch
couch: chair, bed
bench: chair, couch
bed: couch
table: bench
desk: dining table
board: surfboard, skateboard, snowboard, skis, keyboard
screen: laptop, cell phone
tv: laptop
plant: vase, broccoli
flower: vase
pot: potted plant, cup, bowl
oven: microwave
range: oven
sign: parking meter, traffic light
meter: parking meter
remote: cell phone
food: bowl, hot dog
fruit: carrot, broccoli
vegetable: apple, orange, banana
utensil: scissors, toothbrush
electronic device: remote, keyboard, mouse, microwave, clock
appliance: sink, hair drier
furniture: toilet, potted plant, refrigerator
piece of furniture: toilet, refrigerator
teddy: bear
ball: orange, apple
disc: sports ball, donut
sandwich: hot dog, cake
hot dog: sandwich
cake: donut, sandwich
donut: cake
dog: hot dog
plane: kite
bat: bird
"""

# Classes that are taken for one another often enough that none is called absent where
# one of its group is in the image.
_ALIKE = """
person, teddy bear
bicycle, motorcycle
car, truck, bus, train
airplane, kite, bird
traffic light, stop sign, parking meter
bench, chair, couch, bed, toilet
cat, dog, teddy bear
horse, cow, sheep, zebra, giraffe, dog
elephant, bear
bear, teddy bear, dog
backpack, handbag, suitcase
skis, snowboard, skateboard, surfboard
frisbee, sports ball, kite
sports ball, orange, apple
bottle, wine glass, cup, vase, bowl, potted plant, sink
fork, knife, spoon, scissors, toothbrush
banana, apple, orange, carrot, broccoli
sandwich, hot dog, pizza, donut, cake
dining table, bench
tv, laptop, cell phone, remote, keyboard, mouse, book
microwave, oven, toaster, refrigerator
"""

# Words for things beyond the 80 classes too. They pick out an annotated object, but that
# no such thing is in an image cannot be known from its annotations.
OPEN = frozenset(
    """figure|sign|traffic sign|road sign|signal light|meter|seat|bag|board|ball|disc|bat|
glove|case|luggage|piece of luggage|plant|flower|shrub|flowerpot|table|desk|counter|
tabletop|coffee table|screen|display|computer|controller|mobile|basin|glass|drink|coffee|
tea|wine|beer|soup|dish|blade|pot|jar|urn|toy|doll|stuffed toy|notebook|engine|trailer|
coach|jet|ship|player|rider|bathroom|range|toast|sub|pastry|dessert|floret|
green vegetable|slice of pizza|slice of cake|furniture|piece of furniture|utensil|
piece of cutlery|electronic device|appliance|kitchen appliance|food|vehicle|
automotive vehicle|fruit|vegetable|pew|stool|mattress|novel|textbook|creature|animal|
mammal|beast|pet|farm animal|four legged animal|duck|hen|chicken|box|meter|dryer|shears
""".replace("\n", "").split("|")
)

# Names of other data sets for classes of COCO.
ALIASES = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}

PLURAL = frozenset({"skis", "scissors", "bananas"})
_BARE = frozenset(
    {"someone", "somebody", "luggage", "broccoli", "furniture", "food", "wine"}
)


def _words(line: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in line.split(",") if word.strip())


def _entries(text: str) -> dict[str, str]:
    """Returns {what stands before the colon: the rest}; such lines begin unindented."""
    lines = text.strip().replace("\n ", " ").splitlines()
    return {k.strip(): v.strip() for k, v in (line.split(":") for line in lines)}


STRICT = {c: _words(v.split("|")[0]) for c, v in _entries(_TABLE).items()}
LOOSE = {c: _words((v + "|").split("|")[1]) for c, v in _entries(_TABLE).items()}
_WIDE = {word: _words(classes) for word, classes in _entries(_WIDER).items()}
_MEANT = {word: _words(classes) for word, classes in _entries(_ALSO).items()}
_GROUPS = [frozenset(_words(line)) for line in _ALIKE.strip().splitlines()]
CLASSES = frozenset(STRICT)
# Hypernyms of which the 80 classes hold nearly all that photographs show.
BROAD = frozenset({"animal", "pet", "farm animal", "vehicle"})
ANIMALS = frozenset(_WIDE["animal"])


def canonical(name: str) -> str:
    """Returns a category's name as this module spells it: lower case, plain blanks."""
    plain = " ".join(re.split(r"[\s_]+", name.strip().lower()))
    return ALIASES.get(plain, plain)


def wider(category: str) -> tuple[str, ...]:
    """Returns the hypernyms of a class."""
    return tuple(word for word, classes in _WIDE.items() if category in classes)


@functools.cache
def could_mean(word: str) -> frozenset[str]:
    """Returns all classes of COCO that somebody could mean by a word."""
    named = {c for c in CLASSES if word in STRICT[c] or word in LOOSE[c]}
    # A loose compound ("coffee cup") could mean whatever its last word could.
    head = word.split()[-1]
    strict = any(word in STRICT[c] for c in CLASSES)
    further = frozenset() if strict or head == word else could_mean(head)
    return frozenset(named | {*_WIDE.get(word, ()), *_MEANT.get(word, ())}) | further


def fits(word: str, category: str) -> bool:
    """Returns whether somebody could mean an object of a class by a word.

    A class that is not COCO's has its own name alone. "bike" could then mean a
    "mountain bike", and the reverse.
    """
    if category in CLASSES:
        return category in could_mean(word)
    said, named = set(word.split()), set(category.split())
    return said <= named or named <= said


def alike(category: str) -> frozenset[str]:
    """Returns the classes that a class is easily taken for, and the class."""
    return frozenset({category}).union(*(g for g in _GROUPS if category in g))


@functools.cache
def article(word: str) -> str:
    """Returns "a ", "an " or, before plurals and masses, ""."""
    if word in _BARE or word.split()[-1] in PLURAL:
        return ""
    return "an " if word[0] in "aeio" or word.startswith("umbrella") else "a "
