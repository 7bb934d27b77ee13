"""Tags by which our plug-ins know views of Rapport."""

GROUP_TAG, SERVED_TAG = "rapport.group", "served"
PACKED_TAG = "rapport.packed"
"""The features of a view in the order of its packed rows, with commas; Feast itself does not keep an order."""
