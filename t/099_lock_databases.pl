# Strategy lock and what is done to the database: DROP, copies of it, a deadline
# that passes while a preloaded server is down.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = new_server('main');
make_application($node, tables => 5);
my ($id, $state, $err);

sql($node, 'CREATE DATABASE shop');
make_application($node, tables => 5, db => 'shop', roles_exist => 1);
$id = sql($node, q{SELECT freeze_database(strategy => 'lock')}, db => 'shop');
($state, undef, $err) = try_sql($node, 'DROP DATABASE shop');
is($state, '55006', 'DROP DATABASE while the holder is connected');
($state) = try_sql($node, 'CREATE DATABASE copy TEMPLATE shop');
is($state, '55006', 'CREATE DATABASE TEMPLATE while the holder is connected');

# A dump can be taken in mode write; what is restored from it is nobody's to lock.
my $dump = PostgreSQL::Test::Utils::tempdir('lock_dump') . '/shop';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('shop') ], 'pg_dump while frozen');
sql($node, 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'pg_restore elsewhere');

# After a restart nobody holds it until the next call.
$node->restart;
sql($node, 'CREATE DATABASE copy TEMPLATE shop');

sub a_copy_is_free
{
	my ($db, $when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(writing($node, db => $db), 'done', "$db, $when: the application writes");
	is(sql($node, 'SELECT count(freeze_holder_pid(id)), count(*) FILTER (WHERE in_force) FROM freeze_status', db => $db), '0|0', "$db, $when: nobody holds it, nor says so");
	is(sql($node, "SELECT count(*) FROM pg_stat_activity WHERE datname = '$db' AND backend_type = 'pg_freeze holder'"), '0', "$db, $when: there is no holder");
	return;
}

foreach my $db (qw(copy restored))
{
	is(sql($node, "SELECT id FROM freeze_journal WHERE state NOT IN ('thawed', 'aborted')", db => $db), $id, "$db: has the freeze's row");
	a_copy_is_free($db, 'as it is');
	next_call($node, db => $db);
	a_copy_is_free($db, 'after a call');
}
next_call($node, db => 'shop');
wait_until($node, "SELECT state = 'lost' AND in_force FROM freeze_status WHERE id = $id", db => 'shop');
pass('the original is taken again by the next call');

# with preload it would be the launcher that comes by itself
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_freeze'\n");
$node->restart;
wait_until($node, "SELECT in_force AND retaken_at >= pg_postmaster_start_time() FROM freeze_status WHERE id = $id AND home = 'shop'", db => 'shop');
wait_until($node, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_freeze launcher' AND state = 'idle')});
foreach my $db (qw(copy restored))
{
	a_copy_is_free($db, 'after a start with preload');
	my ($held, $why) = split /\|/, sql($node, "SELECT held, lost_reason FROM thaw($id)", db => $db);
	is($held, 'f', "$db: thawing does not claim that it held");
	like($why, qr/copy/, "$db: and says why");
}
is(writing($node, db => 'shop'), 'waits', 'thawing the copies leaves the original alone');
is(sql($node, "SELECT held FROM thaw($id)", db => 'shop'), 'f', 'the original: did not hold either');
is(writing($node, db => 'shop'), 'done', 'and the application writes');

# A deadline that passes while a preloaded server is down.
$id = sql($node, q{SELECT freeze_database(strategy => 'lock', thaw_after => '1 s')}, db => 'shop');
$node->stop('immediate');
# there is nobody to ask while time passes for a server that is down
select(undef, undef, undef, 1.1);
$node->start;
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id", db => 'shop');
is(sql($node, "SELECT held FROM freeze_journal WHERE id = $id", db => 'shop'), 'f', 'due while a preloaded server was down: thawed, and no claim that it held');
ok(goes_on($node, db => 'shop'), 'due while a preloaded server was down: the application writes');

# DROP: when thawed, and by force.
$id = sql($node, q{SELECT freeze_database(strategy => 'lock')}, db => 'copy');
sql($node, "SELECT thaw($id)", db => 'copy');
sql($node, 'DROP DATABASE copy');
pass('DROP DATABASE after the thaw');
sql($node, q{SELECT freeze_database(strategy => 'lock')}, db => 'restored');
my $oid = sql($node, q{SELECT oid FROM pg_database WHERE datname = 'restored'});
my $end = time + $PostgreSQL::Test::Utils::timeout_default;
# the scheduler may be taking the locks again just then
do { ($state, undef, $err) = try_sql($node, 'DROP DATABASE restored WITH (FORCE)'); } while ($state eq '55006' && time < $end);
is($state, '', 'DROP DATABASE FORCE while frozen') || diag($err);
if (-r '/proc/self/cmdline')
{
	usleep(100_000) while backends($node, qr/pg_freeze (scheduler|holder) for database $oid/) && time < $end;
	is_deeply([ backends($node, qr/pg_freeze (scheduler|holder) for database $oid/) ], [], 'and nobody of that database is left');
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|deadlock detected/, 'nothing strange is in the log');
done_testing();
