# What strategies read_only and disconnect change in the catalogs that all
# databases share, raw, for the tests that compare it before and after.

package SharedValues;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use Test::More;

our @EXPORT = qw(shared_rows shared_names register make_settings add_home logs_in);

# Rows of roles, databases, settings and security labels.
sub shared_rows
{
	my ($node) = @_;
	return sql($node, q{
SELECT 'pg_authid', (oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil)::text FROM pg_authid
UNION ALL SELECT 'pg_database', (oid, datname, datdba, datallowconn, datistemplate, datconnlimit, datacl)::text FROM pg_database
UNION ALL SELECT 'pg_db_role_setting', (s.*)::text FROM pg_db_role_setting s
UNION ALL SELECT 'pg_shseclabel', (l.*)::text FROM pg_shseclabel l
ORDER BY 1, 2}, db => 'template1');
}

# The same of roles, some databases and their settings by names, for another cluster.
sub shared_names
{
	my ($node, @databases) = @_;
	my $list = join ', ', map { "'$_'" } @databases;
	return sql($node, qq{
SELECT 'role', (rolname, rolcanlogin)::text FROM pg_authid WHERE rolname !~ '^pg_'
UNION ALL SELECT 'database', (datname, datallowconn)::text FROM pg_database WHERE datname IN ($list)
UNION ALL SELECT 'setting', (datname, rolname, setconfig)::text
FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = setdatabase LEFT JOIN pg_authid r ON r.oid = setrole
WHERE setdatabase = 0 OR datname IN ($list)
ORDER BY 1, 2}, db => 'template1');
}

# Who holds what, for all databases.
sub register
{
	my ($node) = @_;
	return sql($node, q{SELECT provider, label FROM pg_shseclabel WHERE provider LIKE 'pg\_freeze %' ORDER BY 1}, db => 'template1');
}

# Databases with the extension and one without, and roles and settings of all kinds.
sub make_settings
{
	my ($node) = @_;

	sql($node, q{
CREATE ROLE app LOGIN;
CREATE ROLE "Rö le" LOGIN;
CREATE ROLE closed NOLOGIN;
CREATE ROLE member LOGIN IN ROLE closed;
CREATE ROLE rep LOGIN REPLICATION;
CREATE DATABASE shop;
CREATE DATABASE one;
CREATE DATABASE two;
ALTER ROLE "Rö le" SET work_mem = '5MB';
ALTER ROLE "Rö le" SET default_transaction_read_only = off;
ALTER ROLE "Rö le" SET search_path = a, "b c";
ALTER ROLE app IN DATABASE shop SET default_transaction_read_only = 'false';
ALTER ROLE app IN DATABASE shop SET work_mem = '6MB';
ALTER ROLE app IN DATABASE one SET default_transaction_read_only = on;
ALTER ROLE member IN DATABASE two SET work_mem = '7MB';
ALTER DATABASE shop SET default_transaction_read_only = 'no';
ALTER ROLE ALL SET statement_timeout = '10min';
});
	add_home($node, $_) foreach (qw(one two));
	return;
}

# What a database needs for freezes to be made there, and for next_call().
sub add_home
{
	my ($node, $db) = @_;
	sql($node, 'CREATE EXTENSION pg_freeze; CREATE SCHEMA spare; GRANT CREATE ON SCHEMA spare TO app', db => $db);
	return;
}

sub logs_in
{
	my ($node, $user, $db) = @_;
	return (try_sql($node, 'SELECT 1', user => $user, db => $db || 'shop'))[0] eq '' ? 'yes' : 'no';
}

1;
