"""What is trained: datasets, the two models and the training loop.

Needs numpy, torch and the standard library; scikit-learn only where the digits are asked for.
"""
