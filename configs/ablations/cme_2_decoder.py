"""Table 4, two layers, decoder: the paper's IoU on Gref val is 0.4843."""

from configs import ablations

get_config = ablations.row(num_layers=2, decoder=True)
