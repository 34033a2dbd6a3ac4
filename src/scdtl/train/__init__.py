"""What feeds and drives the training loop of scvi-tools."""
