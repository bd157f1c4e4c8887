"""Dead letters: what there is, what can be sent again, and sending it again once."""
