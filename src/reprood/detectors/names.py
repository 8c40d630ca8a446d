"""Names of the post-hoc detectors, for code that must not import torch.

A score of a run that is not named here is a method's own (for instance Generalized ODIN's h).
"""

POST_HOC = ("msp", "maxlogit", "energy", "oe_cross_entropy", "odin", "mahalanobis", "knn", "vim", "react")
FITTED_ON_TRAIN = ("mahalanobis", "knn", "vim")
