"""The lab: stock kernels in guests, layouts made on purpose, and what other witnesses say of them.

Not part of the installed program: it runs from a checkout. ``python -m lab`` lists what it does.
"""
