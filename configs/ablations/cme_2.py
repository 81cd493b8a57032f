"""Table 4, two layers: the paper's IoU on Gref val is 0.4812."""

from configs import ablations

get_config = ablations.row(num_layers=2)
