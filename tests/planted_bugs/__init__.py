"""Bugs that are planted in a copy of the checkout, to see that the suite finds each: `make planted-bugs`."""
