"""Lists and locks of the packages; `audit.py` asks about them."""
