"""The training itself: the datasets, the two models, their fast backends and the training loop.

Depends on numpy, torch and the standard library. The digits dataset is read from the files of scikit-learn.
"""

from mnist_core.kernels import load_numpy

load_numpy()  # before any other module here imports it
