# The limits of a backup: its timeout, also while the snapshot runs; one at a
# time in the whole server; no worker slot; cancelled and timed-out calls;
# transactions in which it is begun and ended; what would remove it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BackupTest;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = new_server('main', streaming => 1, conf => backup_conf(preload => 1) . "max_wal_senders = 4\n");
make_application($node, tables => 5);
sql($node, 'CREATE DATABASE elsewhere; CREATE ROLE operator LOGIN');
make_application($node, tables => 3, db => 'elsewhere', roles_exist => 1);
my ($id, $row, $state, $out, $err, $call, $session);

# --- the timeout ------------------------------------------------------------

# Nobody calls end: the application goes on when the timeout is over, no later.
my $started = time;
$id = begin_backup($node, timeout => q{'2 s'}, label => q{'abandoned'});
is(sql($node, "SELECT until - since BETWEEN '1.9 s' AND '10 s' FROM freeze_backup_status WHERE id = $id"), 't', 'timeout: the status says until when');
isnt(writing($node), 'done', 'timeout: frozen');
ok(goes_on($node), 'timeout: the application goes on');
cmp_ok(time - $started, '<', 10, 'timeout: soon after it');
failed_backup($node, $id, qr/was not called within/, 'timeout');
is(sql($node, q{SELECT count(*) FROM freeze_history WHERE label = 'abandoned' AND held IS NOT NULL}), '1', 'timeout: the freeze is in the history');

# The same without a freeze: the server leaves the backup mode.
$id = begin_backup($node, kind => 'NULL', timeout => q{'1 s'});
ok(backup_mode($node), 'timeout without a freeze: the server is in backup mode');
failed_backup($node, $id, qr/was not called within/, 'timeout without a freeze');

# The snapshot runs, and is done only afterwards: a script learns that it must
# throw it away.
$id = begin_backup($node, timeout => q{'1 s'}, label => q{'late'});
wait_state($node, $id, 'failed');
($state, $out, $err) = try_sql($node, q{SELECT * FROM freeze_backup_end(label => 'late', require_held => true)});
is($state, '55000', 'timeout while the snapshot runs: end fails');
like($err, qr/backup $id \(late\) is not usable/, 'timeout while the snapshot runs: and says so');
nothing_stays($node, 'timeout while the snapshot runs');

# A freeze that was thawed behind the backup's back.
$id = begin_backup($node);
sql($node, q{SELECT t.held FROM freeze_backup_status b, thaw(b.freeze_id) t WHERE b.state = 'running'});
is(writing($node), 'done', 'thawed by somebody: the application goes on');
($state, $out, $err) = try_sql($node, "SELECT state, held FROM freeze_backup_end($id)");
is("$state$out", 'complete|f', 'thawed by somebody: the backup can be restored, but what it has was not frozen') || diag($err);
($state, $out, $err) = try_sql($node, "SELECT state, held FROM freeze_backup_end($id, require_held => true)");
is($state, '55000', 'thawed by somebody: require_held fails') || diag($out);
nothing_stays($node, 'thawed by somebody');

# A freeze that somebody extended past the timeout, or made without deadline.
$id = begin_backup($node, timeout => q{'2 s'});
sql($node, q{SELECT freeze_extend(freeze_id, '1 hour') FROM freeze_backup_status WHERE state = 'running'});
failed_backup($node, $id, qr/was not called within/, 'timeout of an extended freeze');

# The keeper sleeps over it: what was copied after the thaw is not called frozen.
$id = begin_backup($node, timeout => q{'1 s'});
my $keeper = keeper($node);
kill 'STOP', $keeper or die "no keeper: $!";
$call = start_sql($node, "SELECT state, held, lost_reason FROM freeze_backup_end($id)", user => 'caller');
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE backup = $id");
is(writing($node), 'done', 'a keeper that is stopped: the application goes on at the deadline');
kill 'CONT', $keeper;
($state, $out, $err) = finish_sql($call);
like("$state$out", qr/^(?:55000|complete\|f\|.*before)/, 'a keeper that is stopped: it did not hold') || diag($err);
nothing_stays($node, 'a keeper that is stopped');

# --- one at a time ----------------------------------------------------------

$id = begin_backup($node, label => q{'first'}, reason => q{'nightly run'});
foreach my $db ('postgres', 'elsewhere')
{
	($state, undef, $err) = try_sql($node, begin_sql(label => q{'second'}), db => $db);
	is($state, '55000', "second begin, from $db: refused");
	like($err, qr/ERROR:  55000: backup $id \(first\)[^\n]*\nDETAIL:  [^\n]*\d\d:\d\d[^\n]*\d\d:\d\d/, "second begin, from $db: which, by whom, since and until when");
	like($err, qr/HINT:  [^\n]*freeze_backup_(?:end|abort)\($id\)/, "second begin, from $db: how to end it");
}
is(sql($node, 'SELECT count(*) FROM freeze_backup_status WHERE label = $$second$$'), '0', 'second begin: leaves no row');
is(sql($node, q{SELECT count(*) FROM freeze_journal WHERE state NOT IN ('thawed', 'aborted')}), '1', 'second begin: and no freeze');
foreach my $verb ('end', 'abort')
{
	($state, undef, $err) = try_sql($node, "SELECT freeze_backup_$verb($id)", db => 'elsewhere');
	is($state, '55000', "$verb from another database: refused");
	like($err, qr/HINT:  [^\n]*\bpostgres\b/, "$verb from another database: where to do it");
}
is(end_row($node, "$id, require_held => true")->{state}, 'complete', 'second begin: the first is as it was');
nothing_stays($node, 'second begin');

# Texts of a database with another encoding.
sql($node, q{CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
sql($node, q{CREATE EXTENSION pg_freeze}, db => 'latin');
$id = sql($node, q{SELECT freeze_backup_begin('n' || chr(252) || 'cht', kind => NULL, checkpoint => 'fast')}, db => 'latin');
is(sql($node, q{SELECT label FROM freeze_backup_status WHERE home = 'latin'}), 'n?cht', 'a label of another encoding: can be read');
(undef, undef, $err) = try_sql($node, begin_sql(label => q{'second'}));
like($err, qr/ERROR:  55000: backup $id \(n\?cht\) runs already/, 'a label of another encoding: also in a message');
sql($node, 'SELECT freeze_backup_abort()', db => 'latin');

# One whose row can't be written yet has no id.
my $locker = lock_table($node, 'freeze_backup');
my $begin = start_sql($node, begin_sql(label => q{'it''s new'}, kind => 'NULL'), user => 'caller');
wait_until($node, q{SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'freeze_backup'::regclass AND NOT granted)});
foreach my $call ('freeze_backup_end()', q{freeze_backup_begin('second', kind => NULL)})
{
	($state, undef, $err) = try_sql($node, "SELECT $call");
	like($err, qr/HINT:  [^\n]*SELECT freeze_backup_abort\(label => 'it''s new'\);/, "no id yet: $call says how to give it up");
}
$locker->quit;
my ($begun) = finish_sql($begin);
is($begun, '', 'no id yet: begin goes on');
sql($node, q{SELECT freeze_backup_abort(label => 'it''s new')});

# Somebody who looks with an older snapshot.
$id = begin_backup($node);
my $looker = open_session($node);
$looker->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
is(end_row($node, $id)->{state}, 'complete', 'a backup ends while somebody looks');
is($looker->query_safe("SELECT state FROM freeze_backup_status WHERE id = $id"), 'running', 'who looks with an older snapshot does not see it fail');
$looker->quit;

# Two at the same moment: one wins, the other says who.
foreach my $round (1 .. 2)
{
	my @calls = map { start_sql($node, begin_sql(label => "'race $_'"), user => 'caller') } 1 .. 4;
	my @results = map { [ finish_sql($_) ] } @calls;
	is(join(' ', sort map { $_->[0] } @results), ' 55000 55000 55000', "four at the same moment, $round: one begins") || diag(map { $_->[2] } @results);
	($id) = map { $_->[1] } grep { $_->[0] eq '' } @results;
	is(sql($node, 'SELECT count(*) FROM freeze_journal WHERE state NOT IN ($$thawed$$, $$aborted$$)'), '1', "four at the same moment, $round: one freeze");
	# and ended by several at once
	@calls = map { start_sql($node, "SELECT state FROM freeze_backup_end($id)", user => 'caller') } 1 .. 3;
	@results = map { [ finish_sql($_) ] } @calls;
	is(join(' ', map { "$_->[0]$_->[1]" } @results), 'complete complete complete', "ended by three at once, $round") || diag(map { $_->[2] } @results);
}
nothing_stays($node, 'at the same moment');

# End and abort at once: one of them has its way, both say which.
foreach my $round (1 .. 3)
{
	$id = begin_backup($node);
	my @calls = map { start_sql($node, "SELECT 'ok' FROM freeze_backup_$_($id)", user => 'caller') } 'end', 'abort';
	my ($end, $abort) = map { [ finish_sql($_) ] } @calls;
	my $became = status($node, $id)->{state};
	ok($became eq 'complete' ? $end->[0] eq '' && $abort->[0] eq '55000' : $became eq 'failed' && $end->[0] eq '55000' && $abort->[0] eq '',
		"end and abort at once, $round: $became") || diag("@$end", "@$abort");
}
nothing_stays($node, 'end and abort at once');

# --- cancelled and timed out -------------------------------------------------

my $pid = stop_checkpointer($node);
foreach my $setting (q{statement_timeout = '500ms'}, q{transaction_timeout = '500ms'})
{
	next if $setting =~ /transaction_timeout/ && $node->pg_version < 17;
	my ($base) = $setting =~ /(\w+)/;
	($state, $out, $err) = try_sql($node, "SET $setting; " . begin_sql(label => "'$base'"));
	is($state, $base =~ /transaction/ ? '25P04' : '57014', "$base in begin, at the checkpoint") || diag($err);
	$id = sql($node, "SELECT max(id) FROM freeze_backup_status WHERE label = '$base'");
	wait_state($node, $id, 'failed');
}
go_on($pid);
failed_backup($node, $id, qr/\S/, 'statement_timeout in begin');

# What the session has set is not the keeper's.
foreach my $setting (q{statement_timeout = '1s'}, q{lock_timeout = '1ms'}, q{idle_session_timeout = '1s'}, q{default_transaction_isolation = 'serializable'}, q{default_transaction_read_only = on})
{
	sql($node, "ALTER DATABASE postgres SET $setting");
}
$id = begin_backup($node);
wait_until($node, 'SELECT clock_timestamp() > since + interval $$1.5 s$$ FROM freeze_backup_status WHERE state = $$running$$');
is(end_row($node, "$id, require_held => true")->{held}, JSON::PP::true, 'settings of the database are not the keeper\'s');
sql($node, 'SET default_transaction_read_only = off; ALTER DATABASE postgres RESET ALL');

# ^C in end: it is ended all the same.
$id = begin_backup($node);
my $lock = lock_table($node, 'freeze_backup');
($state) = try_sql($node, "SET statement_timeout = '500ms'; SELECT * FROM freeze_backup_end($id)");
is($state, '57014', 'statement_timeout in end');
$lock->quit;
wait_state($node, $id, 'complete');
is(end_row($node, "$id, require_held => true")->{held}, JSON::PP::true, 'statement_timeout in end: end again has the result');
nothing_stays($node, 'statement_timeout in end');

# Abort in each phase.
$pid = stop_checkpointer($node);
$call = start_sql($node, begin_sql(), user => 'caller');
$id = wait_phase($node, 'checkpoint');
($state, undef, $err) = try_sql($node, "SELECT freeze_backup_end($id)");
is($state, '55000', 'end at the checkpoint is refused');
like($err, qr/has not begun yet/, 'end at the checkpoint: since the copy could not be made yet');
is(sql($node, "SELECT freeze_backup_abort($id, reason => 'no time')"), $id, 'abort at the checkpoint');
go_on($pid);
($state, undef, $err) = finish_sql($call);
is($state, '57014', 'abort at the checkpoint: begin fails');
like($err, qr/no time/, 'abort at the checkpoint: and says why');
failed_backup($node, $id, qr/no time/, 'abort at the checkpoint');

$session = open_session($node, user => 'app');
$session->query_safe('BEGIN; INSERT INTO app.t1 (id) VALUES (1);');
$call = start_sql($node, begin_sql(in_flight => q{'drain'}, drain_timeout => q{'1 hour'}), user => 'caller');
$id = wait_phase($node, 'freezing');
is(sql($node, "SELECT freeze_backup_abort($id)"), $id, 'abort while freezing');
($state) = finish_sql($call);
is($state, '57014', 'abort while freezing: begin fails');
failed_backup($node, $id, qr/abort/, 'abort while freezing');

# The freeze can't be had: nothing is left, and the error is the freeze's.
($state, undef, $err) = try_sql($node, begin_sql(in_flight => q{'drain'}, drain_timeout => q{'200 ms'}, label => q{'drained'}));
is($state, '55P03', 'the drain times out: begin fails with the error of the freeze') || diag($err);
$session->quit;
$id = sql($node, q{SELECT id FROM freeze_backup_status WHERE label = 'drained'});
failed_backup($node, $id, qr/\S/, 'the drain times out');

# --- transactions -------------------------------------------------------------

$session = open_session($node);
$session->query_safe('SET client_min_messages = warning;');
($state) = try_sql($node, 'BEGIN; CREATE TABLE mine (); ' . begin_sql());
is($state, '25001', 'begin in a transaction that has written is refused');
nothing_stays($node, 'begin in a transaction that has written');

# A ROLLBACK undoes neither begin nor end.
$id = $session->query_safe('BEGIN; ' . begin_sql() . ';');
$session->query_safe('ROLLBACK;');
isnt(writing($node), 'done', 'begin in a transaction that is rolled back: frozen');
$session->query_safe('BEGIN READ ONLY;');
is($session->query_safe("SELECT state FROM freeze_backup_end($id);"), 'complete', 'end in a read-only transaction');
$session->query_safe('ROLLBACK;');
nothing_stays($node, 'end in a read-only transaction');
is(status($node, $id)->{state}, 'complete', 'end in a transaction that is rolled back');

$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;');
$id = begin_backup($node);
is($session->query_safe("SELECT state, backup_label ~ 'START WAL' FROM freeze_backup_end($id);"), 'complete|t', 'end in a repeatable-read transaction that is older than the backup');
$session->query_safe('COMMIT;');
nothing_stays($node, 'end in a repeatable-read transaction');

$session->query_safe('BEGIN;');
$id = $session->query_safe(begin_sql() . ';');
is($session->query_safe("SELECT held FROM freeze_backup_end($id);"), 't', 'begin and end in one transaction');
$session->query_safe('COMMIT;');
nothing_stays($node, 'begin and end in one transaction');

$id = begin_backup($node);
($state, undef, $err) = try_sql($node, "BEGIN; CREATE TABLE mine (); SELECT state FROM freeze_backup_end($id)");
ok($state eq '' || $state eq '25001', "end in a transaction that has written: '$state'") || diag($err);
end_row($node, $id);
nothing_stays($node, 'end in a transaction that has written');
$session->quit;

# --- targets ----------------------------------------------------------------------

# What stops everybody does not stop the backup, whose keeper writes.
foreach my $args (
	{ kind => q{'database'}, target => 'NULL' },
	{ kind => q{'cluster'}, target => 'NULL' },
	{ kind => q{'database'}, target => 'NULL', mode => q{'all'} },
	{ kind => q{'cluster'}, target => 'NULL', action => q{'reject'} },
	{ kind => q{'database'}, target => 'NULL', strategy => q{'lock'} },
	{ kind => q{'schema'}, strategy => q{'lock'} },
	{ kind => q{'role'}, strategy => q{'revoke'} },
	{ kind => q{'cluster'}, target => 'NULL', strategy => q{'read_only'} },
	{ kind => q{'role'}, strategy => q{'disconnect'}, mode => q{'all'} })
{
	my $what = join(' ', map { "$_ $args->{$_}" } sort keys %$args);
	$id = begin_backup($node, %$args);
	isnt(writing($node), 'done', "$what: frozen");
	$row = end_row($node, $id);
	is($row->{state}, 'complete', "$what: complete");
	isnt($row->{held}, JSON::PP::false, "$what: held") || diag($row->{lost_reason});
	is(left_behind($node), '', "$what: nothing is left behind");
	ok(goes_on($node), "$what: the application goes on");
}

# Names and labels are data.
my $label = q{o'clock "%s" %n \\ $$ x};
sql($node, 'CREATE ROLE "o\'clock %s"; GRANT INSERT ON app.t1 TO "o\'clock %s"');
$id = begin_backup($node, label => '$l$' . $label . '$l$', target => q{$t$o'clock %s$t$});
is(status($node, $id)->{label}, $label, 'a label with quotes and the like: the status');
$row = end_row($node, 'label => $l$' . $label . '$l$');
is($row->{label}, $label, 'a label with quotes and the like: end');
like($row->{backup_label}, qr/^LABEL: \Q$label\E$/m, 'a label with quotes and the like: backup_label');
nothing_stays($node, 'a label with quotes and the like');

# --- what would remove it ---------------------------------------------------------

$id = begin_backup($node, kind => 'NULL');
($state, undef, $err) = try_sql($node, 'DROP EXTENSION pg_freeze');
is($state, '55006', 'DROP EXTENSION while a backup runs');
like($err, qr/HINT:  [^\n]*freeze_backup_(?:end|abort)/, 'DROP EXTENSION while a backup runs: how to end it');
is(end_row($node, $id)->{state}, 'complete', 'DROP EXTENSION while a backup runs: it goes on');

sql($node, begin_sql(kind => 'NULL'), db => 'elsewhere');
($state, undef, $err) = try_sql($node, 'DROP DATABASE elsewhere WITH (FORCE)');
if ($state eq '')
{
	nothing_stays($node, 'DROP DATABASE WITH (FORCE)');
	$id = begin_backup($node);
	is(end_row($node, $id)->{state}, 'complete', 'DROP DATABASE WITH (FORCE): the next backup works');
}
else
{
	is($state, '55006', 'DROP DATABASE WITH (FORCE)');
	sql($node, 'SELECT freeze_backup_end()', db => 'elsewhere');
	nothing_stays($node, 'DROP DATABASE WITH (FORCE)');
}

# Backups leave no segments.
my $segments = segments($node);
foreach (1 .. 12)
{
	$id = begin_backup($node, kind => 'NULL');
	sql($node, $_ % 2 ? "SELECT freeze_backup_end($id)" : "SELECT freeze_backup_abort($id)");
}
nothing_stays($node, 'a dozen backups');
cmp_ok(segments($node) - $segments, '<=', 3, 'a dozen backups leave no segments');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
$node->stop;

# --- worker slots ---------------------------------------------------------------

# One is the logical replication launcher's.
sub slots { $node->append_conf('postgresql.conf', "max_worker_processes = $_[0]"); $node->restart; return; }

$BackupTest::strategy = 'lock';
$node = new_server('slots', streaming => 1, conf => backup_conf() . "max_parallel_workers = 0\nmax_worker_processes = 8\n");
make_application($node, tables => 3);
# none for the keeper
slots(1);
($state, undef, $err) = try_sql($node, begin_sql());
is($state, '53400', 'no slot for the keeper');
like($err, qr/HINT:  [^\n]*max_worker_processes/, 'no slot for the keeper: the hint says what to raise');
nothing_stays($node, 'no slot for the keeper');
# one for the keeper, none for the freeze; then none for the freeze's scheduler
foreach my $n (2, 3)
{
	slots($n);
	($state, undef, $err) = try_sql($node, begin_sql(label => qq{'$n slots'}));
	is($state, '53400', "$n slots: begin fails at the freeze") || diag($err);
	like($err, qr/HINT:  [^\n]*max_worker_processes/, "$n slots: the hint says what to raise");
	$id = sql($node, "SELECT id FROM freeze_backup_status WHERE label = '$n slots'");
	failed_backup($node, $id, qr/\S/, "$n slots");
	$id = sql_with_slot($node, begin_sql(kind => 'NULL'));
	is(end_row($node, $id)->{state}, 'complete', "$n slots: a backup without a freeze works");
}
# room at begin, none for the thaw: end thaws all the same
slots(6);
sql($node, 'CREATE DATABASE filler');
make_application($node, tables => 3, db => 'filler', roles_exist => 1);
sql($node, 'GRANT INSERT ON other.t1 TO agent', db => 'filler');
$id = sql_with_slot($node, begin_sql());
$session = open_session($node, user => 'agent', db => 'filler');
$session->query_safe('BEGIN; INSERT INTO other.t1 (id) VALUES (1);');
$call = start_in_slot($node, q{SELECT freeze_role('agent', strategy => 'revoke', drain_timeout => '1 hour')},
	q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining')}, db => 'filler', user => 'caller');
($state, undef, $err) = try_sql($node, q{SELECT freeze_role('reader', strategy => 'revoke')});
is($state, '53400', 'all slots are taken');
($state, $out, $err) = try_sql($node, "SELECT state, held IS NOT FALSE FROM freeze_backup_end($id)");
is("$state$out", 'complete|t', 'all slots are taken: a backup is ended') || diag($err);
nothing_stays($node, 'all slots are taken');
sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'});
finish_sql($call);
$session->quit;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'slots: nothing strange is in the log');

done_testing();
