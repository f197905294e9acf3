"""Show why seed 1 of the CNN on 50,000 images ends at 11.8 % with the fixed rate: the method is unstable, not the code.

Trains the model CNN for 42 epochs (minutes on one core). Then it continues batch by batch, beside a plain PyTorch
network in float64 that starts from the same weights and sees the same batches, and prints both losses of each batch,
summed over its images. Needs MNIST; run as `python benchmarks/cnn_fixed_rate.py`.
"""

from itertools import islice

import torch
from torch import nn
from torch.nn import functional as F

from mnist_core.backends.interface import PackData, batches
from mnist_core.data import load_dataset
from mnist_core.devices import torch_threads
from mnist_core.models.cnn import CNN
from mnist_core.seeds import generator, subset_index
from mnist_core.trial import Trial

EPOCHS_BEFORE = 42
BATCHES = 24


class SeedReportNetwork(nn.Module):
    """The network of the seed report (Peralta, *Neural Network Image Classifier*), section 3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(images.view(-1, 1, 28, 28))), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        logits: torch.Tensor = self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))
        return logits


def main() -> None:
    """Print the losses side by side."""
    trial = Trial(model="cnn", subset_size=50_000, adaptive_lr=False, seed=1)
    dataset = load_dataset("mnist")
    index = subset_index(len(dataset.train.labels), trial.subset_size, trial.seed)
    subset = PackData(dataset, {trial.seed: index}).subsets[trial.seed]
    cnn, shuffle = CNN.from_trial(trial, generator(trial.seed, "weights")), generator(trial.seed, "shuffle")
    for _ in range(EPOCHS_BEFORE):
        for batch in batches(shuffle.permutation(len(subset)), trial.batch_size):
            cnn.step(subset.images[batch], subset.labels[batch], trial.learning_rate)
    reference = SeedReportNetwork().double()
    reference.load_state_dict({name: torch.tensor(value).double() for name, value in cnn.weights().items()})
    optimizer = torch.optim.SGD(reference.parameters(), lr=trial.learning_rate)
    order = batches(shuffle.permutation(len(subset)), trial.batch_size)
    print(f"epoch {EPOCHS_BEFORE + 1}\nbatch  float32, model  float64, plain PyTorch")
    for number, batch in enumerate(islice(order, BATCHES)):
        images, labels = subset.images[batch], torch.from_numpy(subset.labels[batch])
        model_loss = F.cross_entropy(torch.tensor(cnn.logits(images)), labels, reduction="sum")
        optimizer.zero_grad()
        plain_loss = F.cross_entropy(reference(torch.from_numpy(images).double()), labels, reduction="sum")
        plain_loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        cnn.step(images, subset.labels[batch], trial.learning_rate)
        print(f"{number:5}  {model_loss.item():14.6g}  {plain_loss.item():22.6g}")


if __name__ == "__main__":
    with torch_threads(1):
        main()
