# Backups of a hot standby: begin, end, end again and abort by two one-shot
# calls, though nothing can be written there; what is refused; the standby
# restarted, its keeper killed, and a promotion in the middle.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BackupTest;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $online = q{SELECT freeze_backup_begin('nightly', kind => NULL, checkpoint => 'fast')};

foreach my $preload (0, 1)
{
	my $name = $preload ? 'preload' : 'plain';
	$BackupTest::strategy = $preload ? 'gate' : 'lock';
	my $primary = new_server("${name}_primary", streaming => 1, conf => backup_conf(preload => $preload, full_pages => 1));
	make_application($primary, tables => 3);
	sql($primary, 'CREATE ROLE nothing LOGIN');
	# an id that the standby must not give again
	my $first = begin_backup($primary, kind => 'NULL');
	sql($primary, "SELECT freeze_backup_end($first)");
	$primary->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new("${name}_standby");
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->start;
	$primary->wait_for_catchup($standby);
	my ($state, $out, $err, $id, $row);

	# --- what is refused ----------------------------------------------------

	foreach my $kind (q{'database'}, q{'cluster'}, q{'role', 'app'}, q{'schema', 'app'})
	{
		($state, undef, $err) = try_sql($standby, "SELECT freeze_backup_begin('x', $kind)");
		is($state, '55000', "$name: a freeze on a standby: $kind");
		like($err, qr/standby.*HINT:  [^\n]*\bkind\b/s, "$name: and what can be done: $kind");
	}
	($state, undef, $err) = try_sql($standby, $online, user => 'nothing');
	is($state, '42501', "$name: somebody who may not");
	is(left_behind($standby), '', "$name: nothing is left of what was refused");

	# --- begin, end, end again ------------------------------------------------

	$id = sql($standby, $online);
	cmp_ok($id, '>', $first, "$name: a backup of the standby has an id");
	my $status = status($standby, $id);
	is(join(' ', map { $status->{$_} } qw(state phase label home)), 'running waiting for freeze_backup_end nightly postgres', "$name: freeze_backup_status there");
	is(status($primary, $id), undef, "$name: and not on the primary");
	($state, undef, $err) = try_sql($standby, $online);
	is($state, '55000', "$name: a second begin");
	like($err, qr/\($id\)/, "$name: and how to end the first");
	$primary->safe_psql('postgres', q{INSERT INTO app.t1 (id) VALUES (1)});
	$primary->wait_for_catchup($standby);
	$row = end_row($standby, $id);
	is($row->{state}, 'complete', "$name: ended");
	like($row->{backup_label}, qr/^BACKUP FROM: standby\n.*^LABEL: nightly$/ms, "$name: backup_label");
	is(sql($standby, "SELECT '$row->{start_lsn}'::pg_lsn <= '$row->{stop_lsn}'"), 't', "$name: start and stop LSN");
	is($row->{held}, undef, "$name: nothing was frozen, so nothing held");
	is_deeply(end_row($standby, $id), $row, "$name: end again returns the same");
	is_deeply(end_row($standby, ''), $row, "$name: without id and label, too");
	is_deeply(end_row($standby, q{label => 'nightly'}), $row, "$name: by label, too");
	is(status($standby, $id)->{state}, 'complete', "$name: the status says complete");
	is(sql($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_freeze backup'}), '1', "$name: one process keeps the labels");

	# the next takes its place
	my $next = sql($standby, $online);
	cmp_ok($next, '>', $id, "$name: the next has a higher id");
	is(sql($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_freeze backup'}), '1', "$name: one process again");
	($state, undef, $err) = try_sql($standby, "SELECT * FROM freeze_backup_end($id)");
	like($state, qr/^(?:22023|55000)$/, "$name: the one before is forgotten") || diag($err);

	# --- abort, timeout -------------------------------------------------------

	is(sql($standby, "SELECT freeze_backup_abort($next, reason => 'no room')"), $next, "$name: abort");
	is(status($standby, $next)->{state}, 'failed', "$name: aborted");
	like(status($standby, $next)->{failure}, qr/no room/, "$name: aborted: and why");
	($state, undef, $err) = try_sql($standby, "SELECT * FROM freeze_backup_end($next)");
	is($state, '55000', "$name: end after abort");
	like($err, qr/backup $next \([^\n]*\) is not usable\nDETAIL:  [^\n]*no room/, "$name: end after abort: and why");

	$id = sql($standby, q{SELECT freeze_backup_begin('short', kind => NULL, checkpoint => 'fast', timeout => '1 s')});
	wait_state($standby, $id, 'failed');
	($state, undef, $err) = try_sql($standby, "SELECT * FROM freeze_backup_end($id)");
	is($state, '55000', "$name: end after the timeout") || diag($err);

	# --- a slot ------------------------------------------------------------------

	$id = sql($standby, q{SELECT freeze_backup_begin('slot', kind => NULL, checkpoint => 'fast', hold_wal => true, timeout => '3 s')});
	is(sql($standby, q{SELECT count(*) FROM pg_replication_slots WHERE temporary AND slot_name LIKE 'pg\_freeze\_backup\_%'}), '1', "$name: hold_wal: there is a slot");
	end_row($standby, $id);
	is(status($standby, $id)->{phase}, 'holds WAL', "$name: hold_wal: it stays after the end");
	wait_until($standby, 'SELECT NOT EXISTS (SELECT FROM pg_replication_slots)');
	is(end_row($standby, $id)->{state}, 'complete', "$name: hold_wal: it goes, and the labels stay");
	$id = sql($standby, q{SELECT freeze_backup_begin('slot', kind => NULL, checkpoint => 'fast', hold_wal => true)});
	sql($standby, "SELECT freeze_backup_abort($id)");
	wait_until($standby, 'SELECT NOT EXISTS (SELECT FROM pg_replication_slots)');
	pass("$name: hold_wal: the slot goes after an abort");

	# --- the keeper dies ---------------------------------------------------------

	$id = sql($standby, $online);
	sql($standby, 'SELECT pg_terminate_backend(' . keeper($standby) . ')');
	wait_until($standby, q{SELECT NOT EXISTS (SELECT FROM freeze_backup_status WHERE state = 'running')});
	($state, undef, $err) = try_sql($standby, "SELECT * FROM freeze_backup_end($id)");
	like($state, qr/^(?:22023|55000)$/, "$name: end after the keeper was terminated") || diag($err);
	unlike($err, qr/XX000/, "$name: as somebody can understand it");

	$id = sql($standby, $online);
	kill_backend(keeper($standby));
	server_back($standby) or die 'no recovery';
	is(left_behind($standby), '', "$name: keeper killed: nothing is left");
	($state, undef, $err) = try_sql($standby, "SELECT * FROM freeze_backup_end($id)");
	like($state, qr/^(?:22023|55000)$/, "$name: end after the keeper was killed") || diag($err);

	$id = sql($standby, $online);
	$standby->restart;
	is(left_behind($standby), '', "$name: standby restarted: nothing is left");
	($state, undef, $err) = try_sql($standby, "SELECT * FROM freeze_backup_end($id)");
	like($state, qr/^(?:22023|55000)$/, "$name: end after a restart") || diag($err);

	# --- a promotion ------------------------------------------------------------

	# in the middle; the other time one that was ended is kept
	$id = sql($standby, $online);
	$row = end_row($standby, $id) if $preload;
	$primary->wait_for_catchup($standby);
	$primary->stop;
	$standby->promote;
	if ($preload)
	{
		is_deeply(end_row($standby, $id), $row, "$name: a promotion after the end: end again returns the same");
	}
	else
	{
		($state, undef, $err) = try_sql($standby, "SELECT * FROM freeze_backup_end($id)");
		is($state, '55000', "$name: a promotion during the backup: end fails");
		like($err, qr/backup $id \([^\n]*\) is not usable\nDETAIL:  [^\n]*promot/, "$name: a promotion: and says why");
	}
	wait_until($standby, q{SELECT NOT EXISTS (SELECT FROM freeze_backup_status WHERE state = 'running')});
	$id = begin_backup($standby, timeout => q{'1 hour'});
	cmp_ok($id, '<', 1000, "$name: after the promotion ids are the table's");
	is(end_row($standby, "$id, require_held => true")->{held}, JSON::PP::true, "$name: and a freeze is possible");
	nothing_stays($standby, "$name, promoted", full_pages => 1);
	unlike(slurp_file($standby->logfile), qr/PANIC|TRAP|XX000/, "$name: nothing strange is in the log");
	$standby->stop;
}
done_testing();
