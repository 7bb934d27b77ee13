"""The watch over what is learned from: drift, with our own verdict."""
