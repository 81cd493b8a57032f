"""Foreign weights to our parameters, one module per layout.

Only this folder knows anybody else's names. A module reads arrays by their foreign
names, which have to be all there, no more, and of the right shapes (strict.py).
"""
