"""The program that takes providers' webhooks and hands them to workflows."""
