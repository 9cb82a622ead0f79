"""Search for mistakes in training images before a training: `spherorank train data check`."""
