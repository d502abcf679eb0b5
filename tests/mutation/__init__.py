"""Mutation testing of `push/`: small random changes of the code, each of which a unit test should find: `make mutation`."""
