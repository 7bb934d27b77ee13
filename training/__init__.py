"""What models are and what they must prove: data, recipes, evaluation, gate, run, and whether to retrain."""
