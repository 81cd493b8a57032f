"""Tables 3b and 4, four layers: the paper's IoU on Gref val is 0.5281."""

from configs import ablations

get_config = ablations.row()
