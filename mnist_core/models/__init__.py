"""The two models in the form to read beside the seed report (Peralta, *Neural Network Image Classifier*).

`mlp` follows its section 2 and `cnn` its section 3. The backends compute the same mathematics faster; each of them
names the test that compares it with its model. Nothing is imported here: `cnn` needs torch, which takes over a second
to import, and `mlp` does not.
"""
