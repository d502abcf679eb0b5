"""What Orderwire is measured against: for each, the way its own documentation shows, in as few lines as that takes."""
