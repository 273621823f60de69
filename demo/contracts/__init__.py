"""The two contracts that the demonstration gets signed: our own texts, and PDFs made of them."""
