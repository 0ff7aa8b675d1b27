"""What every run needs: its directory, data, initial weights, devices, resuming, and values that stay finite."""
