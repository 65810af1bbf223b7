"""The second stage: gradient-boosted trees, a conditional logit, and their ensemble."""
