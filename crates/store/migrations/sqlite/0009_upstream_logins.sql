-- The refresh token that an identity provider gave for a login that goes on here, sealed, and when the provider last
-- said that the login goes on there.
ALTER TABLE refresh_families ADD COLUMN upstream BLOB;
ALTER TABLE refresh_families ADD COLUMN upstream_good INTEGER;
