"""Help desk: a chat for a business's site that answers from the business's own pages."""
