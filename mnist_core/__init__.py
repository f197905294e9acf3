"""What is trained: the datasets, the two models, their fast backends and the training loop.

Depends on numpy, torch and the standard library. The digits dataset is read from the files of scikit-learn.
"""
