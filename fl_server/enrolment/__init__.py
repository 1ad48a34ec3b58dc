"""Who may take part: the enrolment authority, its certificates and revocation lists."""
