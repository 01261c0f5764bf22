"""What an application that conducts its own exchanges writes, and what it is given."""
