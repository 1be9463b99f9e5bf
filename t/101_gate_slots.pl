# Strategy gate where no background worker is free: a thaw lets the target go on
# all the same, at once, and is written down by whoever comes first.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

# One slot each for the launchers of logical replication and of pg_freeze, for
# the scheduler and for one request.
my $node = new_server('gate_slots', conf => q{
shared_preload_libraries = 'pg_freeze'
max_worker_processes = 4
max_parallel_workers = 0
});
sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE shop LOGIN;
CREATE ROLE keeper LOGIN;
CREATE TABLE t (i int);
GRANT ALL ON t TO PUBLIC;
});

# Freezes shop, has somebody wait, and a request that drains take the last slot.
sub prepare
{
	my $id = sql_with_slot($node, "SELECT freeze_role('shop')");
	my $waiter = start_sql($node, 'INSERT INTO t VALUES (1);', user => 'shop');
	wait_until($node, "SELECT waiters = 1 FROM freeze_status WHERE id = $id");
	my $writer = open_session($node, user => 'keeper');
	$writer->query_safe('BEGIN; INSERT INTO t VALUES (2);');
	my $filler = start_in_slot($node, q{SELECT freeze_role('keeper', in_flight => 'drain', drain_timeout => '1 hour', label => 'filler')},
		q{SELECT EXISTS (SELECT FROM freeze_status WHERE state = 'draining')});
	return ($id, $waiter, $writer, $filler);
}

sub finish
{
	my ($writer, $filler) = @_;

	$writer->quit;
	is((finish_sql($filler))[0], '', 'the drain goes on');
	is(sql($node, q{SELECT held FROM thaw_label('filler')}), 't', 'and its freeze is thawed');
	return;
}


{
	my ($id, $waiter, $writer, $filler) = prepare();
	my $session = open_session($node);

	my ($state) = try_sql($node, "SELECT freeze_role('shop')");
	is($state, '53400', 'no slot is free');

	$session->query('BEGIN;');
	is($session->query("SELECT held FROM thaw($id);"), 't', 'a thaw without a worker');
	like($session->{stderr}, qr/WARNING:  no background worker is free: the gate is open, and the thaw is written down when this transaction commits/, 'says so');
	is((finish_sql($waiter))[0], '', 'who waited goes on before the transaction ends');
	is(sql($node, "SELECT state, in_force IS NULL FROM freeze_status WHERE id = $id"), 'thawing|t', 'the status says that it is thawing');
	$session->query('ROLLBACK;');
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	is(sql($node, "SELECT held, end_reason ~ '^thawed by somebody who could not write it down' FROM freeze_journal WHERE id = $id"), 't|t',
		'a ROLLBACK leaves that to the scheduler');
	$session->quit;
	finish($writer, $filler);
}

{
	my ($id, $waiter, $writer, $filler) = prepare();

	is(sql($node, "SELECT held FROM thaw($id)"), 't', 'without a worker, in a transaction of its own');
	is((finish_sql($waiter))[0], '', 'who waited goes on');
	is(sql($node, "SELECT state, end_reason ~ '^thawed by ' FROM freeze_journal WHERE id = $id"), 'thawed|t', 'it is written down at once');
	wait_until($node, "SELECT count(*) = 0 FROM freeze_gate($id)");
	pass('and the gate is forgotten');
	finish($writer, $filler);
}

{
	my ($id, $waiter, $writer, $filler) = prepare();
	my ($state, undef, $err) = try_sql($node, "BEGIN READ ONLY; SELECT held FROM thaw($id)");

	is($state, '25001', 'without a worker, where nothing can be written');
	like($err, qr/DETAIL:  It is read-only or not READ COMMITTED\. The gate is open already; the sleeping worker writes it down\./, 'what happens is said');
	is((finish_sql($waiter))[0], '', 'who waited goes on');
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	is(sql($node, "SELECT held FROM freeze_journal WHERE id = $id"), 't', 'it is written down later');
	finish($writer, $filler);
}

is(sql($node, 'SELECT count(*) FROM freeze_status'), '0', 'nothing is left');
$node->stop;
done_testing();
