"""Table 5, CME at 320 x 320: the paper's cost is 122.87 M and 52.29 G."""

from configs import ablations

get_config = ablations.row(decoder=True, table_5=True)
