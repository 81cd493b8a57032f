"""Table 3b, CME, shared: the paper's IoU on Gref val is 0.5279."""

from configs import ablations

get_config = ablations.row(share_weights=True)
