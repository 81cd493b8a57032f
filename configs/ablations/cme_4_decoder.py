"""Table 4, four layers, decoder: the paper's IoU on Gref val is 0.5448."""

from configs import ablations

get_config = ablations.row(decoder=True)
