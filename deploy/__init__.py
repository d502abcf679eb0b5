"""What installs Orderwire somewhere, and the programs that check and release it."""
