"""DocuSign's eSignature REST v2.1 in JSON: one module per group of operations."""
