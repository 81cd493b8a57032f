"""Table 3b, VME: the paper's IoU on Gref val is 0.5127."""

from configs import ablations

get_config = ablations.row("vme")
