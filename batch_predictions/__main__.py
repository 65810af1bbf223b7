"""`python -m batch_predictions`: the command line."""

from batch_predictions.cli import main

if __name__ == "__main__":
    main()
