"""Features from the online store: views, plans, connections, and the ladder by which a value falls to a lower rung."""
