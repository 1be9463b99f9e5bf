# No background worker is free: a freeze is refused, a thaw is not.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

# One slot is the logical replication launcher's; the scheduler and one request
# fill the others.
my $node = new_server('main', conf => "max_worker_processes = 3\nmax_parallel_workers = 0\n");
make_application($node, tables => 10);
my $freeze = q{SELECT freeze_role('app', strategy => 'revoke')};

# A call in another database that waits for a writer takes the last slot, and
# that database's scheduler the one before.
sql($node, 'CREATE DATABASE filler');
make_application($node, tables => 3, db => 'filler', roles_exist => 1);
my ($writer, $filler);

sub fill_slots
{
	$writer = open_session($node, user => 'agent', db => 'filler');
	$writer->query_safe('BEGIN; INSERT INTO other.t1 (id) VALUES (1);');
	$filler = start_in_slot($node, q{SELECT freeze_role('agent', strategy => 'revoke', drain_timeout => '1 hour')},
		q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining')}, db => 'filler', user => 'caller');
	return;
}

sub free_slots
{
	sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'caller' AND datname = 'filler'});
	finish_sql($filler);
	$writer->quit;
	return;
}

sql($node, 'GRANT INSERT ON other.t1 TO agent', db => 'filler');
my $before = privileges($node);

# --- freezing -------------------------------------------------------------

fill_slots();
my ($state, $out, $err) = try_sql($node, $freeze);
is($state, '53400', 'freezing without a free worker');
like($err, qr/HINT:  Raise max_worker_processes \(now 3\)/, 'the hint says which setting to raise');
is(sql($node, 'SELECT count(*) FROM freeze_journal'), '0', 'nothing is written down');
same_privileges(privileges($node), $before, 'and nothing is changed');
free_slots();

# One slot is left for the request, and none for the scheduler of this database.
my $id = sql_with_slot($node, q{SELECT freeze_role('reader', strategy => 'revoke')}, db => 'filler');
($state, $out, $err) = try_sql($node, $freeze);
is($state, '53400', 'freezing without a worker for the scheduler');
like($err, qr/HINT:  Raise max_worker_processes/, 'the hint says which setting to raise');
is(join(',', live($node)), '', 'nothing is frozen');
same_privileges(privileges($node), $before, 'and nothing is changed');
sql($node, "SELECT thaw($id)", db => 'filler');

# --- thawing --------------------------------------------------------------

# Frozen when there was room; then a restart leaves the scheduler out.
$id = sql_with_slot($node, $freeze);
$node->restart;
fill_slots();
my $frozen = privileges($node);

my $session = open_session($node);
$session->query('BEGIN;');
my $held = $session->query("SELECT held IS DISTINCT FROM false FROM thaw($id);");
is($held, 't', 'thawing without a free worker, in a transaction');
like($session->{stderr}, qr/WARNING:  no background worker is free: the thaw takes effect when this transaction commits/, 'a warning says when it takes effect');
$session->{stderr} = '';
same_privileges(privileges($node), $frozen, 'not before COMMIT');
$session->query('ROLLBACK;');
same_privileges(privileges($node), $frozen, 'ROLLBACK undoes it');
is(sql($node, "SELECT state FROM freeze_journal WHERE id = $id"), 'frozen', 'and the freeze is live');
is(sql($node, "SELECT in_force FROM freeze_status WHERE id = $id"), 't', 'and in force');

$session->query('BEGIN;');
$session->query("SELECT thaw($id);");
$session->{stderr} = '';
$session->query('COMMIT;');
is(sql($node, "SELECT state FROM freeze_journal WHERE id = $id"), 'thawed', 'COMMIT makes it so');
same_privileges(privileges($node), $before, 'all privileges are back');
$session->quit;

free_slots();

# --- the schedule ---------------------------------------------------------

# The scheduler has its slot and needs none to thaw; its successor has to wait.
$id = sql_with_slot($node, q{SELECT freeze_role('app', strategy => 'revoke', thaw_after => '4 s')});
my $later = sql_with_slot($node, q{SELECT freeze_role('agent', strategy => 'revoke', thaw_after => '7 s')});
$session = open_session($node);
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $later");
is(sql($node, "SELECT count(*) FROM freeze_journal WHERE id IN ($id, $later) AND thawed_at >= thaw_at AND end_reason ~ '^thawed on schedule'"),
	'2', 'scheduled thaws come where slots are few');
same_privileges(privileges($node), $before, 'all privileges are back');

# --- a thaw that fails ----------------------------------------------------

# Somebody is in the middle of changing a privilege that the thaw wants to
# change: it gives up after a while, says so and is tried again.
$id = sql_with_slot($node, q{SELECT freeze_role('app', strategy => 'revoke')});
$session->query_safe('BEGIN; GRANT DELETE ON app.t3 TO reader;');
sql_with_slot($node, "SELECT freeze_extend($id, '0.1 s')");
$node->wait_for_log(qr/pg_freeze: thaw of freeze $id failed, next try at /);
is(sql($node, "SELECT state, thaw_failures > 0, retry_at IS NOT NULL, last_error IS NOT NULL FROM freeze_status WHERE id = $id"),
	'thawing|t|t|t', 'freeze_status shows a thaw that failed, and when it is tried again');
$session->query_safe('ROLLBACK;');
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
same_privileges(privileges($node), $before, 'the later try puts everything back');

# The same where nothing else would wake anybody.
$id = sql_with_slot($node, q{SELECT freeze_role('app', strategy => 'revoke')});
$session->query_safe('BEGIN; GRANT DELETE ON app.t3 TO reader;');
($state, undef, $err) = try_sql($node, "SELECT * FROM thaw($id)");
is($state, '55P03', 'thaw gives up') || diag($err);
$session->query_safe('ROLLBACK;');
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
same_privileges(privileges($node), $before, 'and is tried again, too, though the freeze has no deadline');

$session->quit;
done_testing();
