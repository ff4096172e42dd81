"""Target drivers: how initiators reach the devices."""
