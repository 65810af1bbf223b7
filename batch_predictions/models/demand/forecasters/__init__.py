"""The forecasters: each module declares classes with their parameters, and variants of them."""
