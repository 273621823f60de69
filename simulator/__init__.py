"""A provider on your desk: a simulator of DocuSign eSignature v2.1 with a ledger of truth."""
