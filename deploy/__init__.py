"""How a set of processes is run: supervisord's configurations and `penstock up`."""
