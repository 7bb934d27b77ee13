"""What the author of a feature looks at: its values with their facts, cards, the plan of a change, the docs page."""
