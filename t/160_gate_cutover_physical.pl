# Cut-over to a physical standby, as in doc/recipes.md: the old server is frozen
# by gate, the standby gets all of it and is promoted, then those who wait get
# an error and go to the new server.  Every acknowledged commit is there, none
# that was not, and the old server is never thawed.
#
# PF_CLIENTS (5) makes it bigger.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CutOver;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = $ENV{PF_CLIENTS} || 5;

# write: the address of the application changes.  all: clients have a list of
# hosts, and a refused login makes libpq take the next one.
foreach my $mode (qw(write all))
{
	my $folder = PostgreSQL::Test::Utils::tempdir('cutover');
	my $old = new_server("${mode}_old", streaming => 1, conf => "shared_preload_libraries = 'pg_freeze'\n");
	sql($old, 'CREATE EXTENSION pg_freeze;' . numbers_table());
	$old->backup('backup');
	my $new = PostgreSQL::Test::Cluster->new("${mode}_new");
	$new->init_from_backup($old, 'backup', has_streaming => 1);
	$new->start;

	address($folder, $old);
	start_clients($folder, $clients, $mode eq 'write' ? 'service=app' :
		join(' ', 'dbname=postgres user=app target_session_attrs=read-write',
			'host=' . $old->host . ',' . $new->host, 'port=' . $old->port . ',' . $new->port));
	clients_write($old, $clients, 30);

	# --- frozen: clients wait ---
	my $id = sql($old, "SELECT freeze_cluster(mode => '$mode', strategy => 'gate', thaw_after => '0', reason => 'moved')");
	my $rows = sql($old, 'SELECT count(*) FROM app.numbers');
	my $lsn = sql($old, "SELECT frozen_lsn FROM freeze_status WHERE id = $id");
	wait_until($old, "SELECT count(DISTINCT pid) = $clients FROM freeze_waiters WHERE id = $id");
	wait_until($new, "SELECT pg_last_wal_replay_lsn() >= '$lsn'");
	is(sql($new, 'SELECT count(*) FROM app.numbers'), $rows, "$mode: at frozen_lsn the standby has everything");
	is_deeply(client_errors($folder, $clients), {}, "$mode: up to here the clients have seen no error");

	# --- the new server takes over ---
	$new->promote;
	wait_until($new, "SELECT state = 'lost' AND NOT in_force FROM freeze_status WHERE id = $id");
	address($folder, $new);
	is(sql($old, "SELECT count(DISTINCT pid) FROM freeze_waiters WHERE id = $id"), $clients, "$mode: they still wait at the old one");
	sql($old, "SELECT freeze_alter($id, action => 'reject')");
	clients_write($new, $clients, 30);
	pass("$mode: all go on at the new server");
	is(sql($old, 'SELECT count(*) FROM freeze_waiters'), '0', "$mode: nobody waits at the old one");
	is(sql($old, "SELECT state, in_force, action FROM freeze_status WHERE id = $id"), 'frozen|t|reject', "$mode: which is frozen");
	is(sql($new, 'SELECT held FROM thaw_all()'), 'f', "$mode: what the new one says of the freeze");

	stop_clients();
	my $count = notes_match($new, $folder, $clients, "$mode, new server");
	note("$count commits acknowledged, $rows of them by the old server");
	is(sql($old, 'SELECT count(*) FROM app.numbers'), $rows, "$mode: nothing was committed at the old one");
	is(sql($new, 'SELECT count(*) FROM app.numbers WHERE port = ' . $old->port), $rows, "$mode: nor lost");

	my $errors = client_errors($folder, $clients);
	my $refused = $mode eq 'write' ? '25006' : '55P03';
	ok($errors->{$refused}, "$mode: the clients were refused with $refused");
	my @others = grep { $_ ne $refused && !/is read-only|no login until it is thawed/ } sort keys %$errors;
	is("@others", '', "$mode: and saw no other error");

	# --- a restart doesn't open the old server ---
	$old->restart;
	my (undef, undef, $err) = try_sql($old, 'INSERT INTO app.numbers (client, n) VALUES (0, 0)', user => 'app');
	like($err, $mode eq 'write' ? qr/25006: the cluster is frozen, its sessions are read-only/ : qr/the cluster is frozen, no login until it is thawed/,
		"$mode: the old one is frozen after a restart too");
	is(sql($old, "SELECT state, in_force FROM freeze_status WHERE id = $id"), 'frozen|t', "$mode: and says so");
	foreach my $node ($old, $new)
	{
		unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, "$mode: nothing strange is in the log of " . $node->name);
		$node->stop;
	}
}
done_testing();
