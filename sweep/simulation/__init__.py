"""A sweep on a simulated clock: the real searcher, scheduler and record over curves that are looked up, not trained."""
