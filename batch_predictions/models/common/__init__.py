"""What several models share: ranking metrics, bootstrap intervals, proportions, thread limits."""
