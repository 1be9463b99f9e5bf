# Strategy lock on a primary with a standby: mode write leaves the standby alone;
# mode all, whose locks are replayed there, has to be allowed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $all = q{SELECT freeze_role('app', mode => 'all', strategy => 'lock')};
my $replayed = q{SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND locktype = 'relation'};
my $read = 'SELECT count(*) FROM app.t1';

foreach my $preload (0, 1)
{
	my $name = $preload ? 'preload' : 'plain';
	my $primary = new_server("${name}_primary", streaming => 1,
		conf => $preload ? "shared_preload_libraries = 'pg_freeze'\n" : '');
	make_application($primary, tables => 10);
	my ($state, $id, $err, $held);

	# --- no standby yet ---------------------------------------------------

	($state, $id, $err) = try_sql($primary, $all);
	is($state, '', "$name: mode all where there is no standby") || diag($err);
	is(statement_goes($primary, $read), 'waits', "$name: readers wait");
	sql($primary, "SELECT thaw($id)");
	is(statement_goes($primary, $read), 'done', "$name: until the thaw");

	sql($primary, q{SELECT pg_create_physical_replication_slot('later')});
	($state, undef, $err) = try_sql($primary, $all);
	is($state, '55000', "$name: mode all with a physical replication slot");
	is(strong_locks($primary), '0', "$name: nothing is locked");
	sql($primary, q{SELECT pg_drop_replication_slot('later')});

	# --- mode write -------------------------------------------------------

	$primary->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new("${name}_standby");
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->start;

	# so that a lock would have been replayed before, and would be with each checkpoint
	$id = sql($primary, q{SELECT freeze_role('app', strategy => 'lock', label => 'cutover')});
	is(writing($primary), 'waits', "$name: frozen in mode write");
	sql($primary, 'CHECKPOINT');
	$primary->wait_for_catchup($standby);
	is(sql($standby, $replayed), '0', "$name: mode write takes no lock on the standby");
	is(statement_goes($standby, $read, user => 'app'), 'done', "$name: reads go on there");
	is(sql($standby, "SELECT state, in_force IS DISTINCT FROM true, freeze_holder_pid(id) IS NULL FROM freeze_status WHERE id = $id"), 'frozen|t|t',
		"$name: freeze_status on the standby does not claim that anybody holds locks there");
	foreach my $view (qw(freeze_history freeze_changes freeze_blockers freeze_waiters freeze_sessions_signalled))
	{
		($state, undef, $err) = try_sql($standby, "SELECT count(*) FROM $view");
		is($state, '', "$name standby: $view can be read") || diag($err);
	}
	isnt(sql($standby, "SELECT count(*) FROM freeze_undo($id)"), '0', "$name standby: the way out can be read");
	is((try_sql($standby, "SELECT * FROM thaw($id)"))[0], '55000', "$name standby: no thaw there");
	is(sql($primary, "SELECT held IS DISTINCT FROM false FROM thaw($id)"), 't', "$name: it held");

	# --- mode all ---------------------------------------------------------

	($state, undef, $err) = try_sql($primary, $all);
	is($state, '55000', "$name: mode all with a standby is refused");
	like($err, qr/standby.*HINT:.*pg_freeze\.lock_standbys/s, "$name: and the hint names the setting") || diag($err);
	is(join(',', live($primary)), '', "$name: nothing is live");
	is(strong_locks($primary), '0', "$name: and nothing is locked");

	($state, undef, $err) = try_sql($primary, "SET pg_freeze.lock_standbys = on; $all", user => 'caller');
	is($state, '', "$name: a superuser may allow it") || diag($err);
	$id = (live($primary))[0];
	$primary->wait_for_catchup($standby);
	cmp_ok(sql($standby, $replayed), '>', 0, "$name: then the locks are replayed");
	is(statement_goes($standby, $read, user => 'app'), 'waits', "$name: and readers wait on the standby too");
	is(sql($primary, "SELECT held IS DISTINCT FROM false FROM thaw($id)"), 't', "$name: it held");
	$primary->wait_for_catchup($standby);
	is(sql($standby, $replayed), '0', "$name: after the thaw the standby has no lock");
	is(statement_goes($standby, $read, user => 'app'), 'done', "$name: and reads go on");

	# --- promotion --------------------------------------------------------

	$id = sql($primary, q{SELECT freeze_role('app', strategy => 'lock')});
	$primary->wait_for_catchup($standby);
	$primary->stop('immediate');
	$standby->promote;
	is(sql($standby, "SELECT state IN ('frozen', 'lost'), in_force IS NOT NULL FROM freeze_status WHERE id = $id"), 't|t', "$name: the freeze is known after the promotion");
	# with preload by itself, without by the next call, as after a restart
	next_call($standby) unless $preload;
	wait_until($standby, "SELECT state = 'lost' FROM freeze_status WHERE id = $id");
	is(sql($standby, "SELECT in_force FROM freeze_status WHERE id = $id"), 'f', "$name: it is lost there");
	next_call($standby);
	is(writing($standby), 'done', "$name: and not taken again on the new primary");
	$held = sql($standby, "SELECT held FROM thaw($id)");
	is($held, 'f', "$name: it did not hold through the promotion");
	is(writing($standby), 'done', "$name: thawed there, the application writes");
	is(strong_locks($standby), '0', "$name: and nothing is locked");
	unlike(slurp_file($_->logfile), qr/PANIC|TRAP|XX000/, "$name: nothing strange is in the log") foreach ($primary, $standby);
	$standby->stop;
}
done_testing();
