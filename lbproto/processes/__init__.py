"""A master and its workers: who lives, who follows whom, what they tell each other."""
