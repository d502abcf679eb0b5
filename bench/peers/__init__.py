"""The peers that Orderwire is compared with, each programmed as its own documentation shows, in as few lines as possible."""
