# The WAL of a backup: held by a slot, archived or not yet; the labels in a file.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BackupTest;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $archive = PostgreSQL::Test::Utils::tempdir('archive');
my $open = "$archive/open";
my $node = new_server('main', streaming => 1, conf => backup_conf(preload => 1) . qq{
archive_mode = on
archive_command = 'test -e "$open" && cp "%p" "$archive/%f"'
wal_keep_size = 0
min_wal_size = 32MB
max_wal_size = 32MB
});
make_application($node, tables => 3);
my ($id, $row, $state, $out, $err, $call, $session);

sub segment { return sql($node, "SELECT pg_walfile_name('$_[0]')"); }
sub there { return -e $node->data_dir . "/pg_wal/$_[0]" ? 1 : 0; }

# --- the archive ------------------------------------------------------------

# It fails for a while: the application goes on at once, the backup is done, and
# complete when its WAL has got there.
$id = begin_backup($node);
$call = start_sql($node, "SELECT row_to_json(e) FROM freeze_backup_end($id) e", user => 'caller');
wait_state($node, $id, 'done');
ok(goes_on($node), 'the archive fails: the application goes on');
wait_until($node, "SELECT thawed_at IS NOT NULL AND held FROM freeze_journal WHERE backup = $id");
pass('the archive fails: it is thawed');
is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'caller' AND state = 'active'}), '1', 'the archive fails: end waits for it');
is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_freeze backup'}), '0', 'the archive fails: nobody but the caller waits');
my $start = status($node, $id)->{start_lsn};
is(sql($node, 'SELECT state, backup_label IS NOT NULL, (held IS TRUE) FROM freeze_backup_end(wait_for_archive => false)'), 'done|t|t', 'wait_for_archive false: done, with the label');
# ^C, and again
sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'});
($state) = finish_sql($call);
is($state, '57014', 'cancelled while it waits for the archive');
is(status($node, $id)->{state}, 'done', 'cancelled while it waits for the archive: the backup is done');
($state) = try_sql($node, "SET statement_timeout = '300ms'; SELECT * FROM freeze_backup_end($id)");
is($state, '57014', 'end again waits again');
$call = start_sql($node, "SELECT row_to_json(e) FROM freeze_backup_end($id) e", user => 'caller');
append_to_file($open, '');
($state, $out, $err) = finish_sql($call);
is($state, '', 'the archive works again') || diag($err);
$row = JSON::PP::decode_json($out);
is($row->{state}, 'complete', 'the archive works again: complete');
is($row->{held}, JSON::PP::true, 'the archive works again: it held');
ok(-e "$archive/" . segment($row->{start_lsn}), 'the archive has the first segment');
ok(-e "$archive/" . segment(sql($node, "SELECT '$row->{stop_lsn}'::pg_lsn - 1")), 'and the last one');
is(status($node, $id)->{state}, 'complete', 'the status says so');
nothing_stays($node, 'archive');

# A crash while it waits for the archive: the backup is there.
unlink $open;
$id = begin_backup($node, backup_mode => 'false');
is(end_row($node, $id)->{state}, 'complete', 'without the backup mode no archive is needed');
is(status($node, $id)->{state}, 'complete', 'and the status says so');
$id = begin_backup($node, timeout => q{'5 s'});
$call = start_sql($node, "SELECT * FROM freeze_backup_end($id)", user => 'caller');
wait_state($node, $id, 'done');
wait_until($node, "SELECT thawed_at IS NOT NULL FROM freeze_journal WHERE backup = $id");
$node->kill9;
start_again($node);
finish_sql($call);
is(status($node, $id)->{state}, 'done', 'a crash while it waits for the archive: the backup is done');
append_to_file($open, '');
wait_state($node, $id, 'complete');
is(end_row($node, "$id, require_held => true")->{state}, 'complete', 'a crash while it waits for the archive: end again has everything');
nothing_stays($node, 'a crash while it waits for the archive');

# --- the slot -----------------------------------------------------------------

sub churn
{
	sql($node, q{CREATE TABLE IF NOT EXISTS public.churn (a int); SELECT pg_switch_wal();
INSERT INTO public.churn VALUES (1); SELECT pg_switch_wal(); INSERT INTO public.churn VALUES (1); SELECT pg_switch_wal();
INSERT INTO public.churn VALUES (1); SELECT pg_switch_wal(); INSERT INTO public.churn VALUES (1); SELECT pg_switch_wal()});
	return;
}

# Until nothing but a slot keeps a segment.
sub archived { wait_until($node, sprintf q{SELECT last_archived_wal >= '%s' FROM pg_stat_archiver}, $_[0]); return; }

foreach my $hold ('false', 'true')
{
	$id = begin_backup($node, hold_wal => $hold, timeout => q{'4 s'});
	my $status = status($node, $id);
	my $first = segment($status->{start_lsn});
	sql($node, 'SELECT t.id FROM thaw((SELECT freeze_id FROM freeze_backup_status WHERE state = $$running$$)) t');
	churn();
	archived($first);
	sql($node, 'CHECKPOINT');
	sql($node, 'CHECKPOINT');
	if ($hold eq 'false')
	{
		is($status->{slot}, undef, 'no slot unless asked for');
		# a running backup keeps nothing by itself
		is(there($first), 0, 'without a slot the first segment goes');
		end_row($node, $id);
		nothing_stays($node, 'without a slot');
		next;
	}
	like($status->{slot}, qr/^pg_freeze_backup_\d+$/, 'hold_wal: the status has the slot');
	is(sql($node, "SELECT temporary, slot_type, restart_lsn <= '$status->{start_lsn}' FROM pg_replication_slots WHERE slot_name = '$status->{slot}'"),
		't|physical|t', 'hold_wal: a temporary slot holds the WAL from the start');
	is(there($first), 1, 'hold_wal: the first segment stays');
	is(end_row($node, $id)->{state}, 'complete', 'hold_wal: ended');
	is(status($node, $id)->{phase}, 'holds WAL', 'hold_wal: and goes on to hold it');
	is(sql($node, "SELECT until = k.ended_at + b.timeout FROM freeze_backup_status k JOIN freeze_backup b USING (id) WHERE id = $id"), 't', 'hold_wal: and says until when');
	sql($node, 'CHECKPOINT');
	is(there($first), 1, 'hold_wal: it can be copied after the end');
	is(end_row($node, $id)->{state}, 'complete', 'hold_wal: end again');
	wait_until($node, 'SELECT NOT EXISTS (SELECT FROM pg_replication_slots)');
	is(status($node, $id)->{slot}, undef, 'hold_wal: the status names no slot that is gone');
	sql($node, 'CHECKPOINT');
	is(there($first), 0, 'hold_wal: until as much time has gone by again');
	nothing_stays($node, 'hold_wal');
}

# A begin while the one before holds its WAL: that one lets go.
$id = begin_backup($node, hold_wal => 'true');
end_row($node, $id);
my $next = begin_backup($node, hold_wal => 'true');
is(sql($node, 'SELECT count(*) FROM pg_replication_slots'), '1', 'the next begin takes the place of who holds WAL');
end_row($node, $next);
is(status($node, $id)->{state}, 'complete', 'and the backup before is still known');
sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_freeze backup'});
nothing_stays($node, 'who holds WAL terminated');
is(status($node, $next)->{state}, 'complete', 'who holds WAL terminated: the backup is complete all the same');

# Ends in every other way: the slot goes.
$id = begin_backup($node, hold_wal => 'true');
sql($node, "SELECT freeze_backup_abort($id)");
failed_backup($node, $id, qr/abort/, 'hold_wal, aborted');
$id = begin_backup($node, hold_wal => 'true', timeout => q{'1 s'});
failed_backup($node, $id, qr/was not called within/, 'hold_wal, timeout');
$id = begin_backup($node, hold_wal => 'true', timeout => q{'2 s'});
kill_backend(keeper($node));
server_back($node) or die 'no recovery';
failed_backup($node, $id, qr/\S/, 'hold_wal, keeper killed', crash => 1);

# No slot is free.
$session = sql($node, q{SELECT count(*) FROM (SELECT pg_create_physical_replication_slot('s' || i) FROM generate_series(1, current_setting('max_replication_slots')::int) i) x});
($state, undef, $err) = try_sql($node, begin_sql(hold_wal => 'true', label => q{'no slot'}));
is($state, '53400', 'no slot is free: begin fails') || diag($err);
like($err, qr/max_replication_slots/, 'no slot is free: which setting');
sql($node, q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots});
nothing_stays($node, 'no slot is free');

# --- the files ----------------------------------------------------------------

my $dir = PostgreSQL::Test::Utils::tempdir('labels');
my $space = PostgreSQL::Test::Utils::tempdir('space');
sql($node, "CREATE TABLESPACE space LOCATION '$space'");
$id = begin_backup($node, label_directory => "'$dir'");
ok(!-e "$dir/backup_label", 'label_directory: nothing is there before the end');
$row = end_row($node, $id);
is(slurp_file("$dir/backup_label"), $row->{backup_label}, 'label_directory: backup_label');
is(slurp_file("$dir/tablespace_map"), $row->{tablespace_map}, 'label_directory: tablespace_map');
like($row->{tablespace_map}, qr/^\d+ \Q$space\E$/m, 'label_directory: with the tablespace');
is((stat "$dir/backup_label")[2] & 077, 0, 'label_directory: for nobody else to read');
is(join(' ', sort map { s{.*/}{}r } glob "$dir/*"), 'backup_label tablespace_map', 'label_directory: and nothing else');
nothing_stays($node, 'label_directory');
# again, over those of the backup before; no tablespace_map is left where there are no tablespaces
sql($node, 'DROP TABLESPACE space');
$id = begin_backup($node, label_directory => "'$dir'", label => q{'the other'});
$row = end_row($node, $id);
like(slurp_file("$dir/backup_label"), qr/^LABEL: the other$/m, 'label_directory: over the one before');
ok(!-s "$dir/tablespace_map", 'label_directory: nothing of the tablespace_map of the backup before');

# somebody who may write there, too, leads to no other file
append_to_file("$dir/other", 'of somebody else');
symlink "$dir/other", "$dir/$_" or die foreach 'backup_label.pg_freeze.tmp', 'tablespace_map';
$id = begin_backup($node, label_directory => "'$dir'");
end_row($node, $id);
is(slurp_file("$dir/other"), 'of somebody else', 'label_directory: symbolic links are not followed');
ok(!-l "$dir/backup_label", 'label_directory: and backup_label is a file');

mkdir "$dir/inside" or die;
symlink $node->data_dir, "$dir/link" or die;
append_to_file("$dir/file", '');
foreach my $bad (
	[ 'relative', 'labels', '22023' ],
	[ 'empty', '', '22023' ],
	[ 'the data directory', $node->data_dir, '22023' ],
	[ 'inside of the data directory', $node->data_dir . '/base', '22023' ],
	[ 'inside of it by dots', $node->data_dir . '/../pgdata/base', '22023' ],
	[ 'inside of it by a link', "$dir/link/base", '22023' ],
	[ 'not there', "$dir/missing", undef ],
	[ 'a file', "$dir/file", undef ])
{
	my ($what, $path, $expected) = @$bad;
	($state, undef, $err) = try_sql($node, begin_sql(label_directory => "'$path'", label => q{'bad'}));
	isnt($state, '', "label_directory $what: refused");
	is($state, $expected, "label_directory $what: SQLSTATE") if defined $expected;
	like($state, qr/^(?:22023|58P01|42809|58030|42501)$/, "label_directory $what: an error of its own") || diag($err);
}
is(sql($node, q{SELECT count(*) FROM freeze_journal WHERE label = 'bad' AND frozen_at IS NOT NULL}), '0', 'label_directory bad: nothing was frozen for it');
SKIP:
{
	skip 'root may write everywhere', 2 if $> == 0;
	chmod 0500, "$dir/inside";
	($state, undef, $err) = try_sql($node, begin_sql(label_directory => "'$dir/inside'", label => q{'bad'}));
	isnt($state, '', 'label_directory that cannot be written: refused at begin') || diag($err);
	like($err, qr/may write/, 'label_directory that cannot be written: and why');
	chmod 0700, "$dir/inside";
}
# gone at the end: whoever relies on the files must not go on without them
$id = begin_backup($node, label_directory => "'$dir/inside'");
rmdir "$dir/inside" or die;
($state, undef, $err) = try_sql($node, "SELECT * FROM freeze_backup_end($id)");
is($state, '55000', 'label_directory that is gone at the end: end fails') || diag($err);
failed_backup($node, $id, qr/inside/, 'label_directory that is gone at the end');

# --- without backup mode, without anything ----------------------------------------

$id = begin_backup($node, backup_mode => 'false', checkpoint => q{'none'});
ok(!backup_mode($node), 'backup_mode false: the server is not in backup mode');
isnt(writing($node), 'done', 'backup_mode false: frozen');
$row = end_row($node, "$id, require_held => true");
is($row->{backup_label}, undef, 'backup_mode false: no label');
is($row->{state}, 'complete', 'backup_mode false: complete');
nothing_stays($node, 'backup_mode false');
foreach my $mode (q{'fast'}, q{'spread'})
{
	my $before = sql($node, 'SELECT checkpoint_lsn FROM pg_control_checkpoint()');
	$id = begin_backup($node, backup_mode => 'false', checkpoint => $mode);
	is(sql($node, "SELECT checkpoint_lsn > '$before' FROM pg_control_checkpoint()"), 't', "backup_mode false, checkpoint $mode: there was a checkpoint");
	end_row($node, $id);
}
# labels are forgotten when the next backup begins
$id = begin_backup($node, kind => 'NULL');
end_row($node, $id);
is(sql($node, 'SELECT count(*) FROM freeze_backup WHERE backup_label IS NOT NULL'), '1', 'labels are kept');
$next = begin_backup($node, kind => 'NULL');
is(sql($node, 'SELECT count(*) FROM freeze_backup WHERE backup_label IS NOT NULL'), '0', 'until the next backup begins');
end_row($node, $next);
nothing_stays($node, 'labels');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
