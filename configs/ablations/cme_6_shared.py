"""Table 4, six layers, shared: the paper's IoU on Gref val is 0.5259."""

from configs import ablations

get_config = ablations.row(num_layers=6, share_weights=True)
