"""Find, download, verify and load datasets: MNIST, scikit-learn's digits, and folders of IDX files."""

from mnist_core.data.datasets import DIGITS as DIGITS
from mnist_core.data.datasets import NAMED_DATASETS as NAMED_DATASETS
from mnist_core.data.datasets import PIXELS as PIXELS
from mnist_core.data.datasets import Dataset as Dataset
from mnist_core.data.datasets import DatasetInfo as DatasetInfo
from mnist_core.data.datasets import Split as Split
from mnist_core.data.datasets import fetch_mnist as fetch_mnist
from mnist_core.data.datasets import inspect_dataset as inspect_dataset
from mnist_core.data.datasets import load_dataset as load_dataset
from mnist_core.data.datasets import verify_dataset as verify_dataset
from mnist_core.data.download import MIRRORS as MIRRORS
from mnist_core.data.files import find_mnist as find_mnist
from mnist_core.data.idx import SIDE as SIDE
from mnist_core.data.test_split import read_test_images as read_test_images
