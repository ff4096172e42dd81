"""Dev handlers: what executes commands on files, block devices, nothing, and images of CDs."""
