"""stsweep: distributed hyperparameter sweeps for sentence encoders trained without labels.

The only package that knows Ray, Optuna and MLflow; it composes `model`, `evaluation` and `search_spaces`. Importing it
loads none of them, and makes sure that those three are the ones beside it (`sweep/guard.py`).
"""

from sweep.guard import claim_siblings

claim_siblings()

__version__ = "0.1.0"
