"""Tags by which our plug-ins know views of Rapport."""

GROUP_TAG, SERVED_TAG = "rapport.group", "served"
