"""How much of an account's quota a fleet of workers uses, how often it is refused, who waits."""
