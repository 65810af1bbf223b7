"""The report: one page of HTML that says what is predicted, and how well."""
