"""What is learned from: labels, the spine that they make, the training set and its split by time."""
