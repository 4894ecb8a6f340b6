-- Everything of ours lives in the schema `warehouse`; the default schema stays empty.
DO $$ BEGIN
  EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path TO warehouse', current_user, current_database());
END $$;
