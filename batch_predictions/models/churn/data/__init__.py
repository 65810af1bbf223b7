"""Training data of churn models: examples, features and windows."""
