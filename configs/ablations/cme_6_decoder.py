"""Table 4, six layers, decoder: the paper did not run it for lack of memory."""

from configs import ablations

get_config = ablations.row(num_layers=6, decoder=True)
