"""Table 4, shared, decoder: the paper's IoU on Gref val is 0.5407."""

from configs import ablations

get_config = ablations.row(share_weights=True, decoder=True)
