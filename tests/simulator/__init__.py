"""Laws of the simulator."""
