"""The two nouns and the verb."""
