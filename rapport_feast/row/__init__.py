"""The packed row of a view in the online store: its layout, the script that writes it, and its writer."""
