"""Table 4, six layers: the paper's IoU on Gref val is 0.5284."""

from configs import ablations

get_config = ablations.row(num_layers=6)
