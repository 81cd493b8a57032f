"""Tables of names for the 80 classes of COCO; `names` reads them."""

# Class: names that are true of every object of the class | loose names, true of some.
# The annotation does not state gender, age or breed, so "man" and "puppy" are loose.
# A loose name still selects an object if no other could be meant. Training needs these
# words.
NAMES = """
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

# Hypernyms, and the classes that they are true of.
WIDER = """
animal: bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
pet: cat, dog
farm animal: horse, sheep, cow
creature: bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
mammal: cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
beast: horse, cow, elephant, bear, zebra, giraffe
four legged animal: cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
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

# Word: further classes that it could refer to. Names of several classes need no entry.
ALSO = """
figure: teddy bear
someone: teddy bear
pet: bird, teddy bear
animal: teddy bear
creature: teddy bear
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

# Classes that are often confused. None is called absent if another of its group is in
# the image.
ALIKE = """
person, teddy bear
bicycle, motorcycle
car, truck, bus, train
airplane, kite, bird
traffic light, stop sign, parking meter
bench, chair, couch, bed, toilet
bear, teddy bear
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

# Words that also name things outside the 80 classes. They can select an annotated
# object, but annotations cannot prove that an image has no such thing.
OPEN = """
figure, sign, traffic sign, road sign, signal light, meter, seat, bag, board, ball,
disc, bat, glove, case, luggage, piece of luggage, plant, flower, shrub, flowerpot,
table, desk, counter, tabletop, coffee table, screen, display, computer, controller,
mobile, basin, glass, drink, coffee, tea, wine, beer, soup, dish, blade, pot, jar,
urn, toy, doll, stuffed toy, notebook, engine, trailer, coach, jet, ship, player,
rider, bathroom, range, toast, sub, pastry, dessert, floret, green vegetable,
slice of pizza, slice of cake, furniture, piece of furniture, utensil,
piece of cutlery, electronic device, appliance, kitchen appliance, food, vehicle,
automotive vehicle, fruit, vegetable, pew, stool, mattress, novel, textbook,
creature, animal, mammal, beast, pet, farm animal, four legged animal, duck, hen,
chicken, dryer, shears
"""
