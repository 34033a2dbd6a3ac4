"""The networks, their losses and the posterior, in torch."""
