"""What is trained: datasets, the two models and the training loop; needs numpy, torch and the standard library."""
