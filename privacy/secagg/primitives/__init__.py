"""The cryptographic parts: key agreement, secret sharing, masks, packed vectors."""
