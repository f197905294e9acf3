"""The two models, written to be read: the MLP in NumPy with backpropagation by hand, and the CNN in PyTorch.

`mlp` and `cnn` are imported by name: `cnn` needs torch, which takes over a second to import, and the MLP does not.
"""
