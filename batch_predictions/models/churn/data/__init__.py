"""What churn models learn from: examples, features and windows."""
