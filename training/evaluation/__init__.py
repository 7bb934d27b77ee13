"""How good a model is on later rows: metrics and policy values with intervals, beside baselines; plots."""
