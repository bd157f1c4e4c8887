"""What goes wrong with dead letters, as one clear line."""


class DeadLettersError(Exception):
    """Dead letters could not be read or sent again; the text says what was done and what to do."""
