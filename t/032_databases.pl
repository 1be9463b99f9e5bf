# What is done to a database while a freeze is live and its scheduler sleeps:
# ALTER DATABASE RENAME, CREATE DATABASE TEMPLATE, DROP DATABASE.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
make_application($node, tables => 5);
sql($node, 'CREATE DATABASE shop');
make_application($node, tables => 10, db => 'shop', roles_exist => 1);
sql($node, q{
CREATE ROLE team;
GRANT team TO app;
GRANT CREATE, TEMPORARY ON DATABASE shop TO app;
GRANT INSERT ON other.t2 TO team;
SELECT lo_from_bytea(77, 'x');
GRANT UPDATE ON LARGE OBJECT 77 TO app;
}, db => 'shop');
my $before = privileges($node, db => 'shop');

sub freeze { return sql($node, "SELECT freeze_role('$_[0]', strategy => 'revoke', thaw_after => '$_[1]')", db => $_[2] || 'shop'); }

# Of the database's own objects alone, without the OIDs of databases.
sub local_privileges
{
	my ($db) = @_;
	return join "\n", map { s/^pg_shdepend\|\(\d+,/pg_shdepend|(/r }
	  grep { !/^pg_shdepend\|\(0,/ && !/^pg_(database|auth_members|tablespace|parameter_acl|authid)\|/ }
	  split /\n/, privileges($node, db => $db);
}
my $local = local_privileges('shop');

# --- a copy ---------------------------------------------------------------

my $id = freeze('app', '1 hour');
my $frozen = privileges($node, db => 'shop');
my ($state, undef, $err) = try_sql($node, 'CREATE DATABASE copy TEMPLATE shop');
is($state, '', 'CREATE DATABASE TEMPLATE works while the scheduler sleeps') || diag($err);

like(sql($node, 'SELECT remark FROM freeze_status', db => 'copy'), qr/^made in another database and copied here/, 'the copy knows that it is one');
is(sql($node, 'SELECT in_force FROM freeze_status', db => 'copy'), '', 'and does not claim that a freeze is in force');
($state) = try_sql($node, 'INSERT INTO app.t1 (id) VALUES (1)', db => 'copy', user => 'app');
is($state, '42501', 'it comes frozen');
my ($held, $why, $skipped) = split /\|/, sql($node, "SELECT held, lost_reason, skipped FROM thaw($id)", db => 'copy');
is($held, 'f', 'thawing the copy: no claim that it held');
like($why, qr/^this database is a copy/, 'and why');
cmp_ok($skipped, '>', 0, 'what belongs to the cluster is skipped');
is(sql($node, "SELECT count(*) FROM freeze_changes WHERE outcome !~ '^skipped: belongs to the cluster'", db => 'copy'), '0', 'and nothing else is');
is(local_privileges('copy'), $local, 'the objects of the copy have their privileges');
same_privileges(join("\n", grep { !/^pg_database\|\(\d+,copy,/ && !/^pg_shdepend\|\(0,1262,/ } split /\n/, privileges($node, db => 'shop')),
	join("\n", grep { !/^pg_shdepend\|\(0,1262,/ } split /\n/, $frozen), 'the original is untouched');
is(sql($node, 'SELECT in_force FROM freeze_status', db => 'shop'), 't', 'and frozen');
sql($node, 'DROP DATABASE copy');
same_privileges(privileges($node, db => 'shop'), $frozen, 'dropping the copy changes nothing either');

# --- another name ---------------------------------------------------------

($state, undef, $err) = try_sql($node, 'ALTER DATABASE shop RENAME TO "Shop 2"');
is($state, '', 'ALTER DATABASE RENAME works while the scheduler sleeps') || diag($err);
my $at = sql($node, "SELECT freeze_extend($id, '1 hour')", db => 'Shop 2');
isnt($at, '', 'freeze_extend in the renamed database');
my $soon = freeze('agent', '3 s', 'Shop 2');
sql($node, 'ALTER DATABASE "Shop 2" RENAME TO shop');
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $soon", db => 'shop');
is(sql($node, "SELECT thawed_at >= thaw_at, end_reason ~ 'on schedule' FROM freeze_journal WHERE id = $soon", db => 'shop'), 't|t',
	'a scheduled thaw finds a database that was renamed');
is(sql($node, "SELECT held IS DISTINCT FROM false, skipped FROM thaw($id)", db => 'shop'), 't|0', 'and so does thaw()');
same_privileges(privileges($node, db => 'shop'), $before, 'all privileges are back');

# --- gone -----------------------------------------------------------------

my $oid = sql($node, q{SELECT oid FROM pg_database WHERE datname = 'shop'});
my $elsewhere = freeze('agent', '1 hour', 'postgres');
$id = freeze('app', '3 s');
($state, undef, $err) = try_sql($node, 'DROP DATABASE shop');
is($state, '', 'DROP DATABASE works while the scheduler sleeps') || diag($err);
# What the freeze had taken from the cluster went with the journal.
is(sql($node, q{SELECT pg_has_role('app', 'team', 'usage')}), 'f', 'a membership that it held is lost with the database');
is(sql($node, q{SELECT in_force FROM freeze_status}), 't', 'a freeze in another database is not touched');
if (-r '/proc/self/cmdline')
{
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	while (backends($node, qr/pg_freeze scheduler for database $oid/) && time < $end) { select(undef, undef, undef, 0.1); }
	is_deeply([ backends($node, qr/pg_freeze scheduler for database $oid/) ], [], 'its scheduler ends when it would have worked');
}
unlike(slurp_file($node->logfile), qr/FATAL:  database \d+ does not exist|PANIC|TRAP/, 'and not with an error');
sql($node, "SELECT thaw($elsewhere)");

# --- the guard ------------------------------------------------------------

$id = freeze('app', '0', 'postgres');
foreach my $drop ('DROP EXTENSION pg_freeze', 'DROP SCHEMA public CASCADE', 'ALTER EXTENSION pg_freeze UPDATE')
{
	($state, undef, $err) = try_sql($node, $drop);
	is($state, '55006', "$drop while frozen");
	like($err, qr/HINT:  Thaw first: SELECT \* FROM public\.thaw_all\(\);/, 'the hint says how to thaw');
}
sql($node, "SELECT thaw($id)");
($state) = try_sql($node, 'DROP EXTENSION pg_freeze');
is($state, '', 'DROP EXTENSION when nothing is frozen');

done_testing();
