"""What facts are, one file a domain; everything else about a fact is derived from its contract."""
