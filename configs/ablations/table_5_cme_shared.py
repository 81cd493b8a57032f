"""Table 5, CME, shared, at 320 x 320: the paper's cost is 108.70 M and 52.29 G."""

from configs import ablations

get_config = ablations.row(share_weights=True, decoder=True, table_5=True)
