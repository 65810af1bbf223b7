"""What to order: reorder points and order-up-to levels, and a simulator that tries them."""
