-- The role `monitor`, which reads figures of the loop (migration 0016 names them), and logs in where it has a password.
\getenv password MONITOR_DB_PASSWORD
SET client_min_messages = warning;
SELECT 'CREATE ROLE monitor NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'monitor') \gexec
SELECT CASE :'password' WHEN '' THEN 'ALTER ROLE monitor NOLOGIN PASSWORD NULL'
       ELSE format('ALTER ROLE monitor LOGIN PASSWORD %L', :'password') END \gexec
ALTER ROLE monitor CONNECTION LIMIT 5;
ALTER ROLE monitor SET default_transaction_read_only = on;
ALTER ROLE monitor SET statement_timeout = '10s';
ALTER ROLE monitor SET search_path = pg_catalog;
GRANT CONNECT ON DATABASE warehouse TO monitor;
