"""Table 3b, IME: the paper's IoU on Gref val is 0.4589."""

from configs import ablations

get_config = ablations.row("ime")
