"""What is predicted: target, loss, metrics, columns of the predictions."""
