"""The forecasters, a file each: every one fits a panel and forecasts its next days."""
