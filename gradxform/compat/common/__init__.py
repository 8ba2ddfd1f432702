"""What the rooms of two frameworks share; it knows none of them."""
