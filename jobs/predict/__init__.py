"""From one's own picture to the votes of trained networks: the picture prepared, compared with the images, voted on."""

from jobs.predict.likeness import Likeness as Likeness
from jobs.predict.likeness import compare_with as compare_with
from jobs.predict.likeness import find_dataset as find_dataset
from jobs.predict.picture import prepare_file as prepare_file
from jobs.predict.picture import write_image as write_image
from jobs.predict.votes import Vote as Vote
from jobs.predict.votes import majority as majority
from jobs.predict.votes import probabilities as probabilities
